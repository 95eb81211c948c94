package local

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A scope begins with one set of counters. When its operations are found to overlap, so that processors write to the same
// cache lines, it gets one for each of scopeStripes: few of a great many scopes are that busy, and a set for each would
// take more memory than what they hold.
const (
	maxStripes = 64
	// Of crowdWindow looks at whether others are under way, crowded must have met some.
	crowdWindow, crowded = 1 << 10, 1 << 5
)

// scopeStripes is a power of two: a few for each processor, so that goroutines on different ones seldom share one.
var scopeStripes = min(maxStripes, 1<<bits.Len(uint(4*runtime.GOMAXPROCS(0)-1)))

// stripeShift leaves the bits of a hash that choose a stripe.
var stripeShift = 64 - bits.TrailingZeros(uint(scopeStripes))

// Scope is a partition of a tier: the entries of two scopes never meet, even with equal hashes and keys. Its
// methods are safe for concurrent use.
type Scope struct {
	tier    *Tier
	salt    uint64
	stripes atomic.Pointer[scopeCounts] // the first of scopeStripes; nil as long as sole is enough
	_       [104]byte                   // what every read needs stays off the lines that every read writes
	sole    scopeCounts
	met     atomic.Uint32 // looks of this window that met others
	looks   atomic.Uint32
}

// scopeCounts counts operations twice: when they begin and, by outcome, when they are concluded. The
// difference, over all stripes, is what Close waits for.
type scopeCounts struct {
	begun  atomic.Uint64
	hits   atomic.Uint64
	misses atomic.Uint64
	stale  atomic.Uint64
	writes atomic.Uint64
	_      [88]byte // two lines: processors fetch them in pairs
}

func (c *scopeCounts) concluded() uint64 {
	return c.hits.Load() + c.misses.Load() + c.stale.Load() + c.writes.Load()
}

// count picks the calling goroutine's counters, by where its stack is. A goroutine rarely changes the
// processor, so a line seldom moves; to pick by hash would move one on every other call. An operation may
// begin on one stripe and be concluded on another.
func (s *Scope) count() *scopeCounts {
	first := s.stripes.Load()
	if first == nil {
		return &s.sole
	}
	var here byte
	i := uint64(uintptr(unsafe.Pointer(&here))) >> 12 * 0x9e3779b97f4a7c15 >> (stripeShift & 63)
	return (*scopeCounts)(unsafe.Add(unsafe.Pointer(first), uintptr(i)*unsafe.Sizeof(scopeCounts{})))
}

// look is called by one Lookup in frontSample, which has begun: it gives the scope its stripes if operations
// overlap often.
func (s *Scope) look() {
	if s.stripes.Load() != nil {
		return
	}
	if begun := s.sole.begun.Load(); int64(begun-s.sole.concluded()) > 1 {
		if s.met.Add(1) >= crowded {
			s.stripes.CompareAndSwap(nil, &make([]scopeCounts, scopeStripes)[0])
			return
		}
	}
	if s.looks.Add(1)%crowdWindow == 0 {
		s.met.Store(0)
	}
}

// each calls f for all counters.
func (s *Scope) each(f func(c *scopeCounts)) {
	f(&s.sole)
	if first := s.stripes.Load(); first != nil {
		for i := range unsafe.Slice(first, scopeStripes) {
			f(&unsafe.Slice(first, scopeStripes)[i])
		}
	}
}

// NewScope returns a new partition. It lives as long as the tier.
func (t *Tier) NewScope() *Scope {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The odd constant keeps the salts of all scopes apart, so that scopes with equal hashes do not push
	// each other out.
	s := &Scope{tier: t, salt: uint64(len(t.scopes)) * 0x9e3779b97f4a7c15}
	t.scopes = append(t.scopes, s)
	return s
}

// Lookup returns the entry of key, whose hash is given. It returns nil, and has counted a miss, if there is
// none. Otherwise the caller decides whether the entry may be used, expiry included, and calls exactly one
// of Hit and Stale with the same hash; Close waits for that call. Lookup allocates nothing.
func (s *Scope) Lookup(hash uint64, key string) *Entry {
	c := s.count()
	n := c.begun.Add(1) // before the look at closed: see Tier.awaitIdle
	if t := s.tier; !t.closed.Load() {
		if n%frontSample == 0 {
			s.look()
		} else if t.front != nil {
			if e := t.front.get(hash^s.salt, s, key); e != nil {
				return e
			}
		}
		if e := s.ask(hash^s.salt, key); e != nil {
			return e
		}
	}
	c.misses.Add(1)
	return nil
}

// ask looks for an entry in the engine.
func (s *Scope) ask(hash uint64, key string) *Entry {
	e := s.tier.engine.get(hash)
	if e == nil || !e.is(s, key) {
		return nil
	}
	if f := s.tier.front; f != nil {
		f.put(e)
	}
	return e
}

// Hit concludes a Lookup whose entry is used.
func (s *Scope) Hit(hash uint64) { s.count().hits.Add(1) }

// Stale concludes a Lookup whose entry may not be used: it expired, or was invalidated.
func (s *Scope) Stale(hash uint64) { s.count().stale.Add(1) }

// Set stores e, whose key has the given hash, in place of any entry of that hash: no Lookup that begins
// after Set returned finds an older one. True means that e can be read at once; false that the tier is
// closed, or that e is larger than the tier, or that the engine did not keep pace with the writers: then
// the older entry is gone all the same. Set may wait some microseconds for the engine in a burst. The entry
// is the tier's from now on: it must not be changed, nor set again.
func (s *Scope) Set(hash uint64, e *Entry) bool {
	c := s.count()
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

// Delete removes the entry of key: no Lookup that begins after Delete returned finds an entry that was set
// before Delete was called. It may wait for the engine like Set.
func (s *Scope) Delete(hash uint64, key string) {
	c := s.count()
	c.begun.Add(1)
	defer c.writes.Add(1)
	if s.tier.closed.Load() {
		return
	}
	if e := s.tier.engine.current(hash ^ s.salt); e != nil && e.is(s, key) {
		s.tier.engine.drop(e, causeDeleted)
	}
}

// Stats returns how many Lookups found a usable entry, found none, and found one that was stale.
func (s *Scope) Stats() (hits, misses, stale uint64) {
	s.each(func(c *scopeCounts) {
		hits += c.hits.Load()
		misses += c.misses.Load()
		stale += c.stale.Load()
	})
	return hits, misses, stale
}

// busy reports whether an operation has begun and is not concluded. The conclusions are read first: if they
// equal the beginnings read afterwards, there was a moment without any.
func (s *Scope) busy() bool {
	var concluded, begun uint64
	s.each(func(c *scopeCounts) { concluded += c.concluded() })
	s.each(func(c *scopeCounts) { begun += c.begun.Load() })
	return begun != concluded
}
