// Package coalesce makes calls of one kind together that are asked for at the same time.
package coalesce

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Group makes calls of one kind. Each is made by its caller as long as few are under way. The calls
// that are asked for meanwhile wait until one of those has ended, and are then made together. So no
// call waits without need, and the more callers there are, the less each call costs this process
// and the server.
//
// All calls of a group go to the same server: none waits for a server that it does not need.
//
// The exported fields are set before the first call.
type Group[Req, Res any] struct {
	// Run makes calls together, and sets Res and Err of each. It runs in a goroutine of its own.
	Run func(calls []*Call[Req, Res])
	// Seal is called, with a lock held, before calls are made together: from now on a caller that
	// leaves does not take its call back. It may be nil.
	Seal func(calls []*Call[Req, Res])
	// Start counts the goroutine of a Run, and reports false when no more may begin: the calls that
	// wait then get Closed. Done ends what Start has counted.
	Start  func() bool
	Done   func()
	Closed error
	// Waiting starts the span of a call that waits for others. The function that it returns ends
	// it.
	Waiting func(ctx context.Context) (end func(error))
	// Left is the error of a call whose caller left before it ended; sealed reports whether it is
	// being made.
	Left func(ctx context.Context, sealed bool) error

	mu      sync.Mutex
	running int               // batches and single calls under way, and not overdue; guarded by mu
	waiting []*Call[Req, Res] // guarded by mu
	busy    bool              // several waited when the last call ended; guarded by mu

	slots sync.Pool // one for each group: a timer belongs to the synctest bubble that it was made in
}

// Call is a call that waits to be made.
type Call[Req, Res any] struct {
	Ctx context.Context //nolint:containedctx // its caller's, for its values, not for its end
	Req Req
	Res Res
	Err error

	done   chan struct{} // closed when it has ended: until then Res and Err are those of Run
	sealed bool          // guarded by Group.mu
}

// slot is the right to make calls: of one call that its caller makes, or of several.
type slot struct {
	timer   *time.Timer
	overdue bool // guarded by Group.mu: others do not wait for it any more
}

const (
	// maxRunning is how many calls are made at the same time before others wait. It is for few
	// callers, who would take turns otherwise; when there are many, one batch at a time carries
	// most of them.
	maxRunning = 2
	// Max is how many calls are made together at most. More would save little, and a message of all
	// their hashes stays in the lane: 65,536 of these are 34 MB.
	Max = 64
	// overdueAfter is how long others wait for a call. It is many times a round trip: a call that
	// takes longer has met a connection or a server that hangs. A connection that hangs must not
	// delay the calls of others.
	overdueAfter = 20 * time.Millisecond
)

// Do makes a call: by direct, or together with others. It returns the call's result, or the error
// of Left when ctx ends first.
func (g *Group[Req, Res]) Do(ctx context.Context, req Req, direct func() (Res, error)) (Res, error) {
	if s, ok := g.acquire(); ok {
		defer g.release(s)
		return direct()
	}
	end := g.Waiting(ctx)
	c, ended := g.enqueue(ctx, req)
	if !ended {
		err := g.Left(ctx, c.sealed)
		end(err)
		return *new(Res), err
	}
	end(c.Err)
	return c.Res, c.Err
}

// acquire takes the slot for a call that its caller makes, unless the call is to wait. release ends
// it.
func (g *Group[Req, Res]) acquire() (s *slot, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running > 0 && (g.running >= maxRunning || g.busy) {
		return nil, false
	}
	return g.acquireLocked(), true
}

func (g *Group[Req, Res]) acquireLocked() *slot {
	g.running++
	if s, _ := g.slots.Get().(*slot); s != nil {
		s.overdue = false
		s.timer.Reset(overdueAfter)
		return s
	}
	s := &slot{}
	s.timer = time.AfterFunc(overdueAfter, func() { g.abandon(s) })
	return s
}

// release ends a slot, and makes the calls that wait.
func (g *Group[Req, Res]) release(s *slot) {
	stopped := s.timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = len(g.waiting) > 1 || g.busy && g.running > 1
	g.endLocked(s)
	if stopped { // else abandon is yet to run, which must not end a later call's slot
		g.slots.Put(s)
	}
}

// abandon lets the calls go on that wait for a slot that is held too long.
func (g *Group[Req, Res]) abandon(s *slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endLocked(s)
}

func (g *Group[Req, Res]) endLocked(s *slot) {
	if s.overdue {
		return
	}
	s.overdue = true
	g.running--
	g.flushLocked()
}

// flushLocked makes the calls that wait.
func (g *Group[Req, Res]) flushLocked() {
	if len(g.waiting) == 0 {
		return
	}
	if !g.Start() {
		for _, c := range g.waiting {
			c.Err = g.Closed
			close(c.done)
		}
		g.waiting = nil
		return
	}
	n := min(len(g.waiting), Max)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	for _, c := range batch {
		c.sealed = true
	}
	if g.Seal != nil {
		g.Seal(batch)
	}
	s := g.acquireLocked()
	go func() {
		defer g.Done()
		g.Run(batch)
		g.release(s)
		for _, c := range batch {
			close(c.done)
		}
	}()
}

// enqueue waits until a call was made together with others, or ctx ends. Then ended is false, and
// the call's sealed does not change any more: a call that was not sealed has been taken back.
func (g *Group[Req, Res]) enqueue(ctx context.Context, req Req) (c *Call[Req, Res], ended bool) {
	c = &Call[Req, Res]{Ctx: ctx, Req: req, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	if g.running == 0 { // the last one has ended since
		g.flushLocked()
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c, true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-c.done:
		return c, true // both at once: a call that was made is not said to be in doubt
	default:
	}
	if !c.sealed {
		g.waiting = slices.DeleteFunc(g.waiting, func(other *Call[Req, Res]) bool { return other == c })
	}
	return c, false
}
