//go:build !unix

package redistest

import "syscall"

func childAttributes() *syscall.SysProcAttr { return nil }
