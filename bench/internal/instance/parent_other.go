//go:build !linux

package instance

import "syscall"

// dieWithParent is for Linux alone. Elsewhere an instance ends with its input, unless it is stopped.
func dieWithParent() *syscall.SysProcAttr { return nil }
