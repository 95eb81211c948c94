package local

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestMaxBytes_isReturnedToInLen(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for _, limit := range []int64{1, 10, 1_000} {
			tier := newTier(t, Options{Engine: kind, MaxEntries: limit})
			s := tier.NewScope()
			var writers sync.WaitGroup
			for w := range 3 {
				writers.Go(func() {
					for i := range 5_000 {
						it := itemOf(w*5_000 + i)
						s.Set(it.hash, it.entry(i))
					}
				})
			}
			writers.Wait()
			// Nothing else is written or read: an idle tier comes back by itself.
			eventually(t, "the tier to be within its bound", func() bool { return int64(tier.Len()) <= limit })
			eventually(t, "the engine to be within its bound", func() bool { return int64(len(storedEntries(tier))) <= limit })
		}
	})
}

// Bare ristretto evicts for new keys only, so that updates in place may exceed its bound for as
// long as no new key comes.
func TestMaxBytes_boundsUpdatesThatGrow(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind, MaxBytes: MinMaxBytes})
		s := tier.NewScope()
		for size := 16; size <= 64<<10; size *= 4 {
			for i := range 200 {
				it := itemOf(i)
				s.Set(it.hash, it.entry(strings.Repeat("x", size)))
			}
			eventually(t, "the tier to be within its bound", func() bool {
				return tier.Stats().Bytes <= tier.engine.capacity()
			})
		}
		if tier.Len() == 0 {
			t.Error("nothing is left")
		}
	})
}

// Writers wait for the applier, so that the writes that are not applied stay within a part of the
// bound, give or take one write each.
func TestSet_waitsWhenTooMuchIsBuffered(t *testing.T) {
	const limit, writers = 3_200, 4
	tier := newTier(t, Options{MaxEntries: limit})
	s, r := tier.NewScope(), tier.engine.(*ristrettoEngine)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range 5_000 {
				it := itemOf(w*5_000 + i)
				s.Set(it.hash, it.entry(i))
				if n := r.buffer.count.Load(); n > limit/bufferFraction+writers {
					t.Errorf("%d writes are buffered", n)
					return
				}
			}
		})
	}
	all.Wait()
	if st := tier.Stats(); st.Dropped != 0 || st.Sets != writers*5_000 {
		t.Errorf("%d of %d Sets dropped", st.Dropped, st.Sets)
	}
}

// A writer waits for the engine, or evicts, so that the bound is exceeded by the stated part and
// one entry for each writer at most, at every moment.
func TestMaxBytes_isNotOutrunByWriters(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for _, tc := range []struct {
			name          string
			opts          Options
			size, entries int
		}{
			{"a few entries", Options{MaxEntries: 10}, 1, 5_000},
			{"entries", Options{MaxEntries: 5_000}, 1, 15_000},
			{"small values", Options{MaxBytes: 4 << 20}, 1 << 10, 8_000},
			{"large values", Options{MaxBytes: 4 << 20}, 256 << 10, 1_000},
		} {
			for _, writers := range []int{1, 8} {
				t.Run(fmt.Sprintf("%s/%d writers", tc.name, writers), func(t *testing.T) {
					tc.opts.Engine = kind
					tier := newTier(t, tc.opts)
					s := tier.NewScope()
					value := make([]byte, tc.size)
					limit := tier.engine.capacity()
					allowed := limit + limit/bufferFraction
					if tc.opts.MaxEntries > 0 {
						allowed = max(allowed, limit+minBufferedCharge)
					}
					one := tier.charge(itemOf(0).entry(value))
					allowed += int64(writers) * one
					var most atomic.Int64
					var all sync.WaitGroup
					for w := range writers {
						all.Go(func() {
							for i := range tc.entries / writers {
								it := itemOf(w*tc.entries + i)
								s.Set(it.hash, it.entry(value))
								held := tier.accounts.charge.Load()
								for m := most.Load(); held > m && !most.CompareAndSwap(m, held); m = most.Load() {
								}
							}
						})
					}
					all.Wait()
					if most.Load() > allowed {
						t.Errorf("%d held where the bound is %d, want at most %d", most.Load(), limit, allowed)
					}
					if tier.Len() == 0 {
						t.Error("nothing is left")
					}
				})
			}
		}
	})
}
