package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

type process = instance.Process[instanceResult]

// seat is a place in the fleet: one process after another, if they are killed or replaced.
type seat struct {
	index int
	relay *server.Relay // nil: it reaches Redis directly
	ready chan struct{} // closed when the first process is ready

	mu      sync.Mutex
	process *process      // guarded by mu; the present one
	end     chan struct{} // guarded by mu; closed to end the present process in good order
	ended   bool          // guarded by mu; end is closed
	leaving bool          // guarded by mu; the present process is to be replaced
	killed  bool          // guarded by mu; by kill, the present process was: it ends with an error that is none of the run's
	results []*instanceResult
}

func newSeat(index int) *seat { return &seat{index: index, ready: make(chan struct{})} }

// keep starts a process, and another whenever one left that was asked to, until the fleet ends.
func (f *fleet) keep(killed, ctx context.Context, s *seat) {
	for generation := 0; ctx.Err() == nil; generation++ {
		p, err := f.sit(killed, s, generation)
		if err != nil {
			f.fail(err)
			return
		}
		select {
		case <-p.Ready:
			if generation == 0 {
				close(s.ready)
			}
		case <-p.Done:
		}
		select {
		case <-p.Done:
		case <-ctx.Done():
			s.dismiss(false)
			<-p.Done
		}
		f.shared.Set(s.index, instance.CoherentAt, 0)
		f.shared.Set(s.index, instance.Applied, 0)
		replace, killed := s.leave(p)
		err = p.Err
		if killed && bySignal(err, syscall.SIGKILL) {
			err = nil
		}
		if !replace {
			err = errors.Join(err, early(ctx, s.index))
		}
		if err != nil {
			f.fail(err)
		}
		if err != nil || !replace {
			return
		}
		f.restarts.Add(1)
	}
}

// early is an error while ctx lasts: nobody told the instance to end.
func early(ctx context.Context, index int) (err error) {
	if ctx.Err() == nil {
		err = fmt.Errorf("fleet: instance %d ended before it was told to", index)
	}
	return err
}

// sit starts the process of a generation.
func (f *fleet) sit(killed context.Context, s *seat, generation int) (*process, error) {
	cfg := f.instanceConfig(s, generation)
	line, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	end := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.ended, s.leaving, s.killed = end, false, false, false
	s.process, err = instance.Start[instanceResult](killed, instance.Spec{
		Name:    fmt.Sprintf("fleet: instance %d", s.index),
		Command: f.command,
		Feed: func(in io.WriteCloser, ended <-chan struct{}) error {
			_, err := in.Write(append(line, '\n'))
			select {
			case <-end:
				if err == nil {
					_, err = in.Write([]byte{order})
				}
			case <-ended:
			}
			return errors.Join(err, in.Close())
		},
	})
	return s.process, err
}

// bySignal tells whether a process ended because of a signal.
func bySignal(err error, sig syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}

// leave notes what a process that has ended measured, and tells whether another is to take its seat, and whether it was killed.
func (s *seat) leave(p *process) (replace, killed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Result != nil {
		s.results = append(s.results, p.Result)
	}
	return s.leaving, s.killed
}

// dismiss tells the present process to end in good order; another is to come if replace.
func (s *seat) dismiss(replace bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.ended {
		return
	}
	s.leaving, s.ended = replace, true
	close(s.end)
}

// kill ends the present process at once; another is to come.
func (s *seat) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.ended {
		return nil // it is on its way out
	}
	s.leaving, s.killed = true, true
	return s.process.Signal(syscall.SIGKILL)
}

func (s *seat) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	return s.process.Signal(sig)
}
