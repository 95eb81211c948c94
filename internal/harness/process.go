//go:build unix

package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/child"
)

// Spec says how to start an instance.
type Spec struct {
	Name    string   // for errors
	Command []string // and its arguments
	Env     []string // beside that of this process
	Config  any      // the configuration, sent as JSON: see [Begin]
	Errors  string   // the file for its standard error
}

// Process is an instance as its parent sees it. It ends when it is told to ([Process.End]), and
// with its parent.
type Process struct {
	Ready  chan struct{}   // closed when it has said that it is ready
	Done   chan struct{}   // closed when it has ended, and Result and Err are set
	Result json.RawMessage // of the instance; nil if it was killed
	Err    error           // why it ended, if not well, and not since [Process.Kill] killed it

	name, errors string
	cmd          *exec.Cmd
	in           io.Closer
	expected     atomic.Bool // its end is
	killed       atomic.Bool
}

// message is a line of JSON that an instance writes: first that it is ready, last its result.
type message struct {
	Ready  bool `json:",omitempty"`
	Result any  `json:",omitempty"`
}

// Start starts an instance.
func Start(s Spec) (*Process, error) {
	config, err := json.Marshal(s.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: configuration: %w", s.Name, err)
	}
	p := &Process{
		Ready: make(chan struct{}), Done: make(chan struct{}), name: s.Name, errors: s.Errors,
		cmd: exec.Command(s.Command[0], s.Command[1:]...),
	}
	stderr, err := os.Create(s.Errors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	p.cmd.Stderr, p.cmd.Env = stderr, append(os.Environ(), s.Env...)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, errors.Join(err, stderr.Close()))
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, errors.Join(err, in.Close(), stderr.Close()))
	}
	err = child.Start(p.cmd, func() {
		defer close(p.Done)
		defer stderr.Close()
		p.Err = p.wait(out)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, errors.Join(err, stderr.Close()))
	}
	// This fails if the instance has ended, and its own error says more.
	_, _ = in.Write(append(config, '\n'))
	return p, nil
}

// wait reads the instance's messages until it ends.
func (p *Process) wait(out io.Reader) error {
	ready := sync.OnceFunc(func() { close(p.Ready) })
	var err error
	for decoder := json.NewDecoder(out); err == nil; {
		var m struct {
			Ready  bool
			Result json.RawMessage
		}
		if err = decoder.Decode(&m); err != nil {
			break
		}
		if m.Ready {
			ready()
		}
		if m.Result != nil {
			p.Result = m.Result
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	} else {
		_, _ = io.Copy(io.Discard, out) // so that it can end
	}
	if err = errors.Join(p.cmd.Wait(), err); err != nil && !p.killed.Load() {
		return fmt.Errorf("%s: %w%s", p.name, err, p.Tail())
	}
	return nil
}

// Tail returns the end of what the instance wrote to its standard error, after a colon; nothing if
// it wrote nothing.
func (p *Process) Tail() string {
	const limit = 4 << 10
	text := p.Complaints()
	if text = strings.TrimSpace(text[max(0, len(text)-limit):]); text != "" {
		text = ": " + text
	}
	return text
}

// Complaints returns all that the instance wrote to its standard error.
func (p *Process) Complaints() string {
	text, err := os.ReadFile(p.errors)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Unexpected returns why the instance ended, if it did and nobody told it to.
func (p *Process) Unexpected() error {
	select {
	case <-p.Done:
	default:
		return nil
	}
	if p.expected.Load() {
		return nil
	}
	if p.Err == nil {
		return fmt.Errorf("%s: it ended before it was told to%s", p.name, p.Tail())
	}
	return p.Err
}

// Signal sends a signal to the instance, if it has not ended.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.Done:
		return nil
	default:
	}
	// It may have ended just now.
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Kill ends the instance as a crash would, and waits for it.
func (p *Process) Kill() {
	p.expected.Store(true)
	p.killed.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.Done
}

// End tells the instance to end, also if it is stopped.
func (p *Process) End() {
	p.expected.Store(true)
	_ = p.Signal(syscall.SIGCONT) // it may have ended
	_ = p.in.Close()              // it may be closed
}

// Stop tells the instance to end and waits for it. It returns how that went. One that takes longer
// than patience writes its goroutines to its standard error, and is killed.
func (p *Process) Stop(patience time.Duration) error {
	if err := p.Unexpected(); err != nil {
		return err
	}
	p.End()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.Done:
		return p.Err
	case <-timer.C:
	}
	_ = p.Signal(syscall.SIGQUIT) // its goroutines are written down
	timer.Reset(time.Second)
	select {
	case <-p.Done:
	case <-timer.C:
		p.Kill()
	}
	return fmt.Errorf("%s: it did not end within %v%s", p.name, patience, p.Tail())
}

// Seat is a place in a fleet, which one process after another takes.
type Seat struct {
	mu        sync.Mutex
	processes []*Process // guarded by mu; the present one is the last
}

// Start starts the next process of the seat, as spec says of its generation, which begins with 1.
func (s *Seat) Start(spec func(generation int) Spec) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := Start(spec(len(s.processes) + 1))
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// Process returns the present one, or nil before the first.
func (s *Seat) Process() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.processes) == 0 {
		return nil
	}
	return s.processes[len(s.processes)-1]
}

// Processes returns all that have ever taken the seat.
func (s *Seat) Processes() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.processes[:len(s.processes):len(s.processes)]
}

// Signal sends a signal to the present process, if there is one.
func (s *Seat) Signal(sig syscall.Signal) error {
	if p := s.Process(); p != nil {
		return p.Signal(sig)
	}
	return nil
}
