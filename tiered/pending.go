package tiered

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// pending are the invalidations that could not be delivered, or of which nobody knows whether they were. Reads of these
// keys pass over both tiers and fill neither, and each is tried again, as a deletion, until it is acknowledged: how long
// the far entry may live, whoever stored it, is not known. When there are more of them than there is room for, those of
// the cache that has most turn into one invalidation of that cache, until which its reads pass over both tiers.
type pending struct {
	co  *coherence
	log *slog.Logger

	namespace string
	most      int
	backoff   time.Duration // the longest pause between retries
	// patience is how long a change whose reply was lost may take to happen, counted from when it was given up.
	patience time.Duration
	wake     chan struct{} // there is something to do
	again    chan struct{} // Redis is there again

	depth atomic.Int64 // of items, plus one for each flush: what readers look at first

	mu      sync.Mutex
	items   map[string]*undelivered   // by what has to be deleted
	hashes  map[uint64][]*undelivered // the items with this hash
	cause   error                     // of the last failure that was not a caller's end
	failing bool                      // the last retry failed
	settled chan struct{}             // closed when a retry has ended, or an item is gone; nil while no read waits
	parts   map[int]*parting          // by lane: floors to be put where a lost history ends
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
	cache string // whose entry, or tag, it is
	// prompt: its change was certainly not sent, and only since its caller's context had ended, and no retry has failed.
	// Redis is not known to be in trouble, so reads wait for the first retry instead of being turned away.
	prompt    bool
	publisher uint64 // of the change, as long as it is one
	position  uint64 // what was known when it failed, or failed anew
	announce  bool   // it is announced, and not deleted
	hash      uint64
	since     time.Time
	// doubt is the reading until which a change whose reply was lost may happen yet: what is delivered before does not count.
	doubt     int64
	next      int64  // reading before which it is not tried again: an early delivery is repeated once, when the doubt is over
	overtaken bool   // a later change of the entry was acknowledged
	trying    bool   // a retry of it is under way
	changing  int    // how many changes that replace the entry are under way: it is not tried until they have ended
	round     uint64 // how often it failed anew
}

func newPending(co *coherence, o Options) *pending {
	return &pending{
		co: co, log: o.Logger, namespace: o.Namespace, most: o.MaxPending, backoff: o.RetryBackoff, patience: o.RemoteTimeout, wake: make(chan struct{}, 1), again: make(chan struct{}, 1),
		items: make(map[string]*undelivered), hashes: make(map[uint64][]*undelivered), parts: make(map[int]*parting), floors: make(map[floorOfLane]*undelivered),
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
	if cause == nil {
		return fmt.Errorf("%w: an invalidation of this entry could not be delivered yet", kind)
	}
	if fault := (*OptionError)(nil); errors.As(cause, &fault) {
		return fmt.Errorf("%w: an invalidation of this entry could not be delivered yet: %w", kind, fault)
	}
	// Its text only: it may be another caller's impatience.
	return fmt.Errorf("%w: an invalidation of this entry could not be delivered yet: %s", kind, unprefixed(remote.Plain(cause)))
}

// undeliverable tells whether a change that failed leaves something to be invalidated: not if it never began, for it was
// wrong, or the client is closed. An option that shows to be wrong only at the server (a replica) may be right later.
func undeliverable(err error) bool {
	var option *OptionError
	return err != nil && !errors.Is(err, ErrClosed) && (!errors.As(err, &option) || errors.Is(err, ErrRemoteUnavailable)) && !errors.Is(err, ErrEncode)
}

// hearsay is how long a change of unknown outcome is given to say by its message that it was made.
const hearsay = 100 * time.Millisecond

// add notes that what a cache has under key could not be invalidated, for the reason err; announce: it shall stay, and
// only be announced, unless it has to go for another reason.
func (p *pending) add(err error, publisher uint64, cache, key string, hash uint64, announce bool) {
	if !undeliverable(err) {
		return
	}
	now := local.Monotonic()
	doubt, next := now, now
	if errors.Is(err, ErrUnknownOutcome) {
		// Most often it was made, and says so itself in a moment.
		doubt, next = after(now, p.patience), after(now, min(p.patience, hearsay))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	prompt := p.blameLocked(err)
	if it := p.items[key]; it != nil {
		it.doubt, it.next, it.publisher, it.position = max(it.doubt, doubt), next, 0, p.co.table.Now()
		it.announce = it.announce && announce
		it.round++ // a retry under way may have been before what failed now
		it.prompt = it.prompt && prompt
		p.nudge()
		return
	}
	if !announce && p.coveredLocked(cache, doubt, prompt) {
		p.hasten(prompt)
		return
	}
	it := &undelivered{
		cache: cache, prompt: prompt, publisher: publisher, position: p.co.table.Now(), announce: announce, hash: hash,
		since: time.Now(), doubt: doubt, next: next,
	}
	p.items[key] = it
	p.hashes[hash] = append(p.hashes[hash], it)
	if len(p.items) > p.most {
		p.overflowLocked()
	}
	p.count()
	p.hasten(prompt)
}

// happened notes that a change which was given up was made after all, and announced: its message has come. That is all
// there was to wish for, unless it came after a later change, which it has undone.
func (p *pending) happened(publisher uint64) {
	if p.depth.Load() == 0 || publisher == p.co.own.id(0) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, it := range p.items {
		switch {
		case it.publisher != publisher:
			continue
		case it.overtaken:
			it.doubt = local.Monotonic()
			it.next = it.doubt
			p.nudge()
		default:
			p.delivered.Add(1)
			p.dropLocked(key, it)
			p.count()
		}
	} // it may have been one of several that were made together
}

// superseded notes that the entry under key was changed: what certainly did not happen before needs no repair any more,
// and what may yet happen would undo the change.
func (p *pending) superseded(key string, begun uint64) {
	if p.depth.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.items[key]
	switch {
	case it == nil, begun <= it.position: // it may have been made before what failed
	case local.Monotonic() >= it.doubt:
		p.dropLocked(key, it)
		p.count()
	default:
		it.overtaken = true
	}
}

// clearCache notes that a cache could not be cleared, for the reason err.
func (p *pending) clearCache(name string, lane int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	prompt := p.blameLocked(err)
	p.floorLocked(floorOfLane{name, lane}, neverLive, prompt)
	p.count()
	p.hasten(prompt)
}

func (p *pending) count() {
	p.depth.Store(int64(len(p.items) + len(p.parts) + len(p.floors)))
}

func (p *pending) nudge() { signal(p.wake) }

// retryNow lets what is pending be tried before its pause is over.
func (p *pending) retryNow() { signal(p.again) }

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it is signalled already
	}
}

// stats gives how many invalidations wait, and since when the oldest does.
func (p *pending) stats(now time.Time) (depth int, age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.items {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range p.parts {
		age = max(age, now.Sub(it.since))
	}
	for _, it := range p.floors {
		age = max(age, now.Sub(it.since))
	}
	return len(p.items) + len(p.parts) + len(p.floors), age
}

func (p *pending) dropLocked(key string, it *undelivered) {
	delete(p.items, key)
	same := slices.DeleteFunc(p.hashes[it.hash], func(other *undelivered) bool { return other == it })
	if len(same) == 0 {
		delete(p.hashes, it.hash)
	} else {
		p.hashes[it.hash] = same
	}
	p.settledLocked()
}
