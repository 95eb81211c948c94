package remote

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// stackHook keeps the stack of the goroutine that sends a command.
type stackHook struct {
	plainHook
	stack atomic.Pointer[string]
}

func (h *stackHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		stack := string(debug.Stack())
		h.stack.Store(&stack)
		return next(ctx, cmd)
	}
}

func TestStay_onlyWhereNoCallerLeavesAndDeadlinesAreHeeded(t *testing.T) {
	t.Parallel()
	leaves, stop := context.WithCancel(context.Background())
	defer stop()
	for name, c := range map[string]struct {
		ctx    context.Context
		mutate func(*redis.Options)
		stays  bool
	}{
		"no end":                {context.Background(), func(*redis.Options) {}, true},
		"told to":               {NoDetach(leaves), func(*redis.Options) {}, true},
		"may leave":             {leaves, func(*redis.Options) {}, false},
		"deadlines not heeded":  {context.Background(), func(o *redis.Options) { o.ContextTimeoutEnabled = false }, false},
		"somebody else's code":  {NoDetach(leaves), func(o *redis.Options) { o.OnConnect = func(context.Context, *redis.Conn) error { return nil } }, false},
		"somebody else's login": {context.Background(), func(o *redis.Options) { o.CredentialsProvider = func() (string, string) { return "", "" } }, false},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := shared.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true; c.mutate(o) })
			h := &stackHook{}
			rdb.AddHook(h)
			s := newStore(t, rdb)
			_, err := s.Get(c.ctx, t.Name())
			wantErr(t, err, ErrNotFound)
			if got := strings.Contains(*h.stack.Load(), "TestStay_onlyWhere"); got != c.stays {
				t.Errorf("sent by its caller's goroutine: %v, want %v", got, c.stays)
			}
		})
	}
}

// Whatever holds up a call that stays, the call ends by the timeout, says so, and speaks against
// the server.
func TestStay_endsByTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	patient := func(o *redis.Options) {
		o.ReadTimeout, o.WriteTimeout, o.DialTimeout, o.PoolTimeout, o.ContextTimeoutEnabled = time.Hour, time.Hour, time.Hour, time.Hour, true
	}
	for name, greet := range map[string]bool{"reply": true, "greeting": false} {
		t.Run(name, func(t *testing.T) {
			for what, do := range map[string]func(*Store) error{
				"read":  func(s *Store) error { _, err := s.Get(context.Background(), t.Name()); return err },
				"write": func(s *Store) error { return s.Set(context.Background(), t.Name(), value("v"), nil) },
			} {
				p, rdb := proxied(t, shared, patient)
				s := newStore(t, rdb, func(o *Options) { o.Timeout, o.BreakerFailures, o.BreakerPause = timeout, 1, time.Hour })
				if greet {
					must(t, greeted(rdb))
				}
				p.HoldReplies()
				result := make(chan error, 1)
				go func() { result <- do(s) }()
				select {
				case err := <-result:
					want := []error{ErrUnavailable}
					if what == "write" && greet {
						want = append(want, ErrUnknownOutcome)
					}
					wantErr(t, err, want...)
					if !greet && errors.Is(err, ErrUnknownOutcome) {
						t.Errorf("what was not sent is said to be of unknown outcome: %v", err)
					}
				case <-time.After(patience):
					t.Fatalf("%s: has not ended", what)
				}
				redistest.Eventually(t, patience, func() error { // the alarm may be telling it yet
					if !s.BreakerOpen() {
						return fmt.Errorf("%s: the breaker has not heard of it", what)
					}
					return nil
				})
				p.ReleaseReplies()
				must(t, s.Close(t.Context())) // nothing is left behind
				next := newStore(t, rdb)      // its breaker is closed
				redistest.Eventually(t, patience, func() error {
					if err := do(next); err != nil && !errors.Is(err, ErrNotFound) {
						return err
					}
					return nil
				})
			}
		})
	}
}

func TestStay_leavesAFullPool(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t, func(o *redis.Options) {
		o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize, o.PoolTimeout, o.ContextTimeoutEnabled = 1, 1, -1, time.Hour, true
	})
	conn := rdb.Conn()
	must(t, conn.Ping(t.Context()).Err())
	s := newStore(t, rdb, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	err := s.Set(context.Background(), t.Name(), value("v"), nil)
	wantErr(t, err, ErrUnavailable)
	if errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("what was not sent is said to be of unknown outcome: %v", err)
	}
	must(t, conn.Close())
	patient := newStore(t, rdb) // the connection is there again, however slow this machine is
	must(t, patient.Set(context.Background(), t.Name(), value("v"), nil))
}
