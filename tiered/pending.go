package tiered

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// pending are the invalidations that could not be delivered, or of which nobody knows whether they were. Reads of these
// keys pass over both tiers and fill neither, and each is tried again, as a deletion, until it is acknowledged: how long
// the far entry may live, whoever stored it, is not known. More of them than there is room for turn into one invalidation of the whole namespace, until
// which every read passes over both tiers.
type pending struct {
	co  *coherence
	log *slog.Logger

	namespace string
	most      int
	backoff   time.Duration // the longest pause between retries
	// patience is how long a change whose reply was lost may take to happen, counted from when it was given up.
	patience time.Duration
	wake     chan struct{}

	depth atomic.Int64 // of items, plus one for each flush: what readers look at first

	mu      sync.Mutex
	items   map[string]*undelivered // by what has to be deleted
	hashes  map[uint64]int          // how many items have this hash
	cause   error                   // of the last failure
	flushes map[int]*undelivered    // by lane: everything that belongs to it
	floors  map[floorOfLane]*undelivered

	overflows, delivered atomic.Uint64
}

// floorOfLane is a cache's part in a lane, to be cleared.
type floorOfLane struct {
	cache string
	lane  int
}

// undelivered is one invalidation to be tried again.
type undelivered struct {
	publisher uint64 // of the change, as long as it is one
	hash      uint64
	since     time.Time
	// doubt is the reading until which a change whose reply was lost may happen yet: what is delivered before does not count.
	doubt     int64
	next      int64  // reading before which it is not tried again: an early delivery is repeated once, when the doubt is over
	overtaken bool   // a later change of the entry was acknowledged
	after     uint64 // of a flush: one that the fleet has made after this id will do
	round     uint64 // how often it failed anew
}

// pendingBatch is how many invalidations one round trip carries.
const pendingBatch = 256

func newPending(co *coherence, o Options) *pending {
	return &pending{
		co: co, log: o.Logger, namespace: o.Namespace, most: o.MaxPending, backoff: o.RetryBackoff, patience: o.RemoteTimeout, wake: make(chan struct{}, 1),
		items: make(map[string]*undelivered), hashes: make(map[uint64]int), flushes: make(map[int]*undelivered), floors: make(map[floorOfLane]*undelivered),
	}
}

// pendingError is why the far tier is not asked: what it holds may have been invalidated by this instance. It matches what
// kept the invalidation from being delivered.
func pendingError(cause error) error {
	kind := ErrRemoteUnavailable
	for _, k := range []error{ErrAccessDenied, ErrWriteRefused} {
		if errors.Is(cause, k) {
			kind = k
		}
	}
	return fmt.Errorf("%w: an invalidation of this entry could not be delivered yet", kind)
}

// undeliverable tells whether a change that failed leaves something to be invalidated: not if it never began, for it was
// wrong, or the client is closed.
func undeliverable(err error) bool {
	var option *OptionError
	switch {
	case err == nil, errors.Is(err, ErrClosed), errors.As(err, &option), errors.Is(err, ErrValueTooLarge), errors.Is(err, ErrNotNumeric), errors.Is(err, ErrOverflow):
		return false
	}
	return errors.Is(err, ErrRemoteUnavailable) || errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrWriteRefused) || errors.Is(err, ErrAccessDenied) ||
		ctxError(err)
}

// add notes that what is under key could not be invalidated, for the reason err.
func (p *pending) add(err error, publisher uint64, key string, hash uint64) {
	if !undeliverable(err) {
		return
	}
	now := local.Monotonic()
	doubt := now
	if errors.Is(err, ErrUnknownOutcome) {
		doubt = after(now, p.patience)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause = err
	if it := p.items[key]; it != nil {
		it.doubt, it.next, it.publisher = max(it.doubt, doubt), 0, 0
		it.round++ // a retry under way may have been before what failed now
		p.nudge()
		return
	}
	if len(p.items) >= p.most {
		p.overflows.Add(1)
		p.log.Error("doppio: too many undelivered invalidations, the whole namespace is invalidated instead", "limit", p.most)
		for _, it := range p.items {
			doubt = max(doubt, it.doubt)
		}
		clear(p.items)
		clear(p.hashes)
		for i := range p.co.lanes {
			p.flushLocked(i, 0).doubt = doubt
		}
		p.count()
		return
	}
	p.items[key] = &undelivered{publisher: publisher, hash: hash, since: time.Now(), doubt: doubt}
	p.hashes[hash]++
	p.count()
	p.nudge()
}

// happened notes that a change which was given up was made after all, and announced: its message has come. That is all
// there was to wish for, unless it came after a later change, which it has undone.
func (p *pending) happened(publisher uint64) {
	if p.depth.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, it := range p.items {
		switch {
		case it.publisher != publisher:
			continue
		case it.overtaken:
			it.doubt, it.next = local.Monotonic(), 0
			p.nudge()
		default:
			p.delivered.Add(1)
			p.dropLocked(key, it)
			p.count()
		}
		return
	}
}

// superseded notes that the entry under key was changed: what certainly did not happen before needs no repair any more,
// and what may yet happen would undo the change.
func (p *pending) superseded(key string) {
	if p.depth.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.items[key]
	switch {
	case it == nil:
	case local.Monotonic() >= it.doubt:
		p.dropLocked(key, it)
		p.count()
	default:
		it.overtaken = true
	}
}

// flush notes that all of a lane has to be invalidated; after > 0: unless the fleet has done so after that id.
func (p *pending) flush(lane int, after uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushLocked(lane, after)
	p.count()
}

func (p *pending) flushLocked(lane int, after uint64) *undelivered {
	it := p.flushes[lane]
	if it == nil {
		it = &undelivered{since: time.Now()}
		p.flushes[lane] = it
	}
	it.round++
	it.after = after
	p.nudge()
	return it
}

// clearCache notes that a cache could not be cleared, for the reason err.
func (p *pending) clearCache(name string, lane int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause = err
	f := floorOfLane{name, lane}
	if it := p.floors[f]; it != nil {
		it.round++
	} else {
		p.floors[f] = &undelivered{since: time.Now()}
	}
	p.count()
	p.nudge()
}

func (p *pending) count() {
	p.depth.Store(int64(len(p.items) + len(p.flushes) + len(p.floors)))
}

func (p *pending) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// blocks gives a *pendingError where the far tier may hold what this instance invalidated: under a key with this hash, or
// for any of these tags. Somebody wants to know, so it is tried again soon.
func (p *pending) blocks(cache string, hash uint64, tags ...uint64) error {
	if p.depth.Load() == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.holdsLocked(cache, hash, tags) {
		return nil
	}
	p.nudge()
	return pendingError(p.cause)
}

func (p *pending) holdsLocked(cache string, hash uint64, tags []uint64) bool {
	lane := p.co.laneOf(hash)
	if p.hashes[hash] > 0 || p.flushes[lane] != nil || p.floors[floorOfLane{cache, lane}] != nil {
		return true
	}
	return p.holdsTagsLocked(tags)
}

// blocksTags is blocks for the tags that an entry turned out to have.
func (p *pending) blocksTags(tags []uint64) error {
	if p.depth.Load() == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.holdsTagsLocked(tags) {
		return nil
	}
	p.nudge()
	return pendingError(p.cause)
}

func (p *pending) holdsTagsLocked(tags []uint64) bool {
	return slices.ContainsFunc(tags, func(t uint64) bool { return p.hashes[t] > 0 || p.flushes[p.co.laneOf(t)] != nil })
}

// holds tells whether blocks would give an error.
func (p *pending) holds(cache string, hash uint64, tags ...uint64) bool {
	if p.depth.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holdsLocked(cache, hash, tags)
}

// stats gives how many invalidations wait, and since when the oldest does.
func (p *pending) stats(now time.Time) (depth int, age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.items {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range p.flushes {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range p.floors {
		age = max(age, now.Sub(it.since))
	}
	return len(p.items) + len(p.flushes) + len(p.floors), age
}

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
		case <-p.wake:
			timer.Reset(firstRetry)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
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
	well := p.retryFloors(ctx)
	for {
		keys, items, rounds := p.take(pendingBatch)
		if len(keys) == 0 {
			return well
		}
		told := make([]*remote.Announcement, len(keys))
		for i, it := range items {
			told[i] = p.co.announcement(p.co.laneOf(it.hash), invalidation.Message{Type: invalidation.Keys, Hashes: []uint64{it.hash}})
		}
		asked := local.Monotonic()
		_, errs := p.co.far.DeleteMany(ctx, keys, 0, told)
		failed := false
		for i, err := range errs {
			if err != nil {
				failed = true
				p.failed(err)
				continue
			}
			p.co.table.Raise(items[i].hash)
			if !p.settle(asked, keys[i], items[i], rounds[i]) {
				failed = true // it stays, and has to be asked again
			}
		}
		if failed {
			return false
		}
	}
}

func (p *pending) failed(err error) {
	p.log.Debug("doppio: an invalidation is still undelivered", "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cause = err
}

// take gives some of what has to be deleted.
func (p *pending) take(n int) (keys []string, items []*undelivered, rounds []uint64) {
	now := local.Monotonic()
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, it := range p.items {
		if len(keys) < n && now >= it.next {
			keys, items, rounds = append(keys, key), append(items, it), append(rounds, it.round)
		}
	}
	p.count()
	return keys, items, rounds
}

func (p *pending) dropLocked(key string, it *undelivered) {
	delete(p.items, key)
	if p.hashes[it.hash]--; p.hashes[it.hash] == 0 {
		delete(p.hashes, it.hash)
	}
}

// settle takes off what was delivered, and tells whether it did: not if it failed once more meanwhile, or was asked too
// early for the change in doubt to be over.
func (p *pending) settle(asked int64, key string, it *undelivered, round uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.items[key] != it || it.round != round || asked < it.doubt {
		it.next = it.doubt
		return p.items[key] != it
	}
	p.delivered.Add(1)
	p.dropLocked(key, it)
	p.count()
	return true
}

// retryFloors raises the far floors that could not be raised.
func (p *pending) retryFloors(ctx context.Context) bool {
	type floor struct {
		name  string
		lane  int
		since uint64
		it    *undelivered
		round uint64
	}
	var todo []floor
	p.mu.Lock()
	now := local.Monotonic()
	for lane, it := range p.flushes {
		if now >= it.next {
			todo = append(todo, floor{allCaches, lane, it.after, it, it.round})
		}
	}
	for f, it := range p.floors {
		todo = append(todo, floor{f.cache, f.lane, 0, it, it.round})
	}
	p.mu.Unlock()
	for _, f := range todo {
		asked := local.Monotonic()
		m := invalidation.Message{Type: invalidation.All}
		if f.name != allCaches {
			m = invalidation.Message{Type: invalidation.Cleared, Hashes: []uint64{seedOf(p.namespace, f.name)}}
		}
		told := p.co.announcement(f.lane, m)
		if err := p.co.far.RaiseFloor(ctx, f.name, f.since, told); err != nil {
			p.failed(err)
			return false
		}
		p.co.reached(f.lane, told.ID)
		if f.name == allCaches {
			p.co.flushed(f.lane, told.ID)
		} else {
			p.co.cleared(f.lane, m.Hashes[0], told.ID)
		}
		p.mu.Lock()
		if asked < f.it.doubt {
			f.it.next, f.it.after = f.it.doubt, 0 // once more, when all that is in doubt has happened or will not
		} else if f.it.round == f.round {
			p.delivered.Add(1)
			if f.name == allCaches {
				delete(p.flushes, f.lane)
			} else {
				delete(p.floors, floorOfLane{f.name, f.lane})
			}
			p.count()
		}
		p.mu.Unlock()
	}
	return true
}
