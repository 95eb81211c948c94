package local

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

const (
	// frontWays is how many entries a bucket of the front holds: with their tags, one cache line.
	frontWays = 7
	// frontLoad is how many entries of a full tier share a bucket at most: few enough that hardly any bucket is full.
	frontLoad = 4
	// frontLimit bounds the front to 64 MiB, whatever the tier's bound. Tiers that hold more entries than that has places find
	// the rest in the engine.
	frontLimit = 1 << 20
	// frontSample is of how many reads one goes to the engine though the front has its entry, for the engine learns from
	// reads what to keep. It is a power of two.
	frontSample = 16
)

// front remembers where entries are that were read lately, before an engine whose reads are dear: a ristretto hit takes a
// lock, a map, and a ring of reads, a hit here one cache line. It is a memory and no store: what it finds
// counts only if it is alive, which the engine's writes decide, and what it has lost the engine still has.
type front struct {
	buckets []frontBucket
	mask    uint64
}

// frontBucket is one cache line. A tag tells of a way, with some certainty, that it is not worth a look; the entry itself decides.
type frontBucket struct {
	tags atomic.Uint64 // a byte for each way, 0x80 and seven bits of the hash; the eighth is not used
	ways [frontWays]atomic.Pointer[Entry]
}

// frontBuckets is the size of a front for so many entries.
func frontBuckets(entries int64) int64 {
	n := max(1, (min(entries, frontLimit*frontLoad)+frontLoad-1)/frontLoad)
	return min(frontLimit, int64(1)<<bits.Len64(uint64(n-1)))
}

// frontBytes is the memory of a front for so many entries.
func frontBytes(entries int64) int64 { return 64 * frontBuckets(entries) }

func newFront(entries int64) *front {
	n := frontBuckets(entries)
	return &front{buckets: make([]frontBucket, n), mask: uint64(n - 1)}
}

const (
	everyByte = 0x0101010101010101
	everyTop  = 0x8080808080808080
	wayBits   = 1<<(8*frontWays) - 1
)

// frontTag uses bits of the hash that choose no bucket.
func frontTag(hash uint64) uint64 { return hash>>57 | 0x80 }

// matches marks the top bits of the bytes that equal tag. It may mark a byte too many, above one that is equal.
func matches(tags, tag uint64) uint64 {
	x := tags ^ tag*everyByte
	return (x - everyByte) &^ x & everyTop & wayBits
}

// get finds the entry of a key, if it is remembered and alive. hash is as the engine knows it.
func (f *front) get(hash uint64, s *Scope, key string) *Entry {
	b := &f.buckets[hash&f.mask]
	for found := matches(b.tags.Load(), frontTag(hash)); found != 0; found &= found - 1 {
		if e := b.ways[bits.TrailingZeros64(found)/8].Load(); e != nil && e.is(s, key) {
			return e
		}
	}
	return nil
}

// put remembers an entry that the engine has found. Two at the same time may each overwrite what the other has put: one of them
// is then not remembered, or not found, until it is put again.
func (f *front) put(e *Entry) {
	b := &f.buckets[e.hash&f.mask]
	way := -1
	for i := range b.ways {
		switch there := b.ways[i].Load(); {
		case there == e:
			if b.tags.Load()>>(8*i)&0xff == frontTag(e.hash) {
				return // a hot entry's line is not written to
			}
			way = i // with another's tag
		case there == nil && way < 0:
			way = i
		}
	}
	if way < 0 {
		way = rand.IntN(frontWays)
	}
	b.ways[way].Store(e)
	for {
		tags := b.tags.Load()
		if b.tags.CompareAndSwap(tags, tags&^(0xff<<(8*way))|frontTag(e.hash)<<(8*way)) {
			break
		}
	}
	if !e.alive() {
		f.forget(e) // whoever buried it may have looked for it before it was here
	}
}

// forget lets go of an entry that is dead.
func (f *front) forget(e *Entry) {
	b := &f.buckets[e.hash&f.mask]
	for i := range b.ways {
		if b.ways[i].Load() == e {
			b.ways[i].CompareAndSwap(e, nil)
		}
	}
}
