package fault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/fault"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is one instance, a client, and keeps book of what is done to it.
type fleet struct {
	server *server.Server
	relay  *server.Relay
	client redis.UniversalClient
	done   []string
}

func (f *fleet) Instances() int          { return 1 }
func (f *fleet) Relay(int) *server.Relay { return f.relay }
func (f *fleet) Server() *server.Server  { return f.server }
func (f *fleet) Signal(i int, sig syscall.Signal) error {
	f.done = append(f.done, fmt.Sprint(i, " ", sig))
	return nil
}

func (f *fleet) Kill(_ context.Context, i int) error {
	f.done = append(f.done, fmt.Sprint(i, " killed"))
	return nil
}

func (f *fleet) AwaitCoherent(ctx context.Context) error { return f.client.Ping(ctx).Err() }

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
	if f.relay, err = s.Relay(); err != nil {
		t.Fatal(err)
	}
	f.client, err = server.NewClient(s.URL(), func(o *redis.UniversalOptions) {
		o.Dialer = server.DialThrough(f.relay.Map())
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

func TestFaultsAreDoneAndUndone(t *testing.T) {
	t.Parallel()
	suffers := map[string]bool{"cut": true, "half-open": true, "swallow": true, "stop-server": true, "restart-server": true}
	for _, kind := range []server.Kind{server.Standalone, server.Cluster} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, kind)
			r := rand.New(rand.NewPCG(1, 2))
			for _, c := range fault.Catalog() {
				f.works(t)
				f.done = nil
				marker := fmt.Sprint("{marker", r.Uint64(), "}")
				if err := f.server.Client().Set(t.Context(), marker, 1, 0).Err(); err != nil {
					t.Fatal(err)
				}
				result := make(chan error, 1)
				ctx, end := context.WithCancel(t.Context())
				go func() { result <- c.Inject(ctx, f, r) }()
				// A fault is seen by whoever keeps asking, and then given up: it must be undone at once.
				if held := c.Name != "cut" && c.Name != "restart-server"; suffers[c.Name] && held {
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
				want := map[string]string{"stop-instance": fmt.Sprint("0 ", syscall.SIGSTOP, ", 0 ", syscall.SIGCONT), "kill-instance": "0 killed"}
				if got := strings.Join(f.done, ", "); got != want[c.Name] {
					t.Errorf("%s: did %q, want %q", c.Name, got, want[c.Name])
				}
				if err := c.Inject(ctx, f, r); !errors.Is(err, context.Canceled) && c.Name != "flushall" {
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
		if !c.Paths && !c.Ours || c.Name == "flushall" {
			continue
		}
		if err := c.Inject(t.Context(), &fleet{server: s}, rand.New(rand.NewPCG(1, 2))); err == nil {
			t.Errorf("%s: injected without what it needs", c.Name)
		}
	}
}

func TestByName(t *testing.T) {
	t.Parallel()
	names := func(faults []fault.Fault) string {
		var out []string
		for _, f := range faults {
			if f.About == "" || f.Inject == nil {
				t.Errorf("%s is not whole", f.Name)
			}
			out = append(out, f.Name)
		}
		return strings.Join(out, " ")
	}
	for list, want := range map[string]string{
		"all":                   strings.Join(fault.Names(), " "),
		"slow":                  "slow",
		" swallow, cut,swallow": "swallow cut",
	} {
		if got, err := fault.ByName(list); err != nil || names(got) != want {
			t.Errorf("%q: %s, %v, want %s", list, names(got), err, want)
		}
	}
	for _, list := range []string{"", "cut,", "brew"} {
		if _, err := fault.ByName(list); !errors.Is(err, fault.ErrUnknown) {
			t.Errorf("%q: %v", list, err)
		}
	}
	sorted := fault.Names()
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(fault.Catalog()) {
		t.Error("two faults have one name")
	}
}
