package invalidation

import (
	"sync"
	"sync/atomic"
)

const (
	buckets = 1 << 14 // of 64 bytes: 1 MiB
	ways    = 4
)

// bucket is one cache line: four hashes with the position of their newest invalidation, and the highest position that
// was pushed out. A fingerprint is the upper half of a hash; the lower half picks the bucket.
type bucket struct {
	prints    [ways]atomic.Uint32
	positions [ways]atomic.Uint64
	floor     atomic.Uint64
	_         [8]byte
}

// Table counts what an instance has learned, and knows, for the hash of each key or tag, the position of the newest
// invalidation. It takes 1 MiB, whatever it holds: what finds no room in its bucket raises the bucket's floor, which
// invalidates a few entries too many, never one too few.
//
// Reads are lock-free. Writers hold mu; a writer that pushes a hash out raises the floor before it gives away the
// place, and a reader looks at the places before the floor, so that it meets the old invalidation in one of the two.
type Table struct {
	buckets [buckets]bucket // first, where the allocator's alignment puts each on a cache line of its own
	clock   atomic.Uint64   // positions rise; one is taken and noted under mu
	settled atomic.Uint64   // the position up to which all is noted
	_       [48]byte        // readers of these do not wait for the lock's cache line
	mu      sync.Mutex
}

// NewTable gives an empty table.
func NewTable() *Table { return new(Table) }

// Valid tells whether an entry with this hash, whose load began at stamp, may be served.
func (t *Table) Valid(hash, stamp uint64) bool {
	b := &t.buckets[hash&(buckets-1)]
	print := uint32(hash >> 32)
	for i := range b.prints {
		if b.prints[i].Load() == print && b.positions[i].Load() > stamp {
			return false
		}
	}
	return b.floor.Load() <= stamp
}

// Now is the position reached: the stamp of a load that begins now.
func (t *Table) Now() uint64 { return t.clock.Load() }

// Settled is the position up to which everything that was learned has been noted, here or by Advance. An entry that is
// found valid after Settled was asked for was not invalidated by anything up to there: it may be given that stamp. The
// position Now may be taken already by what is about to be noted.
func (t *Table) Settled() uint64 { return t.settled.Load() }

// Advance gives note a new position, above all before it, for what is not noted by hash. note must not block.
func (t *Table) Advance(note func(position uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	position := t.clock.Add(1)
	note(position)
	t.settled.Store(position)
}

// Raise notes that the entries with these hashes are invalid if their load began before now, and gives the new position.
func (t *Table) Raise(hashes ...uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raiseAll(hashes)
}

// Conclude is Raise, and tells whether nothing newer than begun was known about these hashes, or those watched, before.
// Both are one step: an invalidation is either seen here, or gets a position above the one that is returned.
func (t *Table) Conclude(begun uint64, hashes, watched []uint64) (position uint64, unchanged bool) {
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
	t.settled.Store(position)
	return position
}

func (t *Table) raise(hash, position uint64) {
	b := &t.buckets[hash&(buckets-1)]
	print := uint32(hash >> 32)
	oldest := 0
	for i := range b.prints {
		// A free place has position 0, whatever its fingerprint, and is the oldest of all.
		if b.prints[i].Load() == print && b.positions[i].Load() != 0 {
			if b.positions[i].Load() < position {
				b.positions[i].Store(position)
			}
			return
		}
		if b.positions[i].Load() < b.positions[oldest].Load() {
			oldest = i
		}
	}
	if out := b.positions[oldest].Load(); out > b.floor.Load() {
		b.floor.Store(out)
	}
	b.positions[oldest].Store(position)
	b.prints[oldest].Store(print)
}
