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

// trip is one call on its way, and the context that it is made with. What it met is told to the breaker once: by its
// goroutine, or when its timeout has passed since its start, whether its caller still waits or has left. A caller's
// own end says nothing about the server.
//
// As a context it has the caller's values, but an end of its own. It is no context of the standard library since that
// costs an allocation for each part.
type trip struct {
	context.Context
	deadline time.Time
	done     chan struct{}
	told     atomic.Bool
	handed   atomic.Bool // its result is its caller's, or its caller has left without
	ticket   ticket
	// undo, which its goroutine sets where there may be something to take back, is called after its end: heard says
	// whether its caller was told what became of it.
	undo func(heard bool)

	mu    sync.Mutex
	err   error
	sent  bool        // a command that must not be repeated was written, or may have been
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

// cancel ends what has not been sent, and reports whether something had been: go-redis stops to wait for its pool and to
// dial. It does not stop to wait for a reply, so no connection is left with one unread.
func (t *trip) cancel(err error) (sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		close(t.done)
	}
	return t.sent
}

// send notes that a command is about to be written, unless the trip was cancelled: then it must not be.
func (t *trip) send() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.sent = true
	}
	return t.err
}

// wasSent reports whether a command of the round trip with this context, which failed with err, may have been written. Of
// errors that are no timeout and no context's end it is not asked: a hook of the client's may have written it by itself.
func wasSent(ctx context.Context, err error) bool {
	t, ok := ctx.(*trip)
	if !ok || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
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
	t.ticket.report(err)
}

// expire is called when the timeout has passed, and gives the error that says so.
func (t *trip) expire(op string, write bool) error {
	t.tell(timedOut(op, false))
	sent := t.cancel(context.DeadlineExceeded)
	return timedOut(op, write && sent)
}

// leave is called when the caller's context has ended, and reports whether a change may have been sent. One that was not
// must not be later, when others may have followed it. A read goes on until the timeout: it does no harm, and may be
// what finds out that nobody answers.
func (t *trip) leave(op string, write bool) (sent bool) {
	if write {
		sent = t.cancel(context.Canceled)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told.Load() {
		t.alarm = time.AfterFunc(time.Until(t.deadline), func() { _ = t.expire(op, write) })
	}
	return sent
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

// call runs one round trip to the server that node is the breaker of. Errors come back classified. The caller leaves when
// its context ends or the timeout passes; a late result is dropped. It does not leave if it stays: see stay. write says
// whether its caller must know what became of a change: what may be changed without that is no write here.
func call[T any](ctx context.Context, s *Store, node *breaker, op string, write bool, fn func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, &Error{Op: op, Err: err}
	}
	m := mannerOf(ctx)
	if m.within {
		s.inflight.Add(1)
	} else if !s.enter() {
		return none, &Error{Op: op, kinds: []error{ErrClosed}}
	}
	ticket, err := node.allow(m.background)
	if err != nil {
		s.inflight.Done()
		return none, &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	}
	ctx, span := s.tracer.start(ctx, op)
	deadline := s.ends(&m, op)
	if s.stays(ctx, &m) {
		t := &trip{Context: ctx, deadline: deadline, done: make(chan struct{}), ticket: ticket}
		val, err := stay(s, t, op, write, fn)
		span.end(err)
		return val, err
	}
	o := &outcome[T]{trip: trip{Context: ctx, deadline: deadline, done: make(chan struct{}), ticket: ticket}}
	w := s.waits.Get().(*wait)
	w.timer.Reset(time.Until(deadline))
	arrived := w.arrived
	go func() {
		defer s.inflight.Done()
		val, err := run(&o.trip, s, op, write, fn)
		err = classify(op, write && wasSent(&o.trip, err), err)
		o.tell(err)
		o.val, o.err = val, err
		delivered := o.handed.CompareAndSwap(false, true)
		arrived <- struct{}{}
		if o.undo != nil {
			o.undo(delivered && !errors.Is(err, ErrUnknownOutcome))
		}
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
	w.timer.Stop()                             // and w is dropped, since the result may arrive yet
	if !o.handed.CompareAndSwap(false, true) { // both at once: what is known is not said to be in doubt
		<-arrived
		span.end(o.err)
		return o.val, o.err
	}
	if ctx.Err() == nil {
		err = o.expire(op, write)
	} else {
		err = abandoned(ctx, op, o.leave(op, write))
	}
	span.end(err)
	return none, err
}

// caught notes a panic in a part of the client that is not go-redis's, and gives it as an error.
func (s *Store) caught(r any) error {
	p := &PanicError{Value: r, Stack: debug.Stack()}
	s.opts.Panics.Note("rdb", r, p.Stack)
	return p
}

// run makes the round trip, if the servers are such as may be asked. What panics in a hook, a dialer or another part of
// the client that is not go-redis's is an error.
//
// Before a read it must be known that the server takes changes: what a replica holds may be old. A
// change says so itself, unless it found nothing to do; then it is asked afterwards, so that the
// outcome of a change is never in doubt for the sake of the question.
func run[T any](ctx context.Context, s *Store, op string, write bool, fn func(context.Context) (T, error)) (val T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.caught(r)
		}
	}()
	before := s.servers.Ensure
	if write {
		before = s.servers.Place
	}
	if err := before(ctx); err != nil {
		return val, unusable(op, false, err)
	}
	val, err = fn(ctx)
	s.servers.Heard(err)
	if write && (err == nil || errors.Is(err, redis.Nil)) {
		if err := s.servers.Ensure(ctx); err != nil {
			var none T
			return none, unusable(op, true, err)
		}
	}
	return val, err
}
