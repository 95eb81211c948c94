package server_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
)

// fleet is one instance, a client, and keeps book of what is done to it.
type fleet struct {
	server *server.Server
	source *harness.Source
	ways   harness.Ways
	client redis.UniversalClient
	done   []string
}

func (f *fleet) Seats() int                             { return 1 }
func (f *fleet) Ways(int) harness.Ways                  { return f.ways }
func (f *fleet) Source() *harness.Source                { return f.source }
func (f *fleet) Servers() fault.Servers                 { return f.server }
func (f *fleet) Kill(i int) error                       { return f.note(i, "killed") }
func (f *fleet) Signal(i int, sig syscall.Signal) error { return f.note(i, sig) }
func (f *fleet) Replace(_ context.Context, i int) error { return f.note(i, "replaced") }

func (f *fleet) note(i int, what any) error {
	f.done = append(f.done, fmt.Sprint(i, " ", what))
	return nil
}

func newFleet(t *testing.T, kind server.Kind) *fleet {
	t.Helper()
	s, err := server.Open(t.Context(), server.Options{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fleet{server: s}
	if f.ways, err = s.Ways(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.ways.Close)
	f.client, err = server.NewClient(s.URL(), func(o *redis.UniversalOptions) {
		o.Dialer = server.DialThrough(f.ways.Map())
		o.MaxRetries, o.DialerRetries, o.MaxRedirects, o.ReadTimeout = -1, 1, -1, 100*time.Millisecond
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.client.Close() })
	return f
}

// works waits until the instance gets through to every node.
func (f *fleet) works(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		var errs []error
		for i := range 10 {
			errs = append(errs, f.client.Set(t.Context(), fmt.Sprint("k", i), 1, 0).Err())
		}
		err := errors.Join(errs...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-ticker.C
	}
}

// touches reaches all moments that the source sees, again and again, until the function that it
// returns is called.
func (f *fleet) touches(t *testing.T) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	takes := func() (before, after time.Duration) { return 0, 0 }
	if f.source, err = harness.ServeSource(filepath.Join(dir, "s"), harness.SourceOptions{Keys: 1, Takes: takes}); err != nil {
		t.Fatal(err)
	}
	c, err := harness.DialSource(filepath.Join(dir, "s"), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var touching sync.WaitGroup
	touching.Go(func() {
		for harness.Sleep(ctx, time.Millisecond) {
			_, _ = c.Load(ctx, 0) // the end of ctx breaks these off
			_, _ = c.Commit(ctx, 0)
		}
	})
	return func() {
		cancel()
		touching.Wait()
		_ = c.Close() // its connections may have ended
		if err := errors.Join(f.source.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	}
}

func TestFaultsAreDoneAndUndone(t *testing.T) {
	t.Parallel()
	suffers := map[string]bool{
		"half-open": true, "swallow": true, "swallow-replies": true, "stall-all": true, "stall-commands": true, "stop-server": true,
		"out-of-memory": true,
	}
	stopped, killed := fmt.Sprint("0 ", syscall.SIGSTOP, ", 0 ", syscall.SIGCONT), "0 killed, 0 replaced"
	want := map[string]string{
		"stop-instance": stopped, "stop-in-load": stopped, "stop-after-load": stopped, "stop-after-commit": stopped,
		"kill-instance": killed, "kill-after-commit": killed,
	}
	for _, kind := range []server.Kind{server.Standalone, server.Cluster} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, kind)
			stop := f.touches(t)
			defer stop()
			r := rand.New(rand.NewPCG(1, 2))
			for _, c := range fault.Catalog() {
				f.works(t)
				f.done = nil
				marker := fmt.Sprint("{marker", r.Uint64(), "}")
				if err := f.server.Client().Set(t.Context(), marker, 1, 0).Err(); err != nil {
					t.Fatal(err)
				}
				shot := fault.Shot{Seat: r.IntN(9), Node: r.IntN(9), Length: 50 * time.Millisecond}
				if suffers[c.Name] {
					shot.Length = time.Hour
				}
				result := make(chan error, 1)
				ctx, end := context.WithCancel(t.Context())
				go func() { result <- c.Inject(ctx, f, shot) }()
				// A fault is seen by whoever keeps asking, and then given up: it must be undone at
				// once.
				if suffers[c.Name] {
					f.suffers(t, c.Name)
					end()
				}
				if err := <-result; err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", c.Name, err)
				}
				end()
				f.works(t)
				marked := f.server.Client().Get(t.Context(), marker).Err() == nil
				if kind == server.Standalone && marked == (c.Name == "flushall" || c.Name == "restart-server") {
					t.Errorf("%s: what Redis held is kept: %t", c.Name, marked)
				}
				if got := strings.Join(f.done, ", "); got != want[c.Name] && c.Name != "stutter-instance" {
					t.Errorf("%s: did %q, want %q", c.Name, got, want[c.Name])
				}
				if err := c.Inject(ctx, f, shot); !errors.Is(err, context.Canceled) && !errors.Is(err, fault.ErrMissed) {
					t.Errorf("%s: injected after the end: %v", c.Name, err)
				}
			}
		})
	}
}

// suffers waits until a command fails.
func (f *fleet) suffers(t *testing.T, name string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; f.client.Set(t.Context(), fmt.Sprint("k", i%10), 1, 0).Err() == nil; i++ {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing fails", name)
		}
	}
}

func TestWithoutWhatIsNeeded(t *testing.T) {
	t.Parallel()
	s, err := server.Open(t.Context(), server.Options{Kind: server.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range fault.Catalog() {
		if !c.Paths && !c.Ours || c.Name == "flushall" || c.Name == "script-flush" {
			continue
		}
		if err := c.Inject(t.Context(), &fleet{server: s}, fault.Shot{}); err == nil {
			t.Errorf("%s: injected without what it needs", c.Name)
		}
	}
}
