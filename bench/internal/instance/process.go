package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// Message is what an instance says, a line of JSON each: first that it is ready, perhaps that it has answered all requests, last its
// result.
type Message[R any] struct {
	Ready   bool `json:",omitempty"`
	Drained bool `json:",omitempty"`
	Result  *R   `json:",omitempty"`
}

// Process is an instance as its parent sees it. Whoever starts it waits for it, whatever happens.
type Process[R any] struct {
	Ready   chan struct{} // closed when it is ready
	Drained chan struct{} // closed when it has answered all its requests, or has ended
	Done    chan struct{} // closed when it has ended, its feed has, and Result and Err are set
	Result  *R
	Err     error

	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	errText tail
}

// Spec says how to start an instance.
type Spec struct {
	Name    string   // for errors
	Command []string // and its arguments
	// Feed writes to the instance's standard input, in a goroutine of its own, and closes it. Should it wait for anything, it
	// must not after the instance has ended.
	Feed func(in io.WriteCloser, ended <-chan struct{}) error
	// Failed is told why the instance ended, if not well. It may be nil.
	Failed func(error)
}

// Start starts an instance, which ends when its input does, or when killed ends.
func Start[R any](killed context.Context, s Spec) (*Process[R], error) {
	p := &Process[R]{
		Ready:   make(chan struct{}),
		Drained: make(chan struct{}),
		Done:    make(chan struct{}),
		name:    s.Name,
		cmd:     exec.CommandContext(killed, s.Command[0], s.Command[1:]...),
	}
	p.cmd.Stderr = &p.errText
	p.cmd.SysProcAttr = ChildAttributes()
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, p.wrap(err)
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, p.wrap(err)
	}
	started := make(chan error)
	go p.live(started, s)
	if err := <-started; err != nil {
		<-p.Done
		return nil, p.Err
	}
	return p, nil
}

// live is the process's life. The system ties it to the thread that started it, so that thread waits here for its end.
func (p *Process[R]) live(started chan<- error, s Spec) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.Done)
	err := p.cmd.Start()
	if err != nil {
		p.Err = p.wrap(err)
		started <- err
		return
	}
	var feeding sync.WaitGroup
	var feedErr error
	feeding.Go(func() { feedErr = s.Feed(p.in, p.Drained) })
	started <- nil
	p.Err = p.wait()
	if p.Err != nil && s.Failed != nil {
		s.Failed(p.Err)
	}
	feeding.Wait()
	if p.Err == nil && feedErr != nil {
		p.Err = p.wrap(feedErr)
	}
}

// Signal sends a signal to the process, if it has not ended.
func (p *Process[R]) Signal(s syscall.Signal) error {
	select {
	case <-p.Done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) { // it may have ended just now
		return p.wrap(err)
	}
	return nil
}

// Abandon ends the instance's input before its time, as when the parent ends.
func (p *Process[R]) Abandon() error { return p.in.Close() }

// wait takes what the instance says until it ends.
func (p *Process[R]) wait() (err error) {
	isReady, isDrained := false, false
	drain := func() {
		if !isDrained {
			isDrained = true
			close(p.Drained)
		}
	}
	defer drain()
	decoder := json.NewDecoder(p.out)
	for {
		var m Message[R]
		if err = decoder.Decode(&m); err != nil {
			break
		}
		if m.Ready && !isReady {
			isReady = true
			close(p.Ready)
		}
		if m.Drained {
			drain()
		}
		if m.Result != nil {
			p.Result = m.Result
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if waitErr := p.cmd.Wait(); waitErr != nil { // all of its output was read
		err = errors.Join(waitErr, err)
	} else if p.Result == nil && err == nil {
		err = errors.New("it ended without a result")
	}
	if err != nil {
		return p.wrap(err)
	}
	return nil
}

func (p *Process[R]) wrap(err error) error {
	if text := strings.TrimSpace(p.errText.String()); text != "" {
		return fmt.Errorf("%s: %w: %s", p.name, err, text)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// ErrParentGone ends an instance whose input ended before it was told to end.
var ErrParentGone = errors.New("instance: the parent went away")

// ParentGone turns an error of reading the input into ErrParentGone, if that is what it means.
func ParentGone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrParentGone
	}
	return fmt.Errorf("instance: input: %w", err)
}

// tail keeps the last of what an instance writes to its standard error.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
