package child

import "syscall"

// attributes end a process with its parent even while it is stopped, and put it into a process
// group of its own: an interrupt of the terminal goes to the whole group in front, and is for the
// parent to answer.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
