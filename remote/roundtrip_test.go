package remote

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// Callers that have less patience than Options say nothing about the server, but that it is silent
// for longer than the timeout is news of it.
func TestBreaker_opensForSilenceAfterCallersHaveLeft(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, *Store) error{
		"read":  func(ctx context.Context, s *Store) error { _, err := s.Get(ctx, t.Name()); return err },
		"write": func(ctx context.Context, s *Store) error { return s.Set(ctx, t.Name(), value("v"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = time.Hour })
			s := newStore(t, rdb, func(o *Options) {
				o.BreakerFailures, o.BreakerPause, o.Timeout = 1, 3*time.Second, 2*time.Second
			})
			must(t, greeted(rdb))
			p.HoldReplies()
			defer p.ReleaseReplies()
			for calls := 1; calls <= 2; calls++ { // the second is the probe
				redistest.Eventually(t, patience, func() error {
					if s.BreakerOpen() {
						return errors.New("open still")
					}
					return nil
				})
				ctx, leave := context.WithCancel(t.Context())
				left := make(chan error, 1)
				go func() { left <- do(ctx, s) }()
				redistest.Eventually(t, patience, func() error {
					if p.Held() < calls {
						return errors.New("the server has not been asked yet")
					}
					return nil
				})
				leave()
				err := <-left
				if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
					t.Fatalf("error %v", err)
				}
				redistest.Eventually(t, patience, func() error {
					if !s.BreakerOpen() {
						return errors.New("the breaker has not opened")
					}
					return nil
				})
			}
			p.ReleaseReplies()
			redistest.Eventually(t, patience, func() error { return s.Set(t.Context(), t.Name(), value("v"), nil) })
		})
	}
}

// A write that has not been sent when its caller leaves must not be sent later: others may have
// written meanwhile.
func TestContext_writeThatWasNotSentWhenItEndsNeverIs(t *testing.T) {
	t.Parallel()
	type obstacle func(t *testing.T) (rdb *redis.Client, remove func())
	obstacles := map[string]obstacle{
		"full pool": func(t *testing.T) (*redis.Client, func()) {
			rdb := shared.Client(t, func(o *redis.Options) {
				o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize, o.PoolTimeout = 1, 1, -1, time.Minute
			})
			conn := rdb.Conn()
			must(t, conn.Ping(t.Context()).Err())
			return rdb, func() { must(t, conn.Close()) }
		},
		"dialling": func(t *testing.T) (*redis.Client, func()) {
			open := make(chan struct{})
			rdb := shared.Client(t, func(o *redis.Options) {
				o.DialTimeout = time.Minute
				dial := redis.NewDialer(o)
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					<-open
					return dial(ctx, network, addr)
				}
			})
			return rdb, func() { close(open) }
		},
		"greeting": func(t *testing.T) (*redis.Client, func()) {
			p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = time.Minute })
			p.HoldReplies()
			return rdb, p.ReleaseReplies
		},
		"greeting of a client that heeds deadlines": func(t *testing.T) (*redis.Client, func()) {
			p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout, o.ContextTimeoutEnabled = time.Minute, true })
			p.HoldReplies()
			return rdb, p.ReleaseReplies
		},
	}
	for name, meet := range obstacles {
		t.Run(name, func(t *testing.T) {
			direct := shared.Client(t)
			fresh(t, direct)
			for what, do := range map[string]func(context.Context, *Store, string) error{
				"Set": func(ctx context.Context, s *Store, key string) error { return s.Set(ctx, key, value("old"), nil) },
				"SetMany": func(ctx context.Context, s *Store, key string) error {
					return s.SetMany(ctx, []Write{{Key: key, Record: value("old")}})[0]
				},
			} {
				key := t.Name() + what
				rdb, remove := meet(t)
				s, err := New(rdb, Options{Timeout: time.Minute, BreakerFailures: 1, BreakerPause: time.Hour})
				must(t, err)
				ctx, leave := context.WithTimeout(t.Context(), 500*time.Millisecond)
				err = do(ctx, s, key)
				wantErr(t, err, context.DeadlineExceeded)
				if errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("%s: what was not sent is said to be of unknown outcome: %v", what, err)
				}
				leave()
				want := put(t, direct, key, value("new"))
				remove()
				if s.BreakerOpen() {
					t.Errorf("%s: a caller's end opened the breaker", what)
				}
				_, err = s.Get(t.Context(), key) // by a connection that is in order
				must(t, err)
				must(t, s.Close(t.Context())) // waits for what was abandoned
				wantRaw(t, direct, key, want)
			}
		})
	}
}

// A probe whose caller left before anything was sent has shown nothing: the next call is the probe
// then.
func TestBreaker_probeThatWasNotSentDecidesNothing(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared, func(o *redis.Options) {
		o.PoolSize, o.MaxActiveConns, o.PoolTimeout, o.MaxRetries = 1, 1, time.Minute, -1
	})
	s := newStore(t, rdb, func(o *Options) { o.BreakerFailures, o.BreakerPause, o.Timeout = 1, 10*time.Millisecond, time.Minute })
	p.Refuse(true)
	_, err := s.Get(t.Context(), t.Name())
	wantErr(t, err, ErrUnavailable)
	p.Refuse(false)
	conn := rdb.Conn()
	redistest.Eventually(t, patience, func() error { return conn.Ping(t.Context()).Err() })
	redistest.Eventually(t, patience, func() error {
		if s.BreakerOpen() {
			return errors.New("open still")
		}
		return nil
	})
	ctx, leave := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer leave()
	err = s.Set(ctx, t.Name(), value("v"), nil)
	wantErr(t, err, context.DeadlineExceeded)
	if errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a change that was not sent is said to be of unknown outcome: %v", err)
	}
	redistest.Eventually(t, patience, func() error { // as soon as its goroutine has heard
		s.routes.single.mu.Lock()
		defer s.routes.single.mu.Unlock()
		if s.routes.single.probing {
			return errors.New("the probe has not ended")
		}
		return nil
	})
	if state := s.routes.single.now().String(); state != "half-open" {
		t.Errorf("the breaker is %s", state)
	}
	must(t, conn.Close())
	must(t, s.Set(t.Context(), t.Name(), value("v"), nil))
	if state := s.routes.single.now().String(); state != "closed" {
		t.Errorf("the breaker is %s", state)
	}
}
