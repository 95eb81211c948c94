package remote

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// roundTrip is one call under way and the context that it is made with. Its result is reported to
// the breaker once: by its goroutine, or when its timeout has passed, whether its caller still
// waits or has left. That a caller's context ends says nothing about the server.
//
// As a context it has the caller's values and an end of its own. It is not a context of the
// standard library, which would cost an allocation for each part.
type roundTrip struct {
	context.Context
	deadline  time.Time
	done      chan struct{}
	reported  atomic.Bool
	delivered atomic.Bool // the caller has the result, or has left without it
	ticket    ticket
	// onEnd is called after the end of the round trip, if its goroutine has set it. known says
	// whether the caller was told the result.
	onEnd func(known bool)

	mu        sync.Mutex
	err       error
	sent      bool        // a command was written, or may have been
	lateTimer *time.Timer // set when the caller has left
}

// errAbandoned is reported to the breaker for a round trip that ended because its caller left:
// nothing was learned about the server.
var errAbandoned = errors.New("the caller left")

// Deadline returns when the timeout of Options ends, not the caller's: a client with
// ContextTimeoutEnabled gives up the connection at that time, and that counts as a failure of the
// server.
func (t *roundTrip) Deadline() (time.Time, bool) { return t.deadline, true }

func (t *roundTrip) Done() <-chan struct{} { return t.done }

func (t *roundTrip) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// cancel ends what has not been sent, and reports whether a command was sent before: go-redis stops
// waiting for its pool and dialing. It does not stop waiting for a reply, so no connection is left
// with an unread one.
func (t *roundTrip) cancel(err error) (sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		close(t.done)
	}
	return t.sent
}

// BeforeSend implements luascript.Gate. It records that a command is about to be written, unless
// the round trip was cancelled: then the command must not be written.
func (t *roundTrip) BeforeSend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.sent = true
	}
	return t.err
}

// wasSent reports whether a command of the round trip with this context, which failed with err, may
// have been written. For errors other than a timeout and the end of a context it returns true: a
// hook of the client may have written the command itself.
func wasSent(ctx context.Context, err error) bool {
	t, ok := ctx.(*roundTrip)
	if !ok || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

// report reports the result to the breaker, unless that was done before.
func (t *roundTrip) report(err error) {
	if !t.reported.CompareAndSwap(false, true) {
		return
	}
	t.mu.Lock()
	if t.lateTimer != nil {
		t.lateTimer.Stop()
	}
	// Our own cancelling is no outage.
	if isOutage(err) && errors.Is(err, context.Canceled) && errors.Is(t.err, context.Canceled) {
		err = errAbandoned
	}
	t.mu.Unlock()
	t.ticket.report(err)
}

// expire is called when the timeout has passed. It returns the timeout error.
func (t *roundTrip) expire(op string, write bool) error {
	t.report(timeoutError(op, false))
	sent := t.cancel(context.DeadlineExceeded)
	return timeoutError(op, write && sent)
}

// leave is called when the caller's context has ended. It reports whether a change may have been
// sent. A change that was not sent must not be sent later, when other changes may have followed it.
// A read goes on until the timeout: it does no harm, and may show that the server does not answer.
func (t *roundTrip) leave(op string, write bool) (sent bool) {
	if write {
		sent = t.cancel(context.Canceled)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reported.Load() {
		t.lateTimer = time.AfterFunc(time.Until(t.deadline), func() { _ = t.expire(op, write) })
	}
	return sent
}

// waiter holds the timer and the channel that a caller waits with.
type waiter struct {
	timer   *time.Timer
	arrived chan struct{}
}

func newWaiter() any {
	w := &waiter{timer: time.NewTimer(time.Hour), arrived: make(chan struct{}, 1)}
	w.timer.Stop()
	return w
}

// roundTripResult is a round trip with its result.
type roundTripResult[T any] struct {
	roundTrip
	val T
	err error
}

// call makes one round trip to the server of a breaker. Its errors are classified. The caller
// leaves when its context ends or the timeout passes, and a late result is dropped; a call that
// runs inline is the exception (see callInline). write says whether the caller must learn the
// outcome of a change: a change whose outcome does not matter is no write here.
func call[T any](ctx context.Context, s *Store, node *breaker, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, &Error{Op: op, Err: err}
	}
	m := callModeOf(ctx)
	if m.partOfCall {
		s.inflight.Add(1)
	} else if !s.begin() {
		return none, &Error{Op: op, kinds: []error{ErrClosed}}
	}
	ticket, err := node.allow(m.background)
	if err != nil {
		s.inflight.Done()
		return none, &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	}
	ctx, span := s.tracer.start(ctx, op)
	deadline := s.deadlineOf(&m, op)
	if s.runsInline(ctx, &m) {
		t := &roundTrip{Context: ctx, deadline: deadline, done: make(chan struct{}), ticket: ticket}
		val, err := callInline(s, t, op, write, fn)
		span.end(err)
		return val, err
	}
	o := &roundTripResult[T]{roundTrip: roundTrip{Context: ctx, deadline: deadline, done: make(chan struct{}), ticket: ticket}}
	w := s.waiters.Get().(*waiter)
	w.timer.Reset(time.Until(deadline))
	arrived := w.arrived
	go func() {
		defer s.inflight.Done()
		val, err := runChecked(&o.roundTrip, s, op, write, fn)
		err = classify(op, write && wasSent(&o.roundTrip, err), err)
		o.report(err)
		o.val, o.err = val, err
		delivered := o.delivered.CompareAndSwap(false, true)
		arrived <- struct{}{}
		if o.onEnd != nil {
			o.onEnd(delivered && !errors.Is(err, ErrUnknownOutcome))
		}
	}()

	select {
	case <-arrived:
		w.timer.Stop()
		s.waiters.Put(w)
		span.end(o.err)
		return o.val, o.err
	case <-ctx.Done():
	case <-w.timer.C:
	}
	w.timer.Stop()                                // w is dropped: the result may still arrive in it
	if !o.delivered.CompareAndSwap(false, true) { // the result arrived at the same time: it is returned
		<-arrived
		span.end(o.err)
		return o.val, o.err
	}
	if ctx.Err() == nil {
		err = o.expire(op, write)
	} else {
		err = abandonedError(ctx, op, o.leave(op, write))
	}
	span.end(err)
	return none, err
}

// panicked counts the panic of a part of the client that is not go-redis's, and returns it as an
// error.
func (s *Store) panicked(r any) error {
	p := &PanicError{Value: r, Stack: debug.Stack()}
	s.opts.Panics.Note("rdb", r, p.Stack)
	return p
}

// runChecked makes the round trip, provided that the server may be asked. A panic in a hook, a
// dialer or another part of the client is returned as an error.
//
// Before a read it must be known that the server is a master: the records of a replica may be
// stale. A change shows that itself, unless it found nothing to do; then the server is asked
// afterwards, so that the question never puts the outcome of a change in doubt.
func runChecked[T any](ctx context.Context, s *Store, op string, write bool, fn func(context.Context) (T, error)) (val T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(r)
		}
	}()
	before := s.servers.Ensure
	if write {
		before = s.servers.Place
	}
	if err := before(ctx); err != nil {
		return val, clientUnusable(op, false, err)
	}
	val, err = fn(ctx)
	s.servers.Heard(err)
	if write && (err == nil || errors.Is(err, redis.Nil)) {
		if err := s.servers.Ensure(ctx); err != nil {
			var none T
			return none, clientUnusable(op, true, err)
		}
	}
	return val, err
}
