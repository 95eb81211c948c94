package remote

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// trip is one call on its way, and the context that it is made with. What it met is told to the breaker once: by its
// goroutine, or when Options.Timeout has passed since its start, whether its caller still waits or has left. A caller's
// own end says nothing about the server.
//
// As a context it has the caller's values, but an end of its own. It is no context of the standard library since that
// costs an allocation for each part.
type trip struct {
	context.Context
	deadline time.Time
	done     chan struct{}
	told     atomic.Bool
	report   func(error)

	mu    sync.Mutex
	err   error
	alarm *time.Timer // set when the caller has left
}

// errLeft is told to the breaker of a trip that ended because its caller left: nothing was learned.
var errLeft = errors.New("the caller left")

// Deadline is when the patience of Options ends, not the caller's: a client with ContextTimeoutEnabled gives up the
// connection at that time, and that speaks against the server.
func (t *trip) Deadline() (time.Time, bool) { return t.deadline, true }

func (t *trip) Done() <-chan struct{} { return t.done }

func (t *trip) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// cancel ends what has not been sent: go-redis stops to wait for its pool and to dial. It does not stop to wait for a
// reply, so no connection is left with one unread.
func (t *trip) cancel(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		close(t.done)
	}
}

func (t *trip) tell(err error) {
	if !t.told.CompareAndSwap(false, true) {
		return
	}
	t.mu.Lock()
	if t.alarm != nil {
		t.alarm.Stop()
	}
	// An outage that is our own cancelling is none.
	if isOutage(err) && errors.Is(err, context.Canceled) && errors.Is(t.err, context.Canceled) {
		err = errLeft
	}
	t.mu.Unlock()
	t.report(err)
}

// expire is called when the timeout has passed.
func (t *trip) expire(err error) {
	t.tell(err)
	t.cancel(context.DeadlineExceeded)
}

// leave is called when the caller's context has ended. A change that was not sent must not be later, when others may
// have followed it. A read goes on until the timeout: it does no harm, and may be what finds out that nobody answers.
func (t *trip) leave(op string, write bool) {
	if write {
		t.cancel(context.Canceled)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told.Load() {
		t.alarm = time.AfterFunc(time.Until(t.deadline), func() { t.expire(timedOut(op, write)) })
	}
}

// wait is what a caller waits with.
type wait struct {
	timer   *time.Timer
	arrived chan struct{}
}

func newWait() any {
	w := &wait{timer: time.NewTimer(time.Hour), arrived: make(chan struct{}, 1)}
	w.timer.Stop()
	return w
}

type outcome[T any] struct {
	trip
	val T
	err error
}

// call runs one round trip. Errors come back classified. The caller leaves when its context ends or the timeout passes;
// a late result is dropped. It does not leave if it stays: see stay. write says whether its caller must know what became of a change: what may be changed
// without that is no write here.
func call[T any](ctx context.Context, s *Store, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, &Error{Op: op, Err: err}
	}
	if !s.enter() {
		return none, &Error{Op: op, kinds: []error{ErrClosed}}
	}
	report, err := s.breaker.Allow()
	if err != nil {
		s.inflight.Done()
		return none, classify(op, write, err)
	}
	ctx, span := s.tracer.start(ctx, op)
	if s.stays(ctx) {
		t := &trip{Context: ctx, deadline: time.Now().Add(s.opts.Timeout), done: make(chan struct{}), report: report}
		val, err := stay(s, t, op, write, fn)
		span.end(err)
		return val, err
	}
	o := &outcome[T]{trip: trip{Context: ctx, deadline: time.Now().Add(s.opts.Timeout), done: make(chan struct{}), report: report}}
	w := s.waits.Get().(*wait)
	w.timer.Reset(s.opts.Timeout)
	arrived := w.arrived
	go func() {
		defer s.inflight.Done()
		val, err := fn(&o.trip)
		err = classify(op, write, err)
		o.tell(err)
		o.val, o.err = val, err
		arrived <- struct{}{}
	}()

	select {
	case <-arrived:
		w.timer.Stop()
		s.waits.Put(w)
		span.end(o.err)
		return o.val, o.err
	case <-ctx.Done():
	case <-w.timer.C:
	}
	w.timer.Stop() // and w is dropped, since the result may arrive yet
	err = abandoned(ctx, op, write)
	if ctx.Err() == nil {
		o.expire(err)
	} else {
		o.leave(op, write)
	}
	span.end(err)
	return none, err
}
