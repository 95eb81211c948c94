//go:build unix && !linux

package child

import "syscall"

// attributes put a process into a process group of its own: see those of Linux. That it ends with
// its parent is for Linux alone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
