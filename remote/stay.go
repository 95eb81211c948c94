package remote

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A goroutine for each round trip is what lets a caller leave in the middle of one. It costs a wakeup there and another
// back, a quarter of the round trip where there are few callers. A call whose caller cannot leave, or does not want to,
// stays in its caller's goroutine where go-redis itself ends it in time.

type stayKey struct{}

// Stay gives a context for calls whose caller does not leave when ctx ends: they end by themselves, after Options.Timeout
// at the latest. Calls with a context that cannot end are made so without being told.
func Stay(ctx context.Context) context.Context {
	return context.WithValue(ctx, stayKey{}, true)
}

func (s *Store) stays(ctx context.Context) bool {
	if !s.heedsDeadlines {
		return false
	}
	return ctx.Done() == nil || ctx.Value(stayKey{}) != nil
}

// heedsDeadlines tells whether a call of the client ends by its context's deadline, whatever it is at: it is told to by
// ContextTimeoutEnabled, and nobody else's code is run within the call that might not. A Cluster client may have to ask
// for the cluster's layout in between, and is not trusted with it.
func heedsDeadlines(rdb redis.UniversalClient) bool {
	c, one := rdb.(*redis.Client)
	if !one {
		return false
	}
	o := c.Options()
	return o.ContextTimeoutEnabled && o.OnConnect == nil && o.Limiter == nil &&
		o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
}

// alarm ends a trip that has taken too long, by its context: go-redis gives up what it waits for, be it the pool, a dial
// or a pause between attempts. It gives up a reply by the deadline.
type alarm struct {
	timer *time.Timer
	trip  atomic.Pointer[trip]
	op    string // as write, set before the timer is and not changed until it has been stopped
	write bool
}

func newAlarm() any {
	a := &alarm{}
	a.timer = time.AfterFunc(time.Hour, func() {
		if t := a.trip.Load(); t != nil {
			t.expire(timedOut(a.op, a.write))
		}
	})
	a.timer.Stop()
	return a
}

// stay is call in the caller's own goroutine.
func stay[T any](s *Store, t *trip, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	defer s.inflight.Done()
	a := s.alarms.Get().(*alarm)
	a.op, a.write = op, write
	a.trip.Store(t)
	a.timer.Reset(s.opts.Timeout)
	val, err := fn(t)
	err = t.late(classify(op, write, err))
	t.tell(err)
	if a.timer.Stop() {
		a.trip.Store(nil)
		s.alarms.Put(a)
	} // else it rings, and is dropped
	return val, err
}

// late says of an outage that the deadline has made that it was the timeout, in whatever words go-redis reports it.
func (t *trip) late(err error) error {
	var e *Error
	if !isOutage(err) || time.Now().Before(t.deadline) || !errors.As(err, &e) {
		return err
	}
	return &Error{Op: e.Op, Err: errTimeout, kinds: e.kinds}
}
