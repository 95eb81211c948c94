package invalidation

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// hashOf gives a hash that lies in a bucket and has a fingerprint.
func hashOf(bucket uint16, fingerprint uint32) uint64 {
	return uint64(fingerprint)<<32 | uint64(bucket)%buckets
}

func TestTable_knowsNothingAtFirst(t *testing.T) {
	table := NewTable()
	for _, h := range []uint64{0, 1, hashOf(3, 0), hashOf(3, 1), 1<<64 - 1} {
		if !table.Valid(h, 0) {
			t.Errorf("hash %x is invalid in an empty table", h)
		}
	}
	if table.Now() != 0 {
		t.Errorf("position %d", table.Now())
	}
}

func TestRaise_invalidatesReadsThatBeganBefore(t *testing.T) {
	// A fingerprint of 0 looks like a free place.
	for _, h := range []uint64{0, 1, hashOf(7, 0), hashOf(7, 0xFFFFFFFF)} {
		table := NewTable()
		before := table.Now()
		position := table.Raise(h)
		if position <= before || table.Now() != position {
			t.Errorf("position %d after %d, now %d", position, before, table.Now())
		}
		if table.Valid(h, before) {
			t.Errorf("hash %x: valid with the stamp of before", h)
		}
		if !table.Valid(h, position) {
			t.Errorf("hash %x: invalid for a load that began afterwards", h)
		}
		if other := h ^ 1; !table.Valid(other, before) {
			t.Errorf("hash %x was not raised", other)
		}
	}
}

func TestRaise_ofManyIsOnePosition(t *testing.T) {
	table := NewTable()
	hashes := []uint64{hashOf(1, 1), hashOf(2, 2), hashOf(1, 1), hashOf(1, 3)}
	position := table.Raise(hashes...)
	for _, h := range hashes {
		if table.Valid(h, position-1) || !table.Valid(h, position) {
			t.Errorf("hash %x", h)
		}
	}
	if p := table.Raise(); p != position+1 {
		t.Errorf("a Raise of nothing gives position %d", p)
	}
	table.Advance(func(p uint64) {
		if p != position+2 || table.Recorded() != position+1 {
			t.Errorf("Advance gives position %d, settled is %d", p, table.Recorded())
		}
	})
	if table.Recorded() != position+2 || table.Now() != position+2 {
		t.Errorf("settled is %d, now %d", table.Recorded(), table.Now())
	}
}

// An entry that is found valid again and again, and given the stamp that was settled before each
// look, is invalid for good once it was invalidated.
func TestTable_confirmedStampHidesNothing(t *testing.T) {
	table := NewTable()
	for round := range 2000 {
		hash := hashOf(uint16(round), uint32(round))
		var stamp atomic.Uint64
		stamp.Store(table.Now())
		var raised, stop atomic.Bool
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for !stop.Load() {
					after := raised.Load()
					settled := table.Recorded()
					if !table.Valid(hash, stamp.Load()) {
						continue
					}
					if after {
						t.Errorf("round %d: valid with stamp %d after it was invalidated", round, stamp.Load())
						return
					}
					stamp.Store(settled)
				}
			})
		}
		for i := range 20 {
			table.Raise(hash ^ uint64(i+1)<<40)
		}
		table.Raise(hash)
		raised.Store(true)
		for i := range 20 {
			table.Raise(hash ^ uint64(i+1)<<41)
		}
		stop.Store(true)
		wg.Wait()
	}
}

// A hash that is pushed out of its bucket stays invalid, at the price of its neighbours.
func TestTable_moreHashesThanWaysStayInvalid(t *testing.T) {
	table := NewTable()
	stamp := table.Now()
	var raised []uint64
	for fingerprint := range uint32(3 * ways) {
		h := hashOf(5, fingerprint)
		raised = append(raised, h)
		table.Raise(h)
		for _, h := range raised {
			if table.Valid(h, stamp) {
				t.Fatalf("after %d hashes: %x is valid", len(raised), h)
			}
		}
	}
	if !table.Valid(hashOf(6, 0), stamp) {
		t.Error("another bucket was touched")
	}
	// Only the oldest are pushed out: a stamp above them is not touched by the floor.
	if newest := table.Now(); !table.Valid(hashOf(5, 1000), newest-ways) {
		t.Error("the floor rose above what was pushed out")
	}
}

// model is the table as a map: exact.
type model map[uint64]uint64

func (m model) valid(hash, stamp uint64) bool { return m[hash] <= stamp }

func TestTable_servesNoEntryThatTheModelRefuses(t *testing.T) {
	for _, c := range []struct {
		name           string
		buckets, print uint32 // how many of each are in play
	}{
		{"one bucket, fewer prints than ways", 1, ways},
		{"one bucket, one print more than ways", 1, ways + 1},
		{"one bucket, many prints", 1, 100},
		{"few buckets", 4, 8},
		{"all buckets, equal prints", buckets, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(c.print)))
			table, exact := NewTable(), model{}
			pick := func() uint64 { return hashOf(uint16(rng.Uint32N(c.buckets)), rng.Uint32N(c.print)) }
			for range 20_000 {
				switch rng.IntN(4) {
				case 0:
					hashes := make([]uint64, rng.IntN(4))
					for i := range hashes {
						hashes[i] = pick()
					}
					p := table.Raise(hashes...)
					for _, h := range hashes {
						exact[h] = p
					}
				case 1:
					hashes, watched, begun := []uint64{pick()}, []uint64{pick()}, rng.Uint64N(table.Now()+1)
					clean := exact.valid(hashes[0], begun) && exact.valid(watched[0], begun)
					p, unchanged := table.RaiseAndCheck(begun, hashes, watched)
					if unchanged && !clean {
						t.Fatal("RaiseAndCheck missed an invalidation")
					}
					exact[hashes[0]] = p
				default:
					h, stamp := pick(), rng.Uint64N(table.Now()+1)
					if table.Valid(h, stamp) && !exact.valid(h, stamp) {
						t.Fatalf("hash %x with stamp %d is served, its position is %d", h, stamp, exact[h])
					}
					// The newest stamp is always good.
					if !table.Valid(h, table.Now()) {
						t.Fatalf("hash %x with the newest stamp is refused", h)
					}
				}
			}
		})
	}
}

func TestRaiseAndCheck_tellsWhetherOthersWereRaised(t *testing.T) {
	key, tag, other := hashOf(1, 1), hashOf(2, 2), hashOf(3, 3)
	for _, c := range []struct {
		name      string
		between   []uint64
		unchanged bool
	}{
		{"nothing between", nil, true},
		{"another key", []uint64{other}, true},
		{"the key", []uint64{key}, false},
		{"the tag", []uint64{tag}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewTable()
			table.Raise(key, tag) // known before the load began
			begun := table.Now()
			if c.between != nil {
				table.Raise(c.between...)
			}
			position, unchanged := table.RaiseAndCheck(begun, []uint64{key}, []uint64{tag})
			if unchanged != c.unchanged {
				t.Errorf("unchanged is %v", unchanged)
			}
			if table.Valid(key, begun) || !table.Valid(key, position) {
				t.Error("RaiseAndCheck did not raise the key")
			}
			if c.between == nil && !table.Valid(tag, begun) {
				t.Error("RaiseAndCheck raised what it only watches")
			}
		})
	}
}

// Of RaiseAndCheck and Raise of one hash, one comes first: either RaiseAndCheck sees the other, or
// the position of the other is higher.
func TestRaiseAndCheck_isOneStep(t *testing.T) {
	table := NewTable()
	h := hashOf(9, 9)
	for range 5_000 {
		begun := table.Now()
		var raised, concluded uint64
		var unchanged bool
		var wg sync.WaitGroup
		wg.Go(func() { raised = table.Raise(h) })
		wg.Go(func() { concluded, unchanged = table.RaiseAndCheck(begun, []uint64{h}, nil) })
		wg.Wait()
		if unchanged != (raised > concluded) {
			t.Fatalf("unchanged is %v, though the invalidation has position %d and the conclusion %d", unchanged, raised, concluded)
		}
		if unchanged && table.Valid(h, concluded) {
			t.Fatal("the later invalidation is not known")
		}
	}
}

// A reader that starts after Raise returned must see it, whatever other writers push out of the
// same bucket meanwhile.
func TestTable_readersMissNoRaise(t *testing.T) {
	const hashes, rounds = 3 * ways, 4_000
	table := NewTable()
	var known [hashes]atomic.Uint64 // the position of the last Raise that returned
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for range rounds {
				i := w + 2*rng.IntN(hashes/2) // each writer has its own hashes, so that known rises
				known[i].Store(table.Raise(hashOf(5, uint32(i))))
			}
		})
	}
	for r := range 2 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(r)))
			for !stop.Load() {
				i := rng.IntN(hashes)
				if p := known[i].Load(); p > 0 && table.Valid(hashOf(5, uint32(i)), p-1) {
					t.Errorf("hash %d is served with stamp %d after Raise returned %d", i, p-1, p)
					return
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}

func TestTable_falseInvalidationsAreRare(t *testing.T) {
	const entries, raised = 100_000, 1_000
	rng := rand.New(rand.NewPCG(4, 4))
	table := NewTable()
	stamp := table.Now()
	cached := make([]uint64, entries)
	for i := range cached {
		cached[i] = rng.Uint64()
	}
	rate := func() float64 {
		n := 0
		for _, h := range cached {
			if !table.Valid(h, stamp) {
				n++
			}
		}
		return float64(n) / entries
	}
	for _, c := range []struct {
		raised int
		bound  float64
	}{{raised, 0.0001}, {16 * raised, 0.02}, {64 * raised, 0.75}} {
		for table.Now() < uint64(c.raised) {
			table.Raise(rng.Uint64())
		}
		got := rate()
		t.Logf("%d invalidations of other keys: %.4f %% of %d older entries are refused", c.raised, 100*got, entries)
		if got > c.bound {
			t.Errorf("%d invalidations: the rate is %v, want %v at most", c.raised, got, c.bound)
		}
	}
}

func TestTable_bucketsAreCacheLines(t *testing.T) {
	const line = 64
	table := NewTable()
	if size := unsafe.Sizeof(bucket{}); size != line {
		t.Errorf("a bucket has %d bytes", size)
	}
	if at := uintptr(unsafe.Pointer(&table.buckets[0])) % line; at != 0 {
		t.Errorf("buckets begin %d bytes into a cache line", at)
	}
}

func TestValid_allocatesNothing(t *testing.T) {
	table := NewTable()
	table.Raise(1, 2, 3)
	if n := testing.AllocsPerRun(100, func() { table.Valid(2, 0); table.Valid(9, table.Now()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { table.Raise(2) }); n != 0 {
		t.Errorf("Raise: %v allocations", n)
	}
}

func BenchmarkValid(b *testing.B) {
	table := NewTable()
	hashes := make([]uint64, 1<<12)
	for i := range hashes {
		hashes[i] = rand.Uint64()
	}
	table.Raise(slices.Clone(hashes[:1<<11])...)
	stamp := table.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if !table.Valid(hashes[i&(1<<12-1)], stamp) {
				b.Fail()
			}
		}
	})
}

func BenchmarkRaise(b *testing.B) {
	table := NewTable()
	for i := 0; b.Loop(); i++ {
		table.Raise(uint64(i) * 0x9E3779B97F4A7C15)
	}
}
