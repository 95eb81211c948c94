package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// host is what redistest takes for a test: here a failure is an error, and the end of the test is close.
type host struct {
	log io.Writer

	mu       sync.Mutex
	failure  error // guarded by mu; of the call that runs
	failed   bool  // guarded by mu; any call ever
	cleanups []func()

	calls sync.Mutex // one call at a time: its failure must be its own
}

var _ redistest.Host = (*host)(nil)

// do calls f, which may use h, on a goroutine of its own that Fatalf can end, and gives the error of that.
func (h *host) do(f func()) error {
	h.calls.Lock()
	defer h.calls.Unlock()
	var calling sync.WaitGroup
	calling.Go(f)
	calling.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.failure
	h.failure = nil
	return err
}

func (h *host) Helper() {}

func (h *host) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(h.log, format+"\n", args...) // a log that cannot be written is not worth an error
}

// Fatalf ends the goroutine of do.
func (h *host) Fatalf(format string, args ...any) {
	h.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

func (h *host) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure, h.failed = errors.Join(h.failure, err), true
}

func (h *host) Failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func (h *host) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

// TempDir is called by several goroutines that Fatalf could not end, so what it gives on failure is no directory.
func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "doppio-redis-")
	if err != nil {
		h.fail(err)
		return filepath.Join(os.DevNull, "absent")
	}
	h.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			h.Logf("server: %v", err)
		}
	})
	return dir
}

// close ends everything that was started, the newest first.
func (h *host) close() error {
	h.mu.Lock()
	cleanups := h.cleanups
	h.cleanups = nil
	h.mu.Unlock()
	return h.do(func() {
		for _, f := range slices.Backward(cleanups) {
			f()
		}
	})
}
