package redistest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Host owns what this package starts. Every testing.TB is one; [Shared] has one for TestMain, and
// [Owner] is one for programs.
//
// Fatalf must be called by the goroutine that runs the test, so functions that take a Host, and
// methods of what they return, are called from there.
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

// Shared returns a Runner which calls setup, runs m, and then ends everything that setup started. A
// failing setup ends the process with status 1.
func Shared(m Runner, setup func(Host)) Runner {
	return sharedRunner{m: m, setup: setup}
}

type sharedRunner struct {
	m     Runner
	setup func(Host)
}

func (r sharedRunner) Run() (code int) {
	o := NewOwner(os.Stderr)
	defer func() { // also when a panic passes through
		if err := o.Close(); err != nil {
			o.Logf("%v", err)
		}
	}()
	if err := o.Do(func() { r.setup(o) }); err != nil {
		o.Logf("%v", err)
		return 1
	}
	if code = r.m.Run(); code != 0 {
		o.fail(nil)
	}
	return code
}

// Owner is a Host without a test: a failure is the error of [Owner.Do], and what a test's end is to
// others is [Owner.Close].
type Owner struct {
	log io.Writer

	mu       sync.Mutex
	failure  error // guarded by mu; of the call that runs
	failed   bool  // guarded by mu; any call ever
	cleanups []func()

	calls sync.Mutex // one call at a time: its failure must be its own
}

var _ Host = (*Owner)(nil)

// NewOwner returns an Owner that tells log what a server that failed had to say.
func NewOwner(log io.Writer) *Owner { return &Owner{log: log} }

// Do calls f, which may use o, on a goroutine of its own that Fatalf can end, and returns the error
// of that.
func (o *Owner) Do(f func()) error {
	o.calls.Lock()
	defer o.calls.Unlock()
	var calling sync.WaitGroup
	calling.Go(f)
	calling.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.failure
	o.failure = nil
	return err
}

// Helper does nothing.
func (o *Owner) Helper() {}

// Logf writes a line to the log.
func (o *Owner) Logf(format string, args ...any) {
	// A log that cannot be written is not worth an error.
	_, _ = fmt.Fprintf(o.log, format+"\n", args...)
}

// Fatalf ends the goroutine of Do.
func (o *Owner) Fatalf(format string, args ...any) {
	o.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

func (o *Owner) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failure, o.failed = errors.Join(o.failure, err), true
}

// Failed reports whether any call ever failed.
func (o *Owner) Failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// Cleanup has f called by Close.
func (o *Owner) Cleanup(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cleanups = append(o.cleanups, f)
}

// TempDir returns a directory that Close removes. Goroutines call it that Fatalf could not end, so
// what it returns on failure is no directory.
func (o *Owner) TempDir() string {
	dir, err := os.MkdirTemp("", "doppio-redis-")
	if err != nil {
		o.fail(err)
		return filepath.Join(os.DevNull, "absent")
	}
	o.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			o.Logf("redistest: %v", err)
		}
	})
	return dir
}

// Close ends everything that was started, the newest first.
func (o *Owner) Close() error {
	o.mu.Lock()
	cleanups := o.cleanups
	o.cleanups = nil
	o.mu.Unlock()
	return o.Do(func() {
		for _, f := range slices.Backward(cleanups) {
			f()
		}
	})
}

// Eventually calls check until it returns nil, and fails the test with its last error after
// patience.
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
