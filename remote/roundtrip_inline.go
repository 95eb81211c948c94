package remote

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A goroutine for each round trip lets a caller leave in the middle of one. It costs a wakeup there
// and another back, a quarter of the round trip if there are few callers. A call that its caller
// cannot leave, or does not want to leave, runs in the caller's goroutine if go-redis itself ends
// it in time.

// runsInline reports whether a call runs in its caller's goroutine.
func (s *Store) runsInline(ctx context.Context, m *callMode) bool {
	return s.honorsDeadlines && (ctx.Done() == nil || m.inline)
}

// honorsDeadlines reports whether every call of the client ends at the deadline of its context.
// ContextTimeoutEnabled makes it do so, unless the call runs code that is not go-redis's. A Cluster
// client may have to ask for the layout of the cluster during a call, and counts as one that does
// not.
func honorsDeadlines(rdb redis.UniversalClient) bool {
	c, one := rdb.(*redis.Client)
	if !one {
		return false
	}
	o := c.Options()
	return o.ContextTimeoutEnabled && o.OnConnect == nil && o.Limiter == nil &&
		o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
}

// timeoutTimer cancels a round trip that has taken too long, by its context: go-redis then gives up
// waiting for the pool, a dial or a pause between attempts. It gives up waiting for a reply at the
// deadline.
type timeoutTimer struct {
	timer     *time.Timer
	roundTrip atomic.Pointer[roundTrip]
	op        string // op and write are set before the timer, and not changed until it has been stopped
	write     bool
}

func newTimeoutTimer() any {
	a := &timeoutTimer{}
	a.timer = time.AfterFunc(time.Hour, func() {
		if t := a.roundTrip.Load(); t != nil {
			_ = t.expire(a.op, a.write)
		}
	})
	a.timer.Stop()
	return a
}

// callInline is call in the caller's own goroutine.
func callInline[T any](s *Store, t *roundTrip, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	a := s.timeoutTimers.Get().(*timeoutTimer)
	a.op, a.write = op, write
	a.roundTrip.Store(t)
	a.timer.Reset(time.Until(t.deadline))
	val, err := runChecked(t, s, op, write, fn)
	err = t.asTimeout(classify(op, write && wasSent(t, err), err))
	t.report(err)
	if a.timer.Stop() {
		a.roundTrip.Store(nil)
		s.timeoutTimers.Put(a)
	} // else it fires, and is dropped
	if t.onEnd != nil && errors.Is(err, ErrUnknownOutcome) {
		go func() {
			defer s.inflight.Done()
			t.onEnd(false)
		}()
	} else {
		s.inflight.Done()
	}
	return val, err
}

// asTimeout makes an outage that the deadline has caused match errTimeout, however go-redis reports
// it.
func (t *roundTrip) asTimeout(err error) error {
	var e *Error
	if !isOutage(err) || time.Now().Before(t.deadline) || !errors.As(err, &e) {
		return err
	}
	return &Error{Op: e.Op, Err: errTimeout, kinds: e.kinds}
}
