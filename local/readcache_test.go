package local

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// A hit reads one cache line of the read cache and one of the entry.
func TestReadCache_hotDataKeepsToCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(readBucket{}); n != 64 {
		t.Errorf("a bucket of the read cache has %d bytes, must be a cache line", n)
	}
	var e Entry
	if n := unsafe.Offsetof(e.Expires); n != 64 {
		t.Errorf("what a hit reads of an entry ends at %d, must be a cache line", n)
	}
}

func TestReadCache_matchesTags(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		tags, tag := r.Uint64(), slotTag(r.Uint64())
		for way := range bucketSlots {
			if r.IntN(3) == 0 {
				tags = tags&^(0xff<<(8*way)) | tag<<(8*way)
			}
		}
		found := matches(tags, tag)
		for way := range bucketSlots {
			if byte(tags>>(8*way)) == byte(tag) && found&(0x80<<(8*way)) == 0 {
				t.Fatalf("tags %016x: way %d has tag %02x, and is not among %016x", tags, way, tag, found)
			}
		}
		if found&^uint64(everyTop&slotBits) != 0 {
			t.Fatalf("tags %016x, tag %02x: %016x marks what is no way", tags, tag, found)
		}
	}
}

func TestReadCache_isSizedByEntries(t *testing.T) {
	for _, c := range []struct{ entries, want int64 }{
		{1, 1}, {4, 1}, {5, 2}, {1000, 256}, {100_000, 32_768}, {1_000_000, 262_144}, {1 << 40, maxReadBuckets}, {math.MaxInt64, maxReadBuckets},
	} {
		if got := readBucketsFor(c.entries); got != c.want || bits.OnesCount64(uint64(got)) != 1 {
			t.Errorf("a read cache for %d entries has %d buckets, want %d", c.entries, got, c.want)
		}
	}
}

// A dead entry is let go of: neither found, nor kept from being collected.
func TestReadCache_forgetsDeadEntries(t *testing.T) {
	tier := newTier(t, Options{MaxEntries: 1000})
	s := tier.NewScope()
	resident := func() (n int) {
		for i := range tier.readCache.buckets {
			for j := range tier.readCache.buckets[i].slots {
				if tier.readCache.buckets[i].slots[j].Load() != nil {
					n++
				}
			}
		}
		return n
	}
	const keys = 100
	readAll := func() (hits int) {
		for i := range keys {
			if _, ok := read(s, itemOf(i)); ok {
				hits++
			}
		}
		return hits
	}
	for i := range keys {
		s.Set(itemOf(i).hash, itemOf(i).entry(i))
	}
	if hits := readAll(); hits != keys || resident() != keys {
		t.Fatalf("%d hits, %d remembered, want %d", hits, resident(), keys)
	}
	for i := range keys / 2 {
		s.Delete(itemOf(i).hash, itemOf(i).key)
	}
	for i := keys / 2; i < keys; i++ {
		s.Set(itemOf(i).hash, itemOf(i).entry(-i)) // replaces
	}
	if n := resident(); n != 0 {
		t.Errorf("%d dead entries are remembered", n)
	}
	if hits := readAll(); hits != keys/2 || resident() != keys/2 {
		t.Errorf("%d hits, %d remembered, want %d", hits, resident(), keys/2)
	}
	for i := keys / 2; i < keys; i++ {
		if v, _ := read(s, itemOf(i)); v != -i {
			t.Errorf("key %d has %v, want %d", i, v, -i)
		}
	}
	tier.Clear()
	if n := resident(); n != 0 {
		t.Errorf("%d entries are remembered after Clear", n)
	}
}

// More entries in a bucket than it has ways are found all the same, by way of the engine, and none
// of them as another.
func TestReadCache_fullBucketHidesNoEntry(t *testing.T) {
	tier := newTier(t, Options{MaxEntries: 1000})
	s, f := tier.NewScope(), tier.readCache
	var items []item
	for i := 0; len(items) < 3*bucketSlots; i++ {
		if it := itemOf(i); (it.hash^s.salt)&f.mask == 0 {
			items = append(items, it)
		}
	}
	for i, it := range items {
		s.Set(it.hash, it.entry(i))
	}
	for range 50 {
		for i, it := range items {
			if v, ok := read(s, it); !ok || v != i {
				t.Fatalf("item %d reads %v, %v", i, v, ok)
			}
		}
	}
	// A hash that two keys share finds the key's own entry or none.
	other := "a key of the same hash"
	if e := f.get(items[0].hash^s.salt, s, other); e != nil {
		t.Errorf("the entry of %q was found for %q", e.Key(), other)
	}
}

func TestEntry_keepsItsKeyAndValue(t *testing.T) {
	long := make([]byte, 300)
	for i := range long {
		long[i] = byte('a' + i%26)
	}
	type large struct{ _, _ [maxInlineValue]byte }
	for n := range long {
		key := string(long[:n])
		v, e := n, NewEntry(key, &n)
		if e.Key() != key || *ValueOf[int](e) != v || *e.Value.(*int) != v {
			t.Fatalf("an entry of a key of %d bytes has key %q and value %d", n, e.Key(), *ValueOf[int](e))
		}
	}
	v := new(large)
	if e := NewEntry("k", v); ValueOf[large](e) != v {
		t.Error("a large value is not the one that was given")
	}
	if e := NewEntry[int]("k", nil); e.Value.(*int) != nil {
		t.Error("an entry without a value has one")
	}
	if e := NewEntry("k", &struct{}{}); ValueOf[struct{}](e) == nil {
		t.Error("an entry of an empty value has none")
	}
}

func BenchmarkReadCache(b *testing.B) {
	f := newReadCache(1000)
	s := new(Scope)
	it := item{"user:42", keyhash.Sum(0, "user:42")}
	e := it.entry(nil)
	e.hash = it.hash
	e.scope.Store(s)
	f.put(e)
	for b.Loop() {
		if f.get(it.hash, s, it.key) == nil {
			b.Fatal("not found")
		}
	}
}
