package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// process is an instance as its parent sees it. Whoever starts it waits for it, whatever happens.
type process struct {
	index   int
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	errText tail

	batches chan []request
	ready   chan struct{} // closed when it is ready
	drained chan struct{} // closed when it has answered all its requests, or has ended
	mayEnd  chan struct{} // closed by the parent to let it end
	done    chan struct{} // closed when it has ended and result and err are set
	result  *instanceResult
	err     error
	feeding sync.WaitGroup
	feedErr error // set before feeding is done
}

// startProcess starts an instance, which ends when its requests do, or when killed ends. If it goes wrong, failed is called.
func startProcess(killed context.Context, argv []string, cfg instanceConfig, failed func(error)) (*process, error) {
	p := &process{
		index:   cfg.Index,
		cmd:     exec.CommandContext(killed, argv[0], argv[1:]...),
		batches: make(chan []request, 4),
		ready:   make(chan struct{}),
		drained: make(chan struct{}),
		mayEnd:  make(chan struct{}),
		done:    make(chan struct{}),
	}
	p.cmd.Stderr = &p.errText
	config, err := json.Marshal(cfg)
	if err != nil {
		return nil, p.wrap(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, p.wrap(err)
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, p.wrap(err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, p.wrap(err)
	}
	p.feeding.Go(func() { p.feedErr = p.feed(append(config, '\n')) })
	go func() {
		defer close(p.done)
		if p.err = p.wait(); p.err != nil {
			failed(p.err)
		}
	}()
	return p, nil
}

// feed writes the configuration, and then requests as they are dealt. Should the instance take no more, the rest is thrown away,
// so that the dealer is never stuck.
func (p *process) feed(config []byte) error {
	w := bufio.NewWriterSize(p.in, 16<<10)
	_, err := w.Write(config)
	if err == nil {
		err = w.Flush()
	}
	for batch := range p.batches {
		if err != nil {
			continue
		}
		if err = writeBatch(w, batch); err == nil && len(p.batches) == 0 {
			err = w.Flush()
		}
	}
	if err == nil {
		err = writeBatch(w, nil)
	}
	if err == nil {
		err = w.Flush()
	}
	<-p.mayEnd
	return errors.Join(err, p.in.Close())
}

// wait takes what the instance says until it ends.
func (p *process) wait() (err error) {
	isReady, isDrained := false, false
	drain := func() {
		if !isDrained {
			isDrained = true
			close(p.drained)
		}
	}
	defer drain()
	decoder := json.NewDecoder(p.out)
	for {
		var m message
		if err = decoder.Decode(&m); err != nil {
			break
		}
		if m.Ready && !isReady {
			isReady = true
			close(p.ready)
		}
		if m.Drained {
			drain()
		}
		if m.Result != nil {
			p.result = m.Result
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if waitErr := p.cmd.Wait(); waitErr != nil { // all of its output was read
		err = errors.Join(waitErr, err)
	} else if p.result == nil && err == nil {
		err = errors.New("it ended without a result")
	}
	if err != nil {
		return p.wrap(err)
	}
	return nil
}

func (p *process) wrap(err error) error {
	if text := strings.TrimSpace(p.errText.String()); text != "" {
		return fmt.Errorf("demo: instance %d: %w: %s", p.index, err, text)
	}
	return fmt.Errorf("demo: instance %d: %w", p.index, err)
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
