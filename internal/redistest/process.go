package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/doppio-cache/doppio/internal/child"
)

// process is one run of a server binary.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process has been waited for
	err  error         // what Wait returned; read after done
}

// startProcess starts name with its output appended to the file at logPath.
func startProcess(name string, args []string, dir, logPath string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{cmd: cmd, done: make(chan struct{})}
	err = child.Start(cmd, func() {
		defer close(p.done)
		defer log.Close()
		p.err = cmd.Wait()
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, log.Close()))
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process at once and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended already
	<-p.done
}

// stop asks the process to end, insists after patience, and waits for it.
func (p *process) stop(patience time.Duration) {
	_ = resume(p.cmd.Process) // a stopped process does not see the request
	if err := terminate(p.cmd.Process); err != nil {
		p.kill()
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}
