//go:build unix && !linux

package redistest

import "syscall"

// childAttributes put a server into a process group of its own: see those of Linux. That it ends with its parent is for Linux
// alone.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
