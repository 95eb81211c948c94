package replay

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
)

func noTick(int) {}

func lruHits(t testing.TB, keys []uint32, count, size int) int64 {
	t.Helper()
	distances, err := stackDistances(context.Background(), keys, count, noTick)
	if err != nil {
		t.Fatal(err)
	}
	var hits int64
	for d := 1; d < len(distances) && d <= size; d++ {
		hits += distances[d]
	}
	return hits
}

func bestHits(t testing.TB, keys []uint32, count, size int) int64 {
	t.Helper()
	hits, err := optimalHits(context.Background(), nextUses(keys, count), size, noTick)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// naiveLRU is a list, the latest first.
func naiveLRU(keys []uint32, size int) (hits int64) {
	var list []uint32
	for _, key := range keys {
		if i := slices.Index(list, key); i >= 0 {
			hits++
			list = slices.Delete(list, i, i+1)
		}
		list = slices.Insert(list, 0, key)
		list = list[:min(len(list), size)]
	}
	return hits
}

// bestOfAll tries every choice of what to hold, sets being bits.
func bestOfAll(keys []uint32, size int) (best int64) {
	reached := map[uint16]int64{0: 0}
	for _, key := range keys {
		bit := uint16(1) << key
		next := make(map[uint16]int64)
		reach := func(set uint16, hits int64) {
			if h, ok := next[set]; !ok || hits > h {
				next[set] = hits
			}
		}
		for set, hits := range reached {
			if set&bit != 0 {
				reach(set, hits+1)
				continue
			}
			reach(set, hits)
			n := 0
			for other := range 16 {
				if set&(1<<other) != 0 {
					n++
					reach(set&^(1<<other)|bit, hits)
				}
			}
			if n < size {
				reach(set|bit, hits)
			}
		}
		reached = next
	}
	for _, hits := range reached {
		best = max(best, hits)
	}
	return best
}

func randomKeys(r *rand.Rand, length, count int) []uint32 {
	keys := make([]uint32, length)
	for i := range keys {
		keys[i] = uint32(min(r.IntN(count), r.IntN(count))) // low ones are popular
	}
	return keys
}

func TestLRUIsThatOfAList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		count := 1 + r.IntN(40)
		keys := randomKeys(r, r.IntN(400), count)
		for size := 1; size <= count+1; size += 1 + r.IntN(3) {
			if got, want := lruHits(t, keys, count, size), naiveLRU(keys, size); got != want {
				t.Fatalf("%d entries, %v: %d hits, want %d", size, keys, got, want)
			}
		}
	}
}

func TestOptimumIsTheBestOfAll(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		count := 1 + r.IntN(6)
		keys := randomKeys(r, r.IntN(20), count)
		for size := 1; size <= count; size++ {
			if got, want := bestHits(t, keys, count, size), bestOfAll(keys, size); got != want {
				t.Fatalf("%d entries, %v: %d hits, want %d", size, keys, got, want)
			}
		}
	}
}

// TestMoreEntriesHitMore of LRU and of the optimum, which is never below LRU.
func TestMoreEntriesHitMore(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		const count = 100
		keys := randomKeys(r, 2000, count)
		var before, beforeBest int64
		for size := 1; size <= count; size += 3 {
			hits, best := lruHits(t, keys, count, size), bestHits(t, keys, count, size)
			if hits < before || best < beforeBest || best < hits {
				t.Fatalf("%d entries: LRU %d after %d, optimum %d after %d", size, hits, before, best, beforeBest)
			}
			before, beforeBest = hits, best
		}
	}
}

func TestKnownTraces(t *testing.T) {
	// The reference string of Belady's paper on the anomaly of FIFO: 1 2 3 4 1 2 5 1 2 3 4 5.
	belady := []uint32{0, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4}
	loop := []uint32{0, 1, 2, 0, 1, 2, 0, 1, 2}
	for _, c := range []struct {
		name      string
		keys      []uint32
		count     int
		size      int
		lru, best int64
	}{
		{"belady, 3", belady, 5, 3, 2, 5},
		{"belady, 4", belady, 5, 4, 4, 6},
		{"belady, 5", belady, 5, 5, 7, 7},
		{"a loop larger than the cache", loop, 3, 2, 0, 4},
		{"a loop that fits", loop, 3, 3, 6, 6},
		{"one key", []uint32{0, 0, 0}, 1, 1, 2, 2},
		{"nothing", nil, 0, 1, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lruHits(t, c.keys, c.count, c.size); got != c.lru {
				t.Errorf("LRU: %d hits, want %d", got, c.lru)
			}
			if got := bestHits(t, c.keys, c.count, c.size); got != c.best {
				t.Errorf("optimum: %d hits, want %d", got, c.best)
			}
		})
	}
}

// TestPositionsAreASet over several levels of words.
func TestPositionsAreASet(t *testing.T) {
	const bound = 300_000
	r := rand.New(rand.NewPCG(7, 8))
	p, model := newPositions(bound), map[int]bool{}
	for range 20_000 {
		i := r.IntN(bound)
		if r.IntN(3) == 0 && len(model) > 0 {
			i = p.max()
			if !model[i] {
				t.Fatalf("%d is the highest, and not there", i)
			}
		}
		if model[i] != p.remove(i) {
			t.Fatalf("%d: there is %t", i, model[i])
		}
		if model[i] {
			delete(model, i)
		} else {
			p.add(i)
			model[i] = true
		}
	}
	for len(model) > 0 {
		i, highest := p.max(), 0
		if len(model)%500 == 0 { // a look at all, now and then
			for j := range model {
				highest = max(highest, j)
			}
			if i != highest {
				t.Fatalf("%d is said to be the highest, and %d is", i, highest)
			}
		}
		if !p.remove(i) || !model[i] {
			t.Fatalf("%d is the highest, and not there", i)
		}
		delete(model, i)
	}
}

// FuzzExact compares LRU with a list and the optimum with LRU on any trace.
func FuzzExact(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4}, byte(3))
	f.Add([]byte("abcabcabd"), byte(2))
	f.Fuzz(func(t *testing.T, trace []byte, size byte) {
		if len(trace) > 1000 || size == 0 {
			return
		}
		keys := make([]uint32, len(trace))
		for i, b := range trace {
			keys[i] = uint32(b)
		}
		hits := lruHits(t, keys, 256, int(size))
		if want := naiveLRU(keys, int(size)); hits != want {
			t.Fatalf("LRU: %d hits, want %d", hits, want)
		}
		if best := bestHits(t, keys, 256, int(size)); best < hits {
			t.Fatalf("optimum: %d hits, LRU %d", best, hits)
		}
	})
}
