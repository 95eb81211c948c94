package local

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A scope begins with one set of counters. When its operations are found to overlap, so that
// processors write to the same cache lines, it gets a set for each of scopeStripes. Few of a great
// many scopes are that busy, and a set for each stripe of all of them would take more memory than
// their entries.
const (
	maxStripes = 64
	// A scope is striped when overlapLimit of overlapWindow checks found other operations under
	// way.
	overlapWindow, overlapLimit = 1 << 10, 1 << 5
)

// scopeStripes is a power of two: a few for each processor, so that goroutines on different
// processors seldom share one.
var scopeStripes = min(maxStripes, 1<<bits.Len(uint(4*runtime.GOMAXPROCS(0)-1)))

// stripeShift leaves the bits of a hash that choose a stripe.
var stripeShift = 64 - bits.TrailingZeros(uint(scopeStripes))

// Scope is a partition of a tier: the entries of two scopes never meet, even with equal hashes and
// keys. Its methods are safe for concurrent use.
type Scope struct {
	tier     *Tier
	salt     uint64
	striped  atomic.Pointer[scopeCounters] // the first of scopeStripes; nil as long as single is enough
	_        [104]byte                     // keeps the fields that every read needs off the cache lines that it writes
	single   scopeCounters
	overlaps atomic.Uint32 // checks of this window that found other operations
	checks   atomic.Uint32
}

// scopeCounters counts operations twice: when they begin and, by outcome, when they are concluded.
// Close waits until the difference, over all stripes, is zero.
type scopeCounters struct {
	begun  atomic.Uint64
	hits   atomic.Uint64
	misses atomic.Uint64
	stale  atomic.Uint64
	writes atomic.Uint64
	_      [88]byte // two cache lines: processors fetch them in pairs
}

func (c *scopeCounters) concluded() uint64 {
	return c.hits.Load() + c.misses.Load() + c.stale.Load() + c.writes.Load()
}

// counters returns the counters for the calling goroutine, by the address of its stack. A goroutine
// rarely changes its processor, so a cache line seldom moves; a choice by hash would move one on
// every other call. An operation may begin on one stripe and be concluded on another.
func (s *Scope) counters() *scopeCounters {
	first := s.striped.Load()
	if first == nil {
		return &s.single
	}
	var here byte
	i := uint64(uintptr(unsafe.Pointer(&here))) >> 12 * 0x9e3779b97f4a7c15 >> (stripeShift & 63)
	return (*scopeCounters)(unsafe.Add(unsafe.Pointer(first), uintptr(i)*unsafe.Sizeof(scopeCounters{})))
}

// checkOverlap is called by one Lookup in engineSample, after it has begun. It gives the scope its
// stripes if operations overlap often.
func (s *Scope) checkOverlap() {
	if s.striped.Load() != nil {
		return
	}
	if begun := s.single.begun.Load(); int64(begun-s.single.concluded()) > 1 {
		if s.overlaps.Add(1) >= overlapLimit {
			s.striped.CompareAndSwap(nil, &make([]scopeCounters, scopeStripes)[0])
			return
		}
	}
	if s.checks.Add(1)%overlapWindow == 0 {
		s.overlaps.Store(0)
	}
}

// eachCounters calls f for all counters.
func (s *Scope) eachCounters(f func(c *scopeCounters)) {
	f(&s.single)
	if first := s.striped.Load(); first != nil {
		for i := range unsafe.Slice(first, scopeStripes) {
			f(&unsafe.Slice(first, scopeStripes)[i])
		}
	}
}

// NewScope returns a new partition. It lives as long as the tier.
func (t *Tier) NewScope() *Scope {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The odd constant keeps the salts of all scopes apart, so that scopes with equal hashes do not
	// push each other out.
	s := &Scope{tier: t, salt: uint64(len(t.scopes)) * 0x9e3779b97f4a7c15}
	t.scopes = append(t.scopes, s)
	return s
}

// Lookup returns the entry of key, whose hash is given. If there is none, it counts a miss and
// returns nil. Otherwise the caller decides whether the entry may be used, expiry included, and
// calls exactly one of Hit and Stale with the same hash; Close waits for that call. Lookup
// allocates nothing.
func (s *Scope) Lookup(hash uint64, key string) *Entry {
	c := s.counters()
	n := c.begun.Add(1) // before closed is read: see Tier.awaitIdle
	if t := s.tier; !t.closed.Load() {
		if n%engineSample == 0 {
			s.checkOverlap()
		} else if t.readCache != nil {
			if e := t.readCache.get(hash^s.salt, s, key); e != nil {
				return e
			}
		}
		if e := s.getFromEngine(hash^s.salt, key); e != nil {
			return e
		}
	}
	c.misses.Add(1)
	return nil
}

// getFromEngine returns the entry of the engine, and puts it into the read cache.
func (s *Scope) getFromEngine(hash uint64, key string) *Entry {
	e := s.tier.engine.get(hash)
	if e == nil || !e.matches(s, key) {
		return nil
	}
	if f := s.tier.readCache; f != nil {
		f.put(e)
	}
	return e
}

// Peek returns the entry of key, whose hash is given, or nil. It counts neither as a hit nor as a
// miss, and needs no Hit or Stale. To the engine it is a read like any other.
func (s *Scope) Peek(hash uint64, key string) *Entry {
	c := s.counters()
	c.begun.Add(1) // before closed is read: see Tier.awaitIdle
	defer c.writes.Add(1)
	if s.tier.closed.Load() {
		return nil
	}
	if e := s.tier.engine.get(hash ^ s.salt); e != nil && e.matches(s, key) {
		return e
	}
	return nil
}

// Hit concludes a Lookup whose entry is used.
func (s *Scope) Hit(hash uint64) { s.counters().hits.Add(1) }

// Stale concludes a Lookup whose entry may not be used, since it has expired or was invalidated.
func (s *Scope) Stale(hash uint64) { s.counters().stale.Add(1) }

// Set stores e, whose key has the given hash, in place of any entry of that hash: no Lookup that
// begins after Set has returned finds an older one. It reports whether e can be read at once. It
// returns false if the tier is closed, if e is larger than the tier, or if the engine did not keep
// pace with the writers; the older entry is removed all the same. In a burst, Set may wait some
// microseconds for the engine. After Set, the caller must not change the entry or set it again.
func (s *Scope) Set(hash uint64, e *Entry) bool {
	c := s.counters()
	c.begun.Add(1)
	defer c.writes.Add(1)
	if s.tier.closed.Load() {
		return false
	}
	e.hash = hash ^ s.salt
	e.charge = s.tier.charge(e)
	e.scope.Store(s)
	return s.tier.engine.set(e)
}

// Delete removes the entry of key: no Lookup that begins after Delete has returned finds an entry
// that was set before Delete was called. Like Set it may wait for the engine.
func (s *Scope) Delete(hash uint64, key string) {
	c := s.counters()
	c.begun.Add(1)
	defer c.writes.Add(1)
	if s.tier.closed.Load() {
		return
	}
	if e := s.tier.engine.peek(hash ^ s.salt); e != nil && e.matches(s, key) {
		s.tier.engine.remove(e, causeDeleted)
	}
}

// Stats returns how many Lookups found a usable entry, found none, and found a stale one.
func (s *Scope) Stats() (hits, misses, stale uint64) {
	s.eachCounters(func(c *scopeCounters) {
		hits += c.hits.Load()
		misses += c.misses.Load()
		stale += c.stale.Load()
	})
	return hits, misses, stale
}

// busy reports whether an operation has begun and is not concluded. It reads the conclusions first:
// if they equal the beginnings, which it reads afterwards, there was a moment without any
// operation.
func (s *Scope) busy() bool {
	var concluded, begun uint64
	s.eachCounters(func(c *scopeCounters) { concluded += c.concluded() })
	s.eachCounters(func(c *scopeCounters) { begun += c.begun.Load() })
	return begun != concluded
}
