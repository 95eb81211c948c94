// Package flight runs one load of a key at a time.
package flight

import (
	"context"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Group runs one load of a key at a time, by x/sync's singleflight. The keys of a load of many,
// which has one goroutine for all of them, are registered here alone.
//
// What singleflight lacks is added: a caller joins only a call that is valid for it, and leaves
// when its own context ends; a call that no caller waits for any more is taken out first and
// cancelled then, so that no caller can join what is about to fail.
//
// I is what the owner keeps of a call, and R its result.
type Group[I, R any] struct {
	// Ended is called, with the lock held, when a call has ended. It may be nil.
	Ended func(*Call[I, R])

	shared singleflight.Group

	mu      sync.Mutex
	byKey   map[string]*Call[I, R] // guarded by mu
	reading map[string]struct{}    // guarded by mu: keys that a caller reads by itself
}

// Call is one load of a key.
type Call[I, R any] struct {
	Info   I
	Cancel context.CancelFunc

	done chan struct{} // closed by Finish; nil for a load of a single key, whose result comes from singleflight
	res  R             // set before done is closed
	err  error         // likewise

	waiters int  // guarded by Group.mu
	ended   bool // guarded by Group.mu
}

// OfMany makes a call one that Finish ends, and returns it: it is one key of a load of many.
func (c *Call[I, R]) OfMany() *Call[I, R] {
	c.done = make(chan struct{})
	return c
}

// Ticket is a caller's part in a call. The call has ended when one of the channels is ready: a
// Result is received from Shared, or Done is closed.
type Ticket[I, R any] struct {
	*Call[I, R]      // nil: begin gave none
	Leader      bool // the caller began it
	Shared      <-chan singleflight.Result
}

// Done is closed when a load of many has ended for the key.
func (t Ticket[I, R]) Done() <-chan struct{} { return t.done }

// Result returns the result that was received from Shared.
func (t Ticket[I, R]) Result(r singleflight.Result) (R, error) {
	res, _ := r.Val.(R)
	return res, r.Err
}

// Finished returns the result of a call whose Done is closed.
func (t Ticket[I, R]) Finished() (R, error) { return t.res, t.err }

// Begin makes a call. It is called with the lock held. run is nil for one key of a load of many;
// the call is nil when no more may begin.
type Begin[I, R any] func() (c *Call[I, R], run func() (R, error))

// Join joins the call of key if it is valid for the caller, or begins one. valid is called with the
// lock held.
func (g *Group[I, R]) Join(key string, valid func(*Call[I, R]) bool, begin Begin[I, R]) Ticket[I, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.joinLocked(key, valid, begin)
}

func (g *Group[I, R]) joinLocked(key string, valid func(*Call[I, R]) bool, begin Begin[I, R]) Ticket[I, R] {
	c := g.byKey[key]
	if c != nil && !valid(c) {
		g.removeLocked(key)
		c = nil
	}
	t := Ticket[I, R]{Call: c}
	var run func() (R, error)
	if c == nil {
		if c, run = begin(); c == nil {
			return t
		}
		if g.byKey == nil {
			g.byKey = make(map[string]*Call[I, R])
		}
		g.byKey[key] = c
		t.Call, t.Leader = c, true
	}
	c.waiters++
	if c.done == nil {
		// While byKey has the call, singleflight has it: both are changed with the lock held only.
		t.Shared = g.shared.DoChan(key, func() (any, error) {
			res, err := run()
			g.end(key, c)
			return res, err
		})
	}
	return t
}

// Lead begins a call of key that no caller waits for, unless there is one that is valid. It reports
// whether it did.
func (g *Group[I, R]) Lead(key string, valid func(*Call[I, R]) bool, begin Begin[I, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.byKey[key]; c != nil && valid(c) {
		return false
	}
	return g.joinLocked(key, valid, begin).Leader
}

// Update calls f with the lock held: no caller joins meanwhile.
func (g *Group[I, R]) Update(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// TryRead reports whether a caller of key may read it by itself: not while there is a call, which
// it may be able to join, or while another caller reads it, since one of many is enough. EndRead
// ends it.
func (g *Group[I, R]) TryRead(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, busy := g.reading[key]; busy || g.byKey[key] != nil {
		return false
	}
	if g.reading == nil {
		g.reading = make(map[string]struct{})
	}
	g.reading[key] = struct{}{}
	return true
}

// EndRead ends what TryRead has begun.
func (g *Group[I, R]) EndRead(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.reading, key)
}

// Finish ends the call of one key of a load of many.
func (g *Group[I, R]) Finish(key string, c *Call[I, R], res R, err error) {
	c.res, c.err = res, err
	g.end(key, c)
	close(c.done)
}

func (g *Group[I, R]) end(key string, c *Call[I, R]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ended = true
	if g.Ended != nil {
		g.Ended(c)
	}
	if g.byKey[key] == c {
		g.removeLocked(key)
	}
	c.Cancel()
}

// Leave takes a caller off a call, and ends the call with its last caller.
func (g *Group[I, R]) Leave(key string, c *Call[I, R]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters > 0 || c.ended {
		return
	}
	if g.byKey[key] == c {
		g.removeLocked(key)
	}
	c.Cancel()
}

func (g *Group[I, R]) removeLocked(key string) {
	delete(g.byKey, key)
	g.shared.Forget(key)
}
