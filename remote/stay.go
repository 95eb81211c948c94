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

func (s *Store) stays(ctx context.Context, m *manner) bool {
	return s.heedsDeadlines && (ctx.Done() == nil || m.stay)
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
			_ = t.expire(a.op, a.write)
		}
	})
	a.timer.Stop()
	return a
}

// stay is call in the caller's own goroutine.
func stay[T any](s *Store, t *trip, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	a := s.alarms.Get().(*alarm)
	a.op, a.write = op, write
	a.trip.Store(t)
	a.timer.Reset(time.Until(t.deadline))
	val, err := run(t, s, op, write, fn)
	err = t.late(classify(op, write && wasSent(t, err), err))
	t.tell(err)
	if a.timer.Stop() {
		a.trip.Store(nil)
		s.alarms.Put(a)
	} // else it rings, and is dropped
	if t.undo != nil && errors.Is(err, ErrUnknownOutcome) {
		go func() {
			defer s.inflight.Done()
			t.undo(false)
		}()
	} else {
		s.inflight.Done()
	}
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
