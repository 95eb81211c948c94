package compare

import "syscall"

// dieWithParent ends the process that measures memory with its parent, however that ends: nobody else would.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
