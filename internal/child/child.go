// Package child starts processes that end with the one that started them, where the system can do
// that.
package child

import (
	"os/exec"
	"runtime"
)

// Start starts a process, and returns when it runs. Then wait is called by a goroutine: it must not
// return before the process has ended. The kernel ties the life of a process to the thread that
// started it, and wait has that thread to itself.
func Start(cmd *exec.Cmd, wait func()) error {
	cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			wait()
		}
	}()
	return <-started
}

// Run starts a process and waits for its end.
func Run(cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	if err := Start(cmd, func() { ended <- cmd.Wait() }); err != nil {
		return err
	}
	return <-ended
}
