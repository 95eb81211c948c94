package tiered

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// firstRetry is the pause before the first retry.
const firstRetry = 20 * time.Millisecond

// run tries again until ctx ends. What is undelivered then is logged: it dies with this process, and the far entries with
// their TTL.
func (p *pending) run(ctx context.Context) {
	pause := firstRetry
	for {
		if p.depth.Load() == 0 {
			pause = firstRetry
			select {
			case <-p.wake:
			case <-ctx.Done():
				return
			}
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-p.again:
			timer.Stop()
			pause = firstRetry
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			timer.Stop()
			if depth, age := p.stats(time.Now()); depth > 0 {
				p.log.Error("doppio: closing with undelivered invalidations", "count", depth, "oldest", age)
			}
			return
		}
		if p.retry(ctx) {
			pause = firstRetry
		} else {
			pause = min(2*pause, p.backoff)
		}
	}
}

// retry tries everything once, and tells whether all went well.
func (p *pending) retry(ctx context.Context) bool {
	parted := p.retryParts(ctx)
	well := p.retryFloors(ctx) && parted
	for {
		attempts := p.take(pendingBatch)
		if len(attempts) == 0 {
			return well
		}
		asked := local.Monotonic()
		failed := false
		for i, err := range p.deliver(ctx, attempts) {
			if err != nil {
				failed = true
				p.failed(err, attempts[i].it)
				continue
			}
			p.co.table.Raise(attempts[i].hash)
			if !p.settle(asked, attempts[i]) {
				failed = true // it stays, and has to be asked again
			}
		}
		if failed {
			return false
		}
	}
}

// attempt is one item as it was when it was tried.
type attempt struct {
	key      string
	it       *undelivered
	hash     uint64
	announce bool
	round    uint64
}

// pendingBatch is how many invalidations one round trip carries.
const pendingBatch = 256

// take gives some of what has to be delivered.
func (p *pending) take(n int) []attempt {
	now := local.Monotonic()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []attempt
	for key, it := range p.items {
		if len(out) == n {
			break
		}
		if now >= it.next && it.changing == 0 {
			it.trying = true
			out = append(out, attempt{key, it, it.hash, it.announce, it.round})
		}
	}
	return out
}

// deliver deletes what is to be deleted, and announces what is to be announced.
func (p *pending) deliver(ctx context.Context, attempts []attempt) []error {
	ctx = remote.Background(ctx) // a caller's call finds out whether an outage is over
	errs := make([]error, len(attempts))
	var gone []remote.Deletion
	var at []int
	for i, a := range attempts {
		t := p.co.announcement(p.co.laneOf(a.hash), invalidation.Message{Type: invalidation.TypeKeys, Hashes: []uint64{a.hash}})
		if a.announce {
			errs[i] = p.co.far.Announce(ctx, t)
			continue
		}
		gone, at = append(gone, remote.Deletion{Key: a.key, Announcement: t}), append(at, i)
	}
	_, goneErrs := p.co.far.DeleteMany(ctx, gone)
	for j, err := range goneErrs {
		errs[at[j]] = err
	}
	return errs
}

// failed notes that the retry of an invalidation failed.
func (p *pending) failed(err error, it *undelivered) {
	p.log.Debug("doppio: an invalidation is still undelivered", "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause, p.failing, it.prompt, it.trying = err, true, false, false
	p.settledLocked()
}

// settle takes off what was delivered, and tells whether it did: not if it failed once more meanwhile, or was asked too
// early for the change in doubt to be over.
func (p *pending) settle(asked int64, a attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.answeredLocked()
	it := a.it
	it.trying = false
	if p.items[a.key] != it || it.round != a.round || asked < it.doubt {
		it.next = it.doubt
		return p.items[a.key] != it
	}
	p.delivered.Add(1)
	p.dropLocked(a.key, it)
	p.count()
	return true
}

// retryFloors raises the floors of caches that could not be cleared.
func (p *pending) retryFloors(ctx context.Context) bool {
	type floor struct {
		floorOfLane
		it    *undelivered
		round uint64
	}
	var todo []floor
	p.mu.Lock()
	now := local.Monotonic()
	for f, it := range p.floors {
		if now >= it.next {
			todo = append(todo, floor{f, it, it.round})
		}
	}
	p.mu.Unlock()
	for _, f := range todo {
		asked := local.Monotonic()
		seed := seedOf(p.namespace, f.cache)
		told := p.co.announcement(f.lane, invalidation.Message{Type: invalidation.TypeCleared, Hashes: []uint64{seed}})
		if err := p.co.far.RaiseFloor(remote.Background(ctx), f.cache, told); err != nil {
			p.failed(err, f.it)
			return false
		}
		p.co.reached(f.lane, told.ID) // what is stored from now on must not lie below the floor
		p.co.cleared(f.lane, seed, told.ID)
		p.mu.Lock()
		if asked < f.it.doubt {
			f.it.next = f.it.doubt // once more, when all that is in doubt has happened or will not
		} else if f.it.round == f.round {
			p.delivered.Add(1)
			delete(p.floors, f.floorOfLane)
			p.count()
		}
		p.answeredLocked()
		p.mu.Unlock()
	}
	return true
}
