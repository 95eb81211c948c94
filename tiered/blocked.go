package tiered

import (
	"context"
	"errors"
	"time"
)

// Reads ask the pending set before they ask the remote tier.

// neverSent reports whether a change that failed was certainly not sent, and only since its caller's context had ended:
// Redis has what it had before, its caller was told so, and nothing speaks against Redis.
func neverSent(err error) bool { return ctxError(err) && !errors.Is(err, ErrUnknownOutcome) }

// query is what a read asks the pending set about: a key of a cache, or tags of its, or both.
type query struct {
	cache string
	hash  uint64 // of the key; 0 with tagsOnly
	tags  []uint64
	// tagsOnly: the key was asked about before, and these are the tags that its entry turned out to have.
	tagsOnly bool
}

// obstacle is what a query meets in the pending set.
type obstacle uint8

const (
	clearWay obstacle = iota
	soonGone          // invalidations whose first retry is under way, or about to be
	inTheWay          // one that is not known to be deliverable soon
)

// blocks returns an error where the remote tier may hold what this instance invalidated: under a key, or for any of its
// tags. For invalidations whose first retry is yet to end it waits: as long as ctx allows, and no longer than until.
func (p *pending) blocks(ctx context.Context, until time.Time, q query) error {
	if p.depth.Load() == 0 {
		return nil
	}
	settled, err := p.meets(q)
	if settled == nil {
		return err
	}
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for settled != nil {
		select {
		case <-settled:
		case <-late.C:
			return pendingError(errSlowRetry)
		case <-ctx.Done():
			return ctx.Err()
		}
		settled, err = p.meets(q)
	}
	return err
}

// meets returns the error for a query, or the channel that is closed when it is worth asking again.
func (p *pending) meets(q query) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.meetsLocked(q) {
	case clearWay:
		return nil, nil
	case inTheWay:
		return nil, pendingError(p.cause)
	}
	return p.settledNextLocked(), nil
}

// errSlowRetry is why a read that has waited for a retry goes on without the remote tier.
var errSlowRetry = errors.New("its first retry has not ended yet")

// patienceOfReads is until when a read that begins now waits for first retries.
func (c *Client) patienceOfReads() time.Time { return time.Now().Add(c.opts.RemoteReadTimeout) }

// holds reports whether the pending set has anything about a key.
func (p *pending) holds(cache string, hash uint64) bool {
	if p.depth.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meetsLocked(query{cache: cache, hash: hash}) != clearWay
}

// meetsLocked gives the worst that a query meets.
func (p *pending) meetsLocked(q query) obstacle {
	met := clearWay
	meet := func(it *undelivered) {
		if it.prompt {
			met = max(met, soonGone)
		} else {
			met = inTheWay
		}
	}
	hash := func(h uint64) {
		for _, it := range p.hashes[h] {
			meet(it)
		}
	}
	floor := func(lane int) {
		if it := p.floors[floorOfLane{q.cache, lane}]; it != nil {
			meet(it)
		}
	}
	if q.tagsOnly {
		// The floor that took the place of a tag is one of every lane: its entries may be on any.
		for lane := range p.co.lanes {
			floor(lane)
		}
	} else {
		hash(q.hash)
		floor(p.co.laneOf(q.hash))
	}
	for _, t := range q.tags {
		hash(t)
	}
	return met
}

// replace waits for the retries of keys that are under way, and keeps others from beginning until
// ended is called, which is once. A retry is a deletion: one that Redis executed after a change
// which replaces the entry would delete what was acknowledged. Its error is ctx's, if that ends
// first.
func (p *pending) replace(ctx context.Context, keys ...string) (ended func(), err error) {
	if p.depth.Load() == 0 {
		return func() {}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	held := make([]*undelivered, 0, len(keys))
	for _, key := range keys {
		if it := p.items[key]; it != nil {
			it.changing++
			held = append(held, it)
		}
	}
	for _, it := range held {
		for it.trying && err == nil {
			settled := p.settledNextLocked()
			p.mu.Unlock()
			select {
			case <-settled:
			case <-ctx.Done():
				err = ctx.Err()
			}
			p.mu.Lock()
		}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, it := range held {
			it.changing--
		}
		p.nudge()
	}, err
}

// settledNextLocked returns the channel that is closed when a retry has ended next.
func (p *pending) settledNextLocked() <-chan struct{} {
	if p.settled == nil {
		p.settled = make(chan struct{})
	}
	return p.settled
}

// settledLocked wakes the reads and changes that wait for retries.
func (p *pending) settledLocked() {
	if p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// answeredLocked notes that a retry went well.
func (p *pending) answeredLocked() {
	p.failing = false
	p.settledLocked()
}

// blameLocked notes why a change failed, and reports whether it is worth waiting for its first retry.
func (p *pending) blameLocked(err error) (prompt bool) {
	if neverSent(err) {
		return !p.failing
	}
	p.cause = err
	return false
}

// hasten has what is new tried: at once where reads wait for it.
func (p *pending) hasten(prompt bool) {
	p.nudge()
	if prompt {
		p.retryNow()
	}
}
