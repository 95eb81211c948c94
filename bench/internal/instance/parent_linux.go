package instance

import "syscall"

// ChildAttributes end a process with its parent even while it is stopped, when it cannot notice the end of its input. It has a
// process group of its own, so that an interrupt of the terminal reaches the parent alone, which decides when an instance ends.
func ChildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
