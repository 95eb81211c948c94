package redistest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Host owns what this package starts. Every testing.TB is one; [Shared] makes one for TestMain.
//
// Fatalf must be called by the goroutine that runs the test, so functions that take a Host, and methods of what
// they return, are called from there.
type Host interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
	TempDir() string
}

// Runner is what testing.M is to TestMain.
type Runner interface{ Run() int }

// Shared returns a Runner which calls setup, runs m, and then ends everything that setup started. A failing setup
// ends the process with status 1.
func Shared(m Runner, setup func(Host)) Runner {
	return sharedRunner{m: m, setup: setup}
}

type sharedRunner struct {
	m     Runner
	setup func(Host)
}

func (r sharedRunner) Run() int {
	h := &mainHost{}
	defer h.close() // also when a panic or Goexit passes through
	r.setup(h)
	code := r.m.Run()
	h.mu.Lock()
	h.failed = h.failed || code != 0
	h.mu.Unlock()
	return code
}

// mainHost is a Host without a test.
type mainHost struct {
	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (h *mainHost) Helper() {}

func (h *mainHost) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (h *mainHost) Fatalf(format string, args ...any) {
	h.Logf(format, args...)
	h.mu.Lock()
	h.failed = true
	h.mu.Unlock()
	h.close()
	os.Exit(1)
}

func (h *mainHost) Failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func (h *mainHost) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

func (h *mainHost) TempDir() string {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		h.Fatalf("redistest: %v", err)
	}
	h.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			h.Logf("redistest: %v", err)
		}
	})
	return dir
}

func (h *mainHost) close() {
	h.mu.Lock()
	cleanups := h.cleanups
	h.cleanups = nil
	h.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

// Eventually calls check until it returns nil, and fails the test with its last error after patience.
func Eventually(h Host, patience time.Duration, check func() error) {
	h.Helper()
	if err := eventually(patience, check); err != nil {
		h.Fatalf("not so within %v: %v", patience, err)
	}
}

func eventually(patience time.Duration, check func() error) error {
	const pause = 10 * time.Millisecond
	deadline := time.Now().Add(patience)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil || !time.Now().Before(deadline) {
			return err
		}
		<-ticker.C
	}
}
