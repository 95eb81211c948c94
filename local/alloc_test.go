//go:build !race

// The race detector makes sync.Pool drop what it is given, and so ristretto allocate.

package local

import "testing"

func TestLookup_allocatesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		s, it := newTier(t, Options{Engine: kind}).NewScope(), itemOf(1)
		s.Set(it.hash, it.entry(1))
		check := func(what string) {
			t.Helper()
			if n := testing.AllocsPerRun(10_000, func() {
				if s.Lookup(it.hash, it.key) == nil {
					t.Fatal("a miss")
				}
				s.Hit(it.hash)
			}); n != 0 {
				t.Errorf("%s: %v allocations", what, n)
			}
		}
		s.tier.wait()
		check("a hit")
		miss := itemOf(2)
		if n := testing.AllocsPerRun(10_000, func() { s.Lookup(miss.hash, miss.key) }); n != 0 {
			t.Errorf("a miss: %v allocations", n)
		}
		c, err := NewCache[int](Options{Engine: kind})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Set("k", 1, NoExpiration)
		c.tier.wait()
		if n := testing.AllocsPerRun(10_000, func() { c.Get("k") }); n != 0 {
			t.Errorf("Cache.Get: %v allocations", n)
		}
	})
}
