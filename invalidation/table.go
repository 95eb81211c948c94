package invalidation

import (
	"sync"
	"sync/atomic"
)

const (
	buckets = 1 << 14 // of 64 bytes: 1 MiB
	ways    = 4
)

// bucket is one cache line: four hashes with the position of their newest invalidation, and the
// highest position that was evicted. A fingerprint is the upper half of a hash; the lower half
// picks the bucket.
type bucket struct {
	prints    [ways]atomic.Uint32
	positions [ways]atomic.Uint64
	floor     atomic.Uint64
	_         [8]byte
}

// Table records invalidations. Each invalidation has a position, and positions rise. For the hash
// of each key or tag the table knows the position of its newest invalidation. A local copy carries
// a stamp, the position that [Table.Now] returned before the copy's load began; [Table.Valid]
// reports whether the copy may be served.
//
// A table takes 1 MiB, however many hashes it records. A hash that is evicted from its bucket
// raises the floor of the bucket, which invalidates a few more copies than necessary, and never one
// too few.
//
// Reads take no lock. A writer holds mu; it raises the floor before it evicts a hash, and a reader
// looks at the hashes before the floor, so the reader meets an evicted invalidation in one of the
// two.
type Table struct {
	buckets  [buckets]bucket // first, where the allocator's alignment puts each on a cache line of its own
	clock    atomic.Uint64   // the newest position; taken and recorded under mu
	recorded atomic.Uint64   // every position up to here is recorded
	_        [48]byte        // readers of the fields above do not wait for the cache line of the lock
	mu       sync.Mutex
}

// NewTable returns an empty table.
func NewTable() *Table { return new(Table) }

// Valid reports whether a copy with this hash, whose load began at stamp, may be served.
func (t *Table) Valid(hash, stamp uint64) bool {
	b := &t.buckets[hash&(buckets-1)]
	fingerprint := uint32(hash >> 32)
	for i := range b.prints {
		if b.prints[i].Load() == fingerprint && b.positions[i].Load() > stamp {
			return false
		}
	}
	return b.floor.Load() <= stamp
}

// Now returns the newest position: the stamp of a load that begins now.
func (t *Table) Now() uint64 { return t.clock.Load() }

// Recorded returns the position up to which every invalidation is recorded, by the table or by the
// callback of Advance. A copy that is found valid after Recorded was called may be given that
// position as its stamp. Now is no such position: it may belong to an invalidation that is about to
// be recorded.
func (t *Table) Recorded() uint64 { return t.recorded.Load() }

// Advance calls record with a new position. It is for invalidations that the caller records itself,
// since they have no hash. record must not block.
func (t *Table) Advance(record func(position uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	position := t.clock.Add(1)
	record(position)
	t.recorded.Store(position)
}

// Raise invalidates the copies with these hashes whose load began before now, and returns the
// position of the invalidation.
func (t *Table) Raise(hashes ...uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raiseAll(hashes)
}

// RaiseAndCheck is Raise of hashes. It also reports whether, before that, neither hashes nor
// watched had an invalidation newer than begun. Both are one step: another invalidation is either
// seen by RaiseAndCheck, or its position is higher than the one that RaiseAndCheck returns.
func (t *Table) RaiseAndCheck(begun uint64, hashes, watched []uint64) (position uint64, unchanged bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	unchanged = true
	for _, h := range hashes {
		unchanged = unchanged && t.Valid(h, begun)
	}
	for _, h := range watched {
		unchanged = unchanged && t.Valid(h, begun)
	}
	return t.raiseAll(hashes), unchanged
}

func (t *Table) raiseAll(hashes []uint64) uint64 {
	position := t.clock.Add(1)
	for _, h := range hashes {
		t.raise(h, position)
	}
	t.recorded.Store(position)
	return position
}

func (t *Table) raise(hash, position uint64) {
	b := &t.buckets[hash&(buckets-1)]
	fingerprint := uint32(hash >> 32)
	oldest := 0
	for i := range b.prints {
		// A free place has position 0 whatever its fingerprint, and counts as the oldest.
		if b.prints[i].Load() == fingerprint && b.positions[i].Load() != 0 {
			if b.positions[i].Load() < position {
				b.positions[i].Store(position)
			}
			return
		}
		if b.positions[i].Load() < b.positions[oldest].Load() {
			oldest = i
		}
	}
	if evicted := b.positions[oldest].Load(); evicted > b.floor.Load() {
		b.floor.Store(evicted)
	}
	b.positions[oldest].Store(position)
	b.prints[oldest].Store(fingerprint)
}
