package redistest

import "syscall"

// childAttributes end a server with its parent, and put it into a process group of its own: an interrupt of the terminal goes to
// the whole group in front, and is for whoever started the server to answer.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
