package coherence

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

const (
	// firstPause is the pause before the first retry.
	firstPause = 20 * time.Millisecond
	// retryBatch is how many invalidations one round trip carries.
	retryBatch = 256
)

// run retries until ctx ends. The invalidations that are undelivered then are logged: they die with
// this process, and the remote entries with their TTL.
func (q *retryQueue) run(ctx context.Context) {
	pause := firstPause
	for {
		if q.depth.Load() == 0 {
			pause = firstPause
			select {
			case <-q.wake:
			case <-ctx.Done():
				return
			}
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-q.again:
			timer.Stop()
			pause = firstPause
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			timer.Stop()
			if depth, age := q.stats(time.Now()); depth > 0 {
				q.m.opts.Logger.Error("doppio: closing with undelivered invalidations", "count", depth, "oldest", age)
			}
			return
		}
		if q.retry(ctx) {
			pause = firstPause
		} else {
			pause = min(2*pause, q.m.opts.Backoff)
		}
	}
}

// retry tries everything once, and reports whether all went well.
func (q *retryQueue) retry(ctx context.Context) bool {
	parted := q.retryParts(ctx)
	well := q.retryFloors(ctx) && parted
	for {
		attempts := q.take(retryBatch)
		if len(attempts) == 0 {
			return well
		}
		sent := local.Monotonic()
		failed := false
		for i, err := range q.deliver(ctx, attempts) {
			if err != nil {
				failed = true
				q.fail(err, attempts[i].item)
				continue
			}
			q.m.table.Raise(attempts[i].hash)
			if !q.complete(sent, attempts[i]) {
				failed = true // it stays, and has to be sent again
			}
		}
		if failed {
			return false
		}
	}
}

// retryAttempt is one item as it was when it was tried.
type retryAttempt struct {
	key        string
	item       *retryItem
	hash       uint64
	announce   bool
	generation uint64
}

// take returns up to n items that are due.
func (q *retryQueue) take(n int) []retryAttempt {
	now := local.Monotonic()
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []retryAttempt
	for key, it := range q.items {
		if len(out) == n {
			break
		}
		if now >= it.nextAttempt && it.holds == 0 {
			it.trying = true
			out = append(out, retryAttempt{key, it, it.hash, it.announce, it.generation})
		}
	}
	return out
}

// deliver deletes what is to be deleted, and announces what is to be announced.
func (q *retryQueue) deliver(ctx context.Context, attempts []retryAttempt) []error {
	ctx = remote.Background(ctx) // a caller's call finds out whether an outage is over
	errs := make([]error, len(attempts))
	var deletions []remote.Deletion
	var at []int
	for i, a := range attempts {
		t := q.m.strangersAnnouncement(q.m.LaneOf(a.hash), invalidation.Message{Type: invalidation.TypeKeys, Hashes: []uint64{a.hash}})
		if a.announce {
			errs[i] = q.m.remote.Announce(ctx, t)
			continue
		}
		deletions, at = append(deletions, remote.Deletion{Key: a.key, Announcement: t}), append(at, i)
	}
	_, failed := q.m.remote.DeleteMany(ctx, deletions)
	for j, err := range failed {
		errs[at[j]] = err
	}
	return errs
}

// fail notes that the retry of an invalidation failed.
func (q *retryQueue) fail(err error, it *retryItem) {
	q.m.opts.Logger.Debug("doppio: an invalidation is still undelivered", "error", err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cause, q.failing, it.prompt, it.trying = err, true, false, false
	q.settleLocked()
}

// complete removes an item that was delivered, and reports whether it is gone: not if it failed
// once more meanwhile, or was sent before the outcome of its change was certain.
func (q *retryQueue) complete(sent int64, a retryAttempt) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.succeedLocked()
	it := a.item
	it.trying = false
	if q.items[a.key] != it || it.generation != a.generation || sent < it.uncertainUntil {
		it.nextAttempt = it.uncertainUntil
		return q.items[a.key] != it
	}
	q.delivered.Add(1)
	q.removeLocked(a.key, it)
	q.countLocked()
	return true
}

// retryFloors raises the floors of caches that could not be cleared.
func (q *retryQueue) retryFloors(ctx context.Context) bool {
	type attempt struct {
		laneCache
		item       *retryItem
		generation uint64
	}
	var todo []attempt
	q.mu.Lock()
	now := local.Monotonic()
	for f, it := range q.floors {
		if now >= it.nextAttempt {
			todo = append(todo, attempt{f, it, it.generation})
		}
	}
	q.mu.Unlock()
	for _, f := range todo {
		sent := local.Monotonic()
		seed := Seed(q.m.opts.Namespace, f.cache)
		a := q.m.strangersAnnouncement(f.lane, invalidation.Message{Type: invalidation.TypeCleared, Hashes: []uint64{seed}})
		if err := q.m.remote.RaiseFloor(remote.Background(ctx), f.cache, a); err != nil {
			q.fail(err, f.item)
			return false
		}
		q.m.reached(f.lane, a.ID) // what is stored from now on must not lie below the floor
		q.m.raiseFloor(f.lane, seed, a.ID)
		q.mu.Lock()
		if sent < f.item.uncertainUntil {
			f.item.nextAttempt = f.item.uncertainUntil // once more, when no change in doubt can happen any more
		} else if f.item.generation == f.generation {
			q.delivered.Add(1)
			delete(q.floors, f.laneCache)
			q.countLocked()
		}
		q.succeedLocked()
		q.mu.Unlock()
	}
	return true
}
