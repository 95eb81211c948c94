package local

import (
	"testing"

	"github.com/dgraph-io/ristretto/v2"
)

const orderKeys = 20_000

// This fails on bare ristretto for every key: see the next test.
func TestSet_newerOfTwoWins(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		s := newTier(t, Options{Engine: kind}).NewScope()
		for i := range orderKeys {
			it := itemOf(i)
			s.Set(it.hash, it.entry("old"))
			s.Set(it.hash, it.entry("new"))
			if v, ok := read(s, it); !ok || v != "new" {
				t.Fatalf("%s is %v, %v at once", it.key, v, ok)
			}
		}
		s.tier.wait()
		for i := range orderKeys {
			if v, ok := read(s, itemOf(i)); !ok || v != "new" {
				t.Fatalf("%s is %v, %v when applied", itemOf(i).key, v, ok)
			}
		}
	})
}

// This is the reason for writebuffer.go. If it fails, ristretto has changed, and the engine may be
// made simpler.
func TestRistretto_bareKeepsTheOlderOfTwoSets(t *testing.T) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, string]{
		NumCounters: 10 * orderKeys, MaxCost: 2 * orderKeys, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	older := 0
	for i := range orderKeys {
		hash := itemOf(i).hash
		c.Set(hash, "old", 1)
		c.Set(hash, "new", 1)
		c.Wait()
		if v, _ := c.Get(hash); v == "old" {
			older++
		}
	}
	t.Logf("bare ristretto keeps the older value of %d of %d keys", older, orderKeys)
	if older == 0 {
		t.Error("bare ristretto keeps the newer of two Sets")
	}
}

func TestDelete_isNeverReadAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		s := newTier(t, Options{Engine: kind}).NewScope()
		steps := []struct {
			name         string
			before, then bool // whether the writes are applied before the Delete, and before the last Set
		}{{"buffered", false, false}, {"applied", true, false}, {"apart", true, true}}
		for _, step := range steps {
			for i := range 2_000 {
				it := itemOf(i)
				s.Set(it.hash, it.entry("old"))
				if step.before {
					s.tier.wait()
				}
				s.Delete(it.hash, it.key)
				if v, ok := read(s, it); ok {
					t.Fatalf("%s: %s is %v after Delete", step.name, it.key, v)
				}
				if step.then {
					s.tier.wait()
				}
				s.Set(it.hash, it.entry("new"))
				if v, _ := read(s, it); v != "new" {
					t.Fatalf("%s: %s is %v after Delete and Set", step.name, it.key, v)
				}
			}
			s.tier.wait()
			for i := range 2_000 {
				it := itemOf(i)
				if v, ok := read(s, it); !ok || v != "new" {
					t.Fatalf("%s: %s is %v, %v when applied", step.name, it.key, v, ok)
				}
				s.Delete(it.hash, it.key)
			}
			s.tier.wait()
			if n := s.tier.Len(); n != 0 {
				t.Fatalf("%s: Len is %d after all were deleted", step.name, n)
			}
		}
	})
}
