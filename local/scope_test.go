package local

import (
	"runtime"
	"sync"
	"testing"
)

// A scope that is not used by several goroutines at once takes little memory: a tier may have many
// thousands.
func TestScope_isSmall(t *testing.T) {
	const n, most = 10_000, 512
	tier := newTier(t, Options{MaxEntries: 100})
	scopes := make([]*Scope, n)
	before := heapInUse()
	for i := range scopes {
		scopes[i] = tier.NewScope()
		for range 100 { // one after the other
			read(scopes[i], itemOf(i))
		}
	}
	if each := (int64(heapInUse()) - int64(before)) / n; each > most {
		t.Errorf("a scope takes %d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(scopes)
}

// A scope whose operations overlap gets counters for each processor, and loses none of its counts
// meanwhile.
func TestScope_isStripedWhenItIsCrowded(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		const readers, reads = 4, 20_000
		tier := newTier(t, Options{Engine: kind})
		s := tier.NewScope()
		there, missing := itemOf(1), itemOf(2)
		s.Set(there.hash, there.entry(1))
		for range 2 * engineSample * overlapWindow { // one after the other: nobody is met
			read(s, there)
		}
		if s.striped.Load() != nil {
			t.Error("a scope with one reader is striped")
		}
		under := s.Lookup(there.hash, there.key) // under way, so that each look of another meets it
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				for i := range reads {
					if i%2 == 0 {
						read(s, there)
					} else {
						read(s, missing)
					}
				}
			})
		}
		all.Wait()
		if !s.busy() {
			t.Error("the Lookup that is under way is not counted")
		}
		if s.striped.Load() == nil {
			t.Error("a scope whose reads overlap is not striped")
		}
		if under == nil {
			t.Fatal("the entry is gone")
		}
		s.Stale(there.hash)
		hits, misses, stale := s.Stats()
		if want := uint64(2*engineSample*overlapWindow + readers*reads/2); hits != want || misses != readers*reads/2 || stale != 1 {
			t.Errorf("%d hits, %d misses, %d stale, want %d, %d and 1", hits, misses, stale, want, readers*reads/2)
		}
	})
}
