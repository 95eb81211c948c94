package local

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

const (
	// bucketSlots is the number of entries in a bucket: with their tags they take one cache line.
	bucketSlots = 7
	// entriesPerBucket is the most entries of a full tier for each bucket. Few buckets are full
	// then.
	entriesPerBucket = 4
	// maxReadBuckets bounds a read cache to 64 MiB. The entries of a larger tier that do not fit
	// are found in the engine.
	maxReadBuckets = 1 << 20
	// engineSample is how often a read goes to the engine even if the read cache has the entry: one
	// time in so many, a power of two. The engine learns from reads which entries to keep.
	engineSample = 16
)

// readCache remembers the entries that were read lately, for an engine with expensive reads: a hit
// in ristretto takes a lock, a map, and a ring of reads, a hit here one cache line. It stores
// nothing: an entry that it finds counts only if it is alive, which the writes of the engine
// decide. The engine has the entries that it forgets.
type readCache struct {
	buckets []readBucket
	mask    uint64
}

// readBucket is one cache line. The tag of a slot says, with some certainty, that its entry need
// not be read; the entry itself decides.
type readBucket struct {
	tags  atomic.Uint64 // a byte for each slot, 0x80 and seven bits of the hash; the eighth byte is not used
	slots [bucketSlots]atomic.Pointer[Entry]
}

// readBucketsFor returns the number of buckets for so many entries.
func readBucketsFor(entries int64) int64 {
	n := max(1, (min(entries, maxReadBuckets*entriesPerBucket)+entriesPerBucket-1)/entriesPerBucket)
	return min(maxReadBuckets, int64(1)<<bits.Len64(uint64(n-1)))
}

// readCacheBytes returns the memory of a read cache for so many entries.
func readCacheBytes(entries int64) int64 { return 64 * readBucketsFor(entries) }

func newReadCache(entries int64) *readCache {
	n := readBucketsFor(entries)
	return &readCache{buckets: make([]readBucket, n), mask: uint64(n - 1)}
}

const (
	everyByte = 0x0101010101010101
	everyTop  = 0x8080808080808080
	slotBits  = 1<<(8*bucketSlots) - 1
)

// slotTag uses bits of the hash that choose no bucket.
func slotTag(hash uint64) uint64 { return hash>>57 | 0x80 }

// matches sets the top bits of the bytes that equal tag. It may set one bit too many, above a byte
// that is equal.
func matches(tags, tag uint64) uint64 {
	x := tags ^ tag*everyByte
	return (x - everyByte) &^ x & everyTop & slotBits
}

// get returns the entry of a key if it is remembered and alive. hash is mixed with the salt of the
// scope, as the engine knows it.
func (c *readCache) get(hash uint64, s *Scope, key string) *Entry {
	b := &c.buckets[hash&c.mask]
	for found := matches(b.tags.Load(), slotTag(hash)); found != 0; found &= found - 1 {
		if e := b.slots[bits.TrailingZeros64(found)/8].Load(); e != nil && e.matches(s, key) {
			return e
		}
	}
	return nil
}

// put remembers an entry that the engine has found. Two concurrent calls may each overwrite what
// the other has put: then one of the entries is not remembered, or not found, until it is put
// again.
func (c *readCache) put(e *Entry) {
	b := &c.buckets[e.hash&c.mask]
	slot := -1
	for i := range b.slots {
		switch there := b.slots[i].Load(); {
		case there == e:
			if b.tags.Load()>>(8*i)&0xff == slotTag(e.hash) {
				return // no write to the cache line of a hot entry
			}
			slot = i // with the tag of another entry
		case there == nil && slot < 0:
			slot = i
		}
	}
	if slot < 0 {
		slot = rand.IntN(bucketSlots)
	}
	b.slots[slot].Store(e)
	for {
		tags := b.tags.Load()
		if b.tags.CompareAndSwap(tags, tags&^(0xff<<(8*slot))|slotTag(e.hash)<<(8*slot)) {
			break
		}
	}
	if !e.alive() {
		c.forget(e) // it may have been removed, and looked for here, before it was put
	}
}

// forget forgets a dead entry.
func (c *readCache) forget(e *Entry) {
	b := &c.buckets[e.hash&c.mask]
	for i := range b.slots {
		if b.slots[i].Load() == e {
			b.slots[i].CompareAndSwap(e, nil)
		}
	}
}
