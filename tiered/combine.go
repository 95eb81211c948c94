package tiered

import (
	"context"
	"slices"
	"sync"
	"time"
)

// combining makes calls of one kind together that are asked for at the same time. Each is made by its caller as long as few are under
// way. What is asked for meanwhile waits until one of those is done, and is then made together with whatever else waits. So
// nobody waits who need not, and the more callers there are, the less each call costs this instance and Redis.
//
// All calls of one combining go to the same server, so that none waits for a server that is no concern of its own.
type combining[T any] struct {
	client *Client
	// leave is told, under mu, that these calls are about to be made: from now on a caller who leaves does not take its call back.
	// It may be nil.
	leave func(group []*combined[T])
	// fly makes them, or gives them all ErrClosed. Each call's results are its own to note.
	fly    func(group []*combined[T])
	refuse func(call *T)
	most   int // how many are made together at most

	mu      sync.Mutex
	flights int            // under way, and not overdue; guarded by mu
	waiting []*combined[T] // guarded by mu
	crowded bool           // several waited when the last flight landed; guarded by mu

	passages sync.Pool // for each combining: a timer belongs to the synctest bubble that it was made in
}

// combined is a call that waits to be made.
type combined[T any] struct {
	call T // until done is closed: whoever makes it
	done chan struct{}
	sent bool // guarded by combining.mu
}

// passage is a flight: of one call that its caller makes, or of several.
type passage struct {
	timer   *time.Timer
	overdue bool // guarded by combining.mu: others do not wait for it any more
}

const (
	// maxFlights is how many calls are made at the same time before others wait. It is for few callers, who would take turns
	// otherwise; when there are many, one flight at a time carries most of them.
	maxFlights = 2
	// maxTogether is how many calls are made together at most. More would save little, and a message of all their hashes stays in
	// the lane: 65,536 of these are 34 MB.
	maxTogether = 64
	// overdueAfter is how long others wait for a flight. It is many times a round trip: what takes longer has met a connection that
	// hangs, or a server that does, and a connection should be no concern of others.
	overdueAfter = 20 * time.Millisecond
)

// alone begins a flight for a call that its caller makes, unless it is to wait. land ends it.
func (c *combining[T]) alone() (p *passage, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights > 0 && (c.flights >= maxFlights || c.crowded) {
		return nil, false
	}
	return c.departLocked(), true
}

func (c *combining[T]) departLocked() *passage {
	c.flights++
	if p, _ := c.passages.Get().(*passage); p != nil {
		p.overdue = false
		p.timer.Reset(overdueAfter)
		return p
	}
	p := &passage{}
	p.timer = time.AfterFunc(overdueAfter, func() { c.relieve(p) })
	return p
}

// land ends a flight, and begins the next for those who wait.
func (c *combining[T]) land(p *passage) {
	stopped := p.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crowded = len(c.waiting) > 1 || c.crowded && c.flights > 1
	c.endLocked(p)
	if stopped { // else it is relieved yet, which must not be a later flight's concern
		c.passages.Put(p)
	}
}

// relieve lets those go who wait for a flight that takes too long.
func (c *combining[T]) relieve(p *passage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(p)
}

func (c *combining[T]) endLocked(p *passage) {
	if p.overdue {
		return
	}
	p.overdue = true
	c.flights--
	c.launchLocked()
}

// launchLocked begins a flight for those who wait.
func (c *combining[T]) launchLocked() {
	if len(c.waiting) == 0 {
		return
	}
	if !c.client.start() {
		for _, w := range c.waiting {
			c.refuse(&w.call)
			close(w.done)
		}
		c.waiting = nil
		return
	}
	n := min(len(c.waiting), c.most)
	group := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	for _, w := range group {
		w.sent = true
	}
	if c.leave != nil {
		c.leave(group)
	}
	next := c.departLocked()
	go func() {
		defer c.client.running.Done()
		c.fly(group)
		c.land(next)
		for _, w := range group {
			close(w.done)
		}
	}()
}

// join waits until a call was made together with others, or ctx ends. Then made is false, and sent says whether it is being made.
func (c *combining[T]) join(ctx context.Context, call T) (w *combined[T], made, sent bool) {
	w = &combined[T]{call: call, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	if c.flights == 0 { // the last one has landed since
		c.launchLocked()
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w, true, true
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.done:
		return w, true, true // both at once: what was made is not said to be in doubt
	default:
	}
	if !w.sent {
		c.waiting = slices.DeleteFunc(c.waiting, func(other *combined[T]) bool { return other == w })
	}
	return w, false, w.sent
}
