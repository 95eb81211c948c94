//go:build !race

// Under the race detector sync.Pool drops items, and with them the reads that ristretto should
// count.

package local

import "testing"

// The engine decides which entries to keep by the reads that it hears of: a key that is read four
// times as often as all others together stays. Of one whose reads it does not hear it knows the
// misses only, and evicts it some 30 times here.
func TestEngine_countsReadsOfTheReadCache(t *testing.T) {
	tier := newTier(t, Options{MaxEntries: 64})
	s, hot := tier.NewScope(), itemOf(0)
	const rounds, reads = 20_000, 4
	misses := 0
	for i := 1; i <= rounds; i++ {
		for range reads {
			if _, ok := read(s, hot); !ok {
				misses++
				s.Set(hot.hash, hot.entry(nil))
			}
		}
		it := itemOf(i)
		if _, ok := read(s, it); !ok {
			s.Set(it.hash, it.entry(nil))
		}
	}
	if misses > 10 {
		t.Errorf("%d misses of %d reads of the key that is read most", misses, reads*rounds)
	}
}
