package local

import (
	"math/rand/v2"
	"testing"
)

// One Zipf trace is replayed twice: at full speed, and with the engine given all the time it wants
// after every miss. Bare ristretto loses a third of its hits at full speed.
func TestHitRatio_isTheSameAtFullSpeed(t *testing.T) {
	const keys, requests, size, tolerance = 20_000, 100_000, 1_000, 0.03
	items := make([]item, keys)
	for i := range items {
		items[i] = itemOf(i)
	}
	replay := func(t *testing.T, kind EngineKind, paced bool) float64 {
		s := newTier(t, Options{Engine: kind, MaxEntries: size}).NewScope()
		zipf := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, keys-1)
		for range requests {
			it := items[zipf.Uint64()]
			if _, ok := read(s, it); ok {
				continue
			}
			s.Set(it.hash, it.entry(nil))
			if paced {
				s.tier.wait()
			}
		}
		if n := s.tier.Stats().Dropped; n != 0 {
			t.Errorf("%d Sets dropped", n)
		}
		hits, misses, _ := s.Stats()
		return float64(hits) / float64(hits+misses)
	}
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		full, paced := replay(t, kind, false), replay(t, kind, true)
		t.Logf("hit ratio at full speed %.3f, paced %.3f", full, paced)
		if full < paced-tolerance {
			t.Errorf("hit ratio at full speed %.3f, paced %.3f", full, paced)
		}
	})
}
