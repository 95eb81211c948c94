package local

import (
	"testing"
)

func TestSet_isReadAtOnceAndStays(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		s := newTier(t, Options{Engine: kind}).NewScope()
		for round := range 2 {
			for i := range 2_000 {
				it := itemOf(i)
				if !s.Set(it.hash, it.entry(round)) {
					t.Fatalf("Set(%s) refused", it.key)
				}
				if v, ok := read(s, it); !ok || v != round {
					t.Fatalf("read %v, %v after Set(%s, %d)", v, ok, it.key, round)
				}
			}
			s.tier.wait()
			for i := range 2_000 {
				if v, ok := read(s, itemOf(i)); !ok || v != round {
					t.Fatalf("read %v, %v once %d was applied to %s", v, ok, round, itemOf(i).key)
				}
			}
		}
		if got := s.tier.Len(); got != 2_000 {
			t.Errorf("Len is %d", got)
		}
	})
}

func TestScope_meetsNoOther(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind})
		a, b := tier.NewScope(), tier.NewScope()
		it := itemOf(1)
		a.Set(it.hash, it.entry("a"))
		if _, ok := read(b, it); ok {
			t.Error("b reads the entry of a")
		}
		b.Delete(it.hash, it.key)
		b.Set(it.hash, it.entry("b"))
		for range 2 {
			if v, _ := read(a, it); v != "a" {
				t.Errorf("a reads %v", v)
			}
			if v, _ := read(b, it); v != "b" {
				t.Errorf("b reads %v", v)
			}
			tier.wait()
		}
	})
}

func TestLookup_ofACollisionIsAMiss(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for _, applied := range []bool{false, true} {
			s := newTier(t, Options{Engine: kind}).NewScope()
			settle := func() {
				if applied {
					s.tier.wait()
				}
			}
			one, two := item{"one", 42}, item{"two", 42}
			s.Set(42, one.entry(1))
			settle()
			if _, ok := read(s, two); ok {
				t.Error("two reads the value of one")
			}
			s.Delete(42, "two")
			settle()
			if v, _ := read(s, one); v != 1 {
				t.Errorf("Delete of two: one is %v", v)
			}
			s.Set(42, two.entry(2))
			settle()
			if _, ok := read(s, one); ok {
				t.Error("one is read after two took its slot")
			}
			if v, _ := read(s, two); v != 2 {
				t.Errorf("two is %v", v)
			}
			s.Delete(42, "two")
			settle()
			for _, it := range []item{one, two} {
				if v, ok := read(s, it); ok {
					t.Errorf("%s is %v after the Delete", it.key, v)
				}
			}
		}
	})
}

func TestClear_removesEveryEntry(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind})
		s := tier.NewScope()
		for round := range 3 {
			for i := range 5_000 {
				s.Set(itemOf(i).hash, itemOf(i).entry(round))
			}
			if round == 1 {
				tier.wait()
			}
			tier.Clear()
			for i := range 5_000 {
				if v, ok := read(s, itemOf(i)); ok {
					t.Fatalf("%s is %v after Clear", itemOf(i).key, v)
				}
			}
			if n := tier.Len(); n != 0 {
				t.Fatalf("Len is %d after Clear", n)
			}
		}
		if got := tier.Stats().Evicted; got != 0 {
			t.Errorf("Clear counted %d evictions", got)
		}
	})
}

func TestSet_refusesTooLargeAndEndsTheOlder(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for _, applied := range []bool{false, true} {
			tier := newTier(t, Options{Engine: kind, MaxBytes: MinMaxBytes})
			s, it := tier.NewScope(), itemOf(1)
			s.Set(it.hash, it.entry("small"))
			if applied {
				tier.wait()
			}
			big := it.entry("big")
			big.Cost = 2 * MinMaxBytes
			if s.Set(it.hash, big) {
				t.Error("an entry larger than the tier was accepted")
			}
			if v, ok := read(s, it); ok {
				t.Errorf("read %v: older than the Set that was refused", v)
			}
			if got := tier.Stats().Rejected; got != 1 {
				t.Errorf("Rejected is %d", got)
			}
		}
	})
}

func TestScope_countsItsHitsAndMisses(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		s, it := newTier(t, Options{Engine: kind}).NewScope(), itemOf(1)
		read(s, it)
		s.Set(it.hash, it.entry(1))
		for range 3 {
			read(s, it)
		}
		for range 2 {
			s.Lookup(it.hash, it.key)
			s.Stale(it.hash)
		}
		if hits, misses, stale := s.Stats(); hits != 3 || misses != 1 || stale != 2 {
			t.Errorf("Stats() = %d, %d, %d; want 3, 1, 2", hits, misses, stale)
		}
	})
}
