package instance

import "syscall"

// dieWithParent ends a process with its parent even while it is stopped, when it cannot notice the end of its input.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
