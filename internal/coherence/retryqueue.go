package coherence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// retryQueue holds the invalidations that could not be delivered, or that may not have been. Reads
// of their keys pass over both tiers and fill neither, and each is tried again, as a deletion,
// until it is acknowledged: how long the remote entry may live is not known. When there are more of
// them than Options.MaxRetries, those of the cache that has most turn into one invalidation of that
// cache, until which its reads pass over both tiers.
type retryQueue struct {
	m *Manager

	wake  chan struct{} // there is something to do
	again chan struct{} // Redis is there again

	depth atomic.Int64 // of items, parts and floors together: reads look at it first

	mu      sync.Mutex
	items   map[string]*retryItem   // by the key that has to be deleted
	hashes  map[uint64][]*retryItem // the items with this hash
	cause   error                   // of the last failure that was not the end of a caller's context
	failing bool                    // the last retry failed
	settled chan struct{}           // closed when a retry has ended, or an item is gone; nil while nothing waits
	parts   map[int]*parting        // by lane: floors to be put where a lost history ends
	floors  map[laneCache]*retryItem

	overflows, delivered atomic.Uint64
}

// laneCache is a cache's part in a lane, to be cleared.
type laneCache struct {
	cache string
	lane  int
}

// retryItem is one invalidation to be tried again.
type retryItem struct {
	cache string // of the entry, or tag
	// prompt: its change was certainly not sent, and only since its caller's context had ended, and
	// no retry has failed. Redis is not known to be in trouble, so reads wait for the first retry
	// instead of failing.
	prompt    bool
	publisher uint64 // of the change, as long as the item stands for one change; else 0
	position  uint64 // what was known when it failed, or failed anew
	announce  bool   // it is announced, and not deleted
	hash      uint64
	since     time.Time
	// uncertainUntil is the reading until which a change whose reply was lost may yet happen: a
	// delivery before that does not count.
	uncertainUntil int64
	nextAttempt    int64  // reading before which it is not tried: an early delivery is repeated once, when the outcome is certain
	superseded     bool   // a later change of the entry was acknowledged
	trying         bool   // a retry of it is under way
	holds          int    // how many changes that replace the entry are under way: it is not tried until they have ended
	generation     uint64 // how often it failed anew
}

func newRetryQueue(m *Manager) *retryQueue {
	return &retryQueue{
		m: m, wake: make(chan struct{}, 1), again: make(chan struct{}, 1),
		items: make(map[string]*retryItem), hashes: make(map[uint64][]*retryItem), parts: make(map[int]*parting), floors: make(map[laneCache]*retryItem),
	}
}

// blockedError says why the remote tier is not read: what it holds may have been invalidated by
// this instance. It matches what kept the invalidation from being delivered.
func blockedError(cause error) error {
	const text = "an invalidation of this entry could not be delivered yet"
	kind := remote.ErrUnavailable
	for _, k := range []error{remote.ErrDenied, remote.ErrRefused} {
		if errors.Is(cause, k) {
			kind = k
		}
	}
	if cause == nil {
		return fmt.Errorf("%w: %s", kind, text)
	}
	if fault := (*remote.OptionError)(nil); errors.As(cause, &fault) {
		return fmt.Errorf("%w: %s: %w", kind, text, fault)
	}
	// Its text only: it may be the end of another caller's context.
	return fmt.Errorf("%w: %s: %s", kind, text, strings.TrimPrefix(remote.WithoutOp(cause).Error(), "doppio: "))
}

// undeliverable reports whether a change that failed leaves something to be invalidated: not if it
// never began, since an argument was wrong or the client is closed. An option that shows to be
// wrong only at the server (a replica) may be right later.
func undeliverable(err error) bool {
	var option *remote.OptionError
	return err != nil && !errors.Is(err, remote.ErrClosed) && (!errors.As(err, &option) || errors.Is(err, remote.ErrUnavailable))
}

func isUnknown(err error) bool { return errors.Is(err, remote.ErrUnknownOutcome) }

// selfReportGrace is how long a change of unknown outcome is given to report by its message that it
// was made.
const selfReportGrace = 100 * time.Millisecond

// add queues the invalidation of a key of a cache, which failed with err. With announce the entry
// shall stay, and only be announced, unless it has to go for another reason.
func (q *retryQueue) add(err error, publisher uint64, cache, key string, hash uint64, announce bool) {
	if !undeliverable(err) {
		return
	}
	now := local.Monotonic()
	uncertain, next := now, now
	if isUnknown(err) {
		// Most often it was made, and says so itself in a moment.
		uncertain, next = local.After(now, q.m.opts.Uncertain), local.After(now, min(q.m.opts.Uncertain, selfReportGrace))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	prompt := q.blameLocked(err)
	if it := q.items[key]; it != nil {
		it.uncertainUntil, it.nextAttempt, it.publisher, it.position = max(it.uncertainUntil, uncertain), next, 0, q.m.table.Now()
		it.announce = it.announce && announce
		it.generation++ // a retry under way may have been before what failed now
		it.prompt = it.prompt && prompt
		q.nudge()
		return
	}
	if !announce && q.coveredLocked(cache, uncertain, prompt) {
		q.hasten(prompt)
		return
	}
	it := &retryItem{
		cache: cache, prompt: prompt, publisher: publisher, position: q.m.table.Now(), announce: announce, hash: hash,
		since: time.Now(), uncertainUntil: uncertain, nextAttempt: next,
	}
	q.items[key] = it
	q.hashes[hash] = append(q.hashes[hash], it)
	if len(q.items) > q.m.opts.MaxRetries {
		q.overflowLocked()
	}
	q.countLocked()
	q.hasten(prompt)
}

// confirm notes that a change which was given up was made after all, and announced: its message has
// come. Nothing is left to do, unless it came after a later change, which it has undone.
func (q *retryQueue) confirm(publisher uint64) {
	if q.depth.Load() == 0 || publisher == q.m.own.id(0) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, it := range q.items { // it may have been one of several that were made together
		switch {
		case it.publisher != publisher:
			continue
		case it.superseded:
			it.uncertainUntil = local.Monotonic()
			it.nextAttempt = it.uncertainUntil
			q.nudge()
		default:
			q.delivered.Add(1)
			q.removeLocked(key, it)
			q.countLocked()
		}
	}
}

// supersede notes that the entry under key was changed. A change that certainly did not happen
// before needs no repair any more; one that may yet happen would undo the later one.
func (q *retryQueue) supersede(key string, begun uint64) {
	if q.depth.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[key]
	switch {
	case it == nil, begun <= it.position: // it may have been made before what failed
	case local.Monotonic() >= it.uncertainUntil:
		q.removeLocked(key, it)
		q.countLocked()
	default:
		it.superseded = true
	}
}

// addClear queues the invalidation of a cache's part in a lane, which failed with err.
func (q *retryQueue) addClear(name string, lane int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	prompt := q.blameLocked(err)
	q.addFloorLocked(laneCache{name, lane}, Never, prompt)
	q.countLocked()
	q.hasten(prompt)
}

func (q *retryQueue) countLocked() {
	q.depth.Store(int64(len(q.items) + len(q.parts) + len(q.floors)))
}

func (q *retryQueue) nudge() { signal(q.wake) }

// retryNow lets the items be tried before the pause is over.
func (q *retryQueue) retryNow() { signal(q.again) }

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it is signalled already
	}
}

// stats returns how many invalidations wait, and how long the oldest has.
func (q *retryQueue) stats(now time.Time) (depth int, age time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range q.parts {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range q.floors {
		age = max(age, now.Sub(it.since))
	}
	return len(q.items) + len(q.parts) + len(q.floors), age
}

func (q *retryQueue) removeLocked(key string, it *retryItem) {
	delete(q.items, key)
	same := slices.DeleteFunc(q.hashes[it.hash], func(other *retryItem) bool { return other == it })
	if len(same) == 0 {
		delete(q.hashes, it.hash)
	} else {
		q.hashes[it.hash] = same
	}
	q.settleLocked()
}
