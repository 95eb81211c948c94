//go:build !linux

package instance

import "syscall"

// ChildAttributes give a process a group of its own: see those of Linux. Elsewhere an instance ends with its input, unless it is
// stopped.
func ChildAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
