package coherence

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/remote"
)

// Reads ask the retry queue before they ask the remote tier.

// ContextEnded reports whether err is the end of a caller's context, and no trouble of Redis.
func ContextEnded(err error) bool {
	return (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && !errors.Is(err, remote.ErrUnavailable)
}

// neverSent reports whether a change that failed was certainly not sent, and only since its
// caller's context had ended: Redis has what it had before, the caller was told so, and nothing
// speaks against Redis.
func neverSent(err error) bool { return ContextEnded(err) && !isUnknown(err) }

// retryQuery is what a read asks the retry queue about: a key of a cache, or tags of its, or both.
type retryQuery struct {
	cache string
	hash  uint64 // of the key; 0 with tagsOnly
	tags  []uint64
	// tagsOnly: the key was asked about before, and these are the tags that its entry turned out to
	// have.
	tagsOnly bool
}

// obstacle is what a query finds in the retry queue.
type obstacle uint8

const (
	noObstacle  obstacle = iota
	retriedSoon          // invalidations whose first retry is under way, or about to be
	stuck                // one that is not known to be deliverable soon
)

// Blocked returns an error where the remote tier may hold what this instance invalidated: under a
// key, or for any of these tags. For invalidations whose first retry is yet to end it waits: as
// long as ctx allows, and no longer than until.
func (c *Cache) Blocked(ctx context.Context, until time.Time, hash uint64, tags ...uint64) error {
	return c.retries.blocked(ctx, until, retryQuery{cache: c.name, hash: hash, tags: tags})
}

// TagBlocked is Blocked for a tag that an entry turned out to have.
func (c *Cache) TagBlocked(ctx context.Context, until time.Time, tag uint64) error {
	return c.retries.blocked(ctx, until, retryQuery{cache: c.name, tags: []uint64{tag}, tagsOnly: true})
}

// Retrying reports whether the retry queue has anything at all.
func (m *Manager) Retrying() bool { return m.retries.depth.Load() > 0 }

// RetryingKey reports whether the retry queue has anything about a key.
func (c *Cache) RetryingKey(hash uint64) bool {
	if !c.Retrying() {
		return false
	}
	c.retries.mu.Lock()
	defer c.retries.mu.Unlock()
	return c.retries.findLocked(retryQuery{cache: c.name, hash: hash}) != noObstacle
}

func (q *retryQueue) blocked(ctx context.Context, until time.Time, about retryQuery) error {
	if q.depth.Load() == 0 {
		return nil
	}
	settled, err := q.find(about)
	if settled == nil {
		return err
	}
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for settled != nil {
		select {
		case <-settled:
		case <-late.C:
			return blockedError(errSlowRetry)
		case <-ctx.Done():
			return ctx.Err()
		}
		settled, err = q.find(about)
	}
	return err
}

// find returns the error for a query, or the channel that is closed when it is worth asking again.
func (q *retryQueue) find(about retryQuery) (<-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch q.findLocked(about) {
	case noObstacle:
		return nil, nil
	case retriedSoon:
		return q.settledNextLocked(), nil
	default:
		return nil, blockedError(q.cause)
	}
}

// errSlowRetry is why a read that has waited for a retry goes on without the remote tier.
var errSlowRetry = errors.New("its first retry has not ended yet")

// findLocked returns the worst obstacle of a query.
func (q *retryQueue) findLocked(about retryQuery) obstacle {
	worst := noObstacle
	add := func(it *retryItem) {
		if it.prompt {
			worst = max(worst, retriedSoon)
		} else {
			worst = stuck
		}
	}
	hash := func(h uint64) {
		for _, it := range q.hashes[h] {
			add(it)
		}
	}
	floor := func(lane int) {
		if it := q.floors[laneCache{about.cache, lane}]; it != nil {
			add(it)
		}
	}
	if about.tagsOnly {
		// The floor that took the place of a tag is one of every lane: its entries may be on any.
		for lane := range q.m.lanes {
			floor(lane)
		}
	} else {
		hash(about.hash)
		floor(q.m.LaneOf(about.hash))
	}
	for _, t := range about.tags {
		hash(t)
	}
	return worst
}

// hold keeps retries of a key from beginning until unhold, and waits for one that is under way. A
// retry is a deletion: one that Redis executed after a change which replaces the entry would delete
// what was acknowledged. The error is that of ctx, if it ends first; the item is held then, too.
func (q *retryQueue) hold(ctx context.Context, key string) (*retryItem, error) {
	if q.depth.Load() == 0 {
		return nil, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[key]
	if it == nil {
		return nil, nil
	}
	it.holds++
	for it.trying {
		settled := q.settledNextLocked()
		q.mu.Unlock()
		var err error
		select {
		case <-settled:
		case <-ctx.Done():
			err = ctx.Err()
		}
		q.mu.Lock()
		if err != nil {
			return it, err
		}
	}
	return it, nil
}

// unhold lets retries of an item begin again. nil is no item.
func (q *retryQueue) unhold(it *retryItem) {
	if it == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	it.holds--
	q.nudge()
}

// settledNextLocked returns the channel that is closed when the next retry has ended.
func (q *retryQueue) settledNextLocked() <-chan struct{} {
	if q.settled == nil {
		q.settled = make(chan struct{})
	}
	return q.settled
}

// settleLocked wakes the reads and changes that wait for retries.
func (q *retryQueue) settleLocked() {
	if q.settled != nil {
		close(q.settled)
		q.settled = nil
	}
}

// succeedLocked notes that a retry went well.
func (q *retryQueue) succeedLocked() {
	q.failing = false
	q.settleLocked()
}

// blameLocked notes why a change failed, and reports whether it is worth waiting for its first
// retry.
func (q *retryQueue) blameLocked(err error) (prompt bool) {
	if neverSent(err) {
		return !q.failing
	}
	q.cause = err
	return false
}

// hasten has new items tried: at once where reads wait for them.
func (q *retryQueue) hasten(prompt bool) {
	q.nudge()
	if prompt {
		q.retryNow()
	}
}
