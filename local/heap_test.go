package local

import (
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// A tier is filled with a million entries of 100 bytes, and the heap that it keeps alive is
// compared with MaxBytes.
func TestMaxBytes_isMeasuredHeap(t *testing.T) {
	const entries, size = 250_000, 100
	// Fewer collections while the tier fills: what is measured comes after two of them anyway.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		const limit = 80 << 20
		before := heapInUse()
		tier, err := New(Options{Engine: kind, MaxBytes: limit}) // the walk of newTier's checks takes too long here
		if err != nil {
			t.Fatal(err)
		}
		defer tier.Close()
		s := tier.NewScope()
		for i := range entries {
			key := "user:" + strconv.Itoa(1e9+i)
			value := make([]byte, size)
			e := NewEntry(key, &value)
			e.Cost = int64(len(key) + size)
			s.Set(keyhash.Sum(0, key), e)
		}
		tier.wait()
		heap := int64(heapInUse() - before)
		stats := tier.Stats()
		perEntry := heap / stats.Entries
		t.Logf("%s: %d entries, heap %d MiB of %d, counted %d; %d bytes an entry", kind,
			stats.Entries, heap>>20, limit>>20, stats.Bytes>>20, perEntry)
		if heap > limit*5/4 || heap < limit*3/4 {
			t.Errorf("the heap is %d bytes, MaxBytes %d", heap, limit)
		}
		if stats.Bytes < tier.engine.capacity()*95/100 {
			t.Errorf("the tier is not full: %d of %d", stats.Bytes, tier.engine.capacity())
		}
		runtime.KeepAlive(tier)
	})
}

// heapInUse collects twice: what a finalizer or a pool held goes with the second collection.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
