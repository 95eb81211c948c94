package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// A lease that was granted after its caller had left is given back: when its reply comes, or when
// there is none to come. No other caller could know that it need not be waited for until its end,
// which is an hour away here.
func TestAcquire_givesBackALeaseGrantedAfterItsCallerLeft(t *testing.T) {
	t.Parallel()
	const life = time.Hour
	single := func(ctx context.Context, s *Store, keys []string) error {
		_, _, err := s.Acquire(ctx, LeaseRequest{Key: keys[0], Token: NewToken(), Stamp: 1}, life)
		return err
	}
	batch := func(ctx context.Context, s *Store, keys []string) (err error) {
		claims := make([]LeaseRequest, len(keys))
		for i, k := range keys {
			claims[i] = LeaseRequest{Key: k, Token: NewToken(), Stamp: 1}
		}
		for _, r := range s.AcquireMany(ctx, claims, life) {
			err = errors.Join(err, r.Err)
		}
		return err
	}
	none := func(o *redis.Options) { o.ReadTimeout = time.Minute } // only the store is impatient
	heeds := func(o *redis.Options) { o.ContextTimeoutEnabled = true }
	for name, c := range map[string]struct {
		acquire func(ctx context.Context, s *Store, keys []string) error
		keys    int
		client  func(*redis.Options)
		lost    bool // the reply is, with its connection
		leave   bool // the caller's context ends; else its patience
		stay    bool
	}{
		"a timeout":                          {single, 1, none, false, false, false},
		"a context that ended":               {single, 1, none, false, true, false},
		"a lost reply":                       {single, 1, none, true, false, false},
		"a timeout of a call that stays":     {single, 1, heeds, false, false, true},
		"a batch's timeout":                  {batch, 3, none, false, false, false},
		"a context of a batch that ended":    {batch, 3, none, false, true, false},
		"a batch's lost reply":               {batch, 3, none, true, false, false},
		"a timeout of a batch that stays":    {batch, 3, heeds, false, false, true},
		"a lost reply to a batch that stays": {batch, 3, heeds, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, rdb := proxied(t, shared, c.client)
			s := newStore(t, rdb, func(o *Options) {
				if !c.lost && !c.leave {
					o.ReadTimeout = time.Second
				}
			})
			prefix := t.Name()
			keys := make([]string, c.keys)
			for i := range keys {
				keys[i] = fmt.Sprint(prefix, i)
			}
			must(t, c.acquire(t.Context(), s, []string{prefix + "other"})) // the server knows the script
			set := p.HoldNextReplyTo
			if c.lost {
				set = p.SwallowNextReplyTo
			}
			trap := set(keys[len(keys)-1])
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.leave {
				go func() { <-trap.Sprung(); cancel() }()
			}
			if c.stay {
				ctx = NoDetach(ctx)
			}
			if err := c.acquire(ctx, s, keys); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%v is no unknown outcome", err)
			}
			around := shared.Client(t)
			if !c.lost && !c.stay {
				if n := around.Exists(t.Context(), keys...).Val(); n != int64(len(keys)) {
					t.Errorf("%d leases of %d were granted", n, len(keys))
				}
			}
			trap.Release()
			redistest.Eventually(t, patience, func() error {
				if n := around.Exists(t.Context(), keys...).Val(); n != 0 {
					return fmt.Errorf("%d leases are held by nobody", n)
				}
				return nil
			})
			if n := around.Exists(t.Context(), prefix+"other").Val(); n != 1 {
				t.Error("a lease that is held was given back")
			}
		})
	}
}

// A lease that could not be given back is tried again, and not waited for by Close.
func TestAcquire_triesAgainToGiveALeaseBack(t *testing.T) {
	t.Parallel()
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprintf("the server comes back: %t", comes), func(t *testing.T) {
			t.Parallel()
			refused := make(chan struct{}, 1)
			p, rdb := proxied(t, shared, func(o *redis.Options) {
				o.DialerRetries, o.MaxRetries = 1, -1
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					if err != nil {
						select {
						case refused <- struct{}{}:
						default:
						}
					}
					return conn, err
				}
			})
			s := newStore(t, rdb, func(o *Options) { o.BreakerFailures = 1000 })
			key := t.Name()
			_, _, err := s.Acquire(t.Context(), LeaseRequest{Key: key + "other", Token: NewToken(), Stamp: 1}, time.Hour)
			must(t, err)
			trap := p.SwallowNextReplyTo(key)
			p.Refuse(true) // the trap springs on a connection that is there
			if _, _, err = s.Acquire(t.Context(), LeaseRequest{Key: key, Token: NewToken(), Stamp: 1}, time.Hour); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%v is no unknown outcome", err)
			}
			<-trap.Sprung()
			<-refused
			<-refused
			around := shared.Client(t)
			if n := around.Exists(t.Context(), key).Val(); n != 1 {
				t.Error("no lease was granted")
			}
			if !comes {
				must(t, s.Close(t.Context()))
				return
			}
			p.Refuse(false)
			redistest.Eventually(t, patience, func() error {
				if around.Exists(t.Context(), key).Val() != 0 {
					return errors.New("the lease is held by nobody")
				}
				return nil
			})
		})
	}
}
