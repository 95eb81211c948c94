//go:build linux

package attack

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// slot is a place in the fleet. The processes that take it one after another use the same ways to the servers.
type slot struct {
	number int
	bypass bool
	ways   map[string]*way // by the server's address

	mu         sync.Mutex
	process    *process
	generation int
}

// process is one instance as its parent sees it.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	ready  chan struct{} // closed when its near tier is coherent, or it has ended
	done   chan struct{} // closed when it has been waited for
	err    error         // what Wait returned; read after done
	errors string        // the file of its standard error
	log    string

	mu       sync.Mutex
	expected bool // it was told to end
}

const endPatience = 30 * time.Second

// start starts a process for the slot.
func (f *fleet) start(s *slot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	name := fmt.Sprintf("i%d.%d", s.number, s.generation)
	cfg := f.config
	cfg.Name, cfg.Slot, cfg.Bypass = name, s.number, s.bypass
	cfg.Log = filepath.Join(f.dir, name+".log")
	cfg.Bound = f.bound()
	cfg.Ways = make(map[string]string)
	for addr, w := range s.ways {
		cfg.Ways[addr] = w.addr()
	}
	p, err := startProcess(f.dir, cfg)
	if err != nil {
		return err
	}
	s.process = p
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes = append(f.processes, p)
	return nil
}

func startProcess(dir string, cfg workerConfig) (*process, error) {
	config, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{
		name: cfg.Name, log: cfg.Log, errors: filepath.Join(dir, cfg.Name+".err"),
		cmd: exec.Command(exe), ready: make(chan struct{}), done: make(chan struct{}),
	}
	stderr, err := os.Create(p.errors)
	if err != nil {
		return nil, err
	}
	p.cmd.Env = append(os.Environ(), workerEnv+"="+string(config))
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, stderr.Close())
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, stderr.Close())
	}
	started := make(chan error)
	go func() {
		// The kernel ties the child's life to the thread that forked it, so that thread waits here for the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer stderr.Close()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(stdout).ReadString('\n') // "ready", or the end
		close(p.ready)
		_, _ = io.Copy(io.Discard, stdout) // to its end
		p.err = p.cmd.Wait()
	}()
	return p, <-started
}

func (p *process) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// unexpected tells why a process that nobody told to end has ended, or nil.
func (p *process) unexpected() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expected {
		return nil
	}
	return fmt.Errorf("%s has ended by itself: %w\n%s", p.name, p.err, p.tail())
}

// tail is the end of what the process said.
func (p *process) tail() string {
	const limit = 3 << 10
	text, err := os.ReadFile(p.errors)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-limit):])
}

// raced tells whether the race detector has reported something.
func (p *process) raced() bool {
	text, err := os.ReadFile(p.errors)
	return err == nil && strings.Contains(string(text), "WARNING: DATA RACE")
}

func (s *slot) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// signal sends a signal to the slot's process. One that has ended does not mind.
func (s *slot) signal(sig syscall.Signal) {
	p := s.current()
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(sig) // it may have ended just now
	}
}

// kill ends the slot's process as a crash would, and notes that in the history.
func (f *fleet) kill(s *slot) {
	p := s.current()
	if err := p.unexpected(); err != nil {
		f.mu.Lock()
		f.early = errors.Join(f.early, err)
		f.mu.Unlock()
	}
	p.expect()
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	f.log.Add(history.Op{Kind: history.Gone, Start: history.Now(), Instance: p.name})
}

// stop tells the slot's process to end, and waits for it.
func (f *fleet) stop(s *slot) error {
	p := s.current()
	if err := p.unexpected(); err != nil {
		return err
	}
	p.expect()
	s.signal(syscall.SIGCONT)
	p.stdin.Close()
	timer := time.NewTimer(endPatience)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.tail())
		}
		return nil
	case <-timer.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines are written to its standard error
		timer.Reset(time.Second)
		select {
		case <-p.done:
		case <-timer.C:
			f.kill(s)
		}
		return fmt.Errorf("%s did not end within %v; what it does is in %s", p.name, endPatience, p.errors)
	}
}
