package local

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// Every method runs in many goroutines while the tier is closed from several.
func TestClose_besideEveryMethod(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for round := range 20 {
			tier := newTier(t, Options{Engine: kind, MaxEntries: 200})
			scopes := []*Scope{tier.NewScope(), tier.NewScope()}
			start := make(chan struct{})
			var all sync.WaitGroup
			run := func(f func(rnd *rand.Rand)) {
				rnd := rand.New(rand.NewPCG(uint64(round), rand.Uint64()))
				all.Go(func() {
					<-start
					for range 400 {
						f(rnd)
					}
				})
			}
			pick := func(rnd *rand.Rand) (*Scope, item) { return scopes[rnd.IntN(2)], itemOf(rnd.IntN(500)) }
			for range 2 {
				run(func(rnd *rand.Rand) { s, it := pick(rnd); read(s, it) })
				run(func(rnd *rand.Rand) {
					s, it := pick(rnd)
					e := it.entry(1)
					e.Expires = Monotonic() + rnd.Int64N(1e6)
					s.Set(it.hash, e)
				})
				run(func(rnd *rand.Rand) { s, it := pick(rnd); s.Delete(it.hash, it.key) })
				all.Go(func() {
					<-start
					for range 5 {
						tier.Clear()
						tier.wait()
						tier.Len()
						tier.Stats()
						tier.NewScope()
					}
				})
				all.Go(func() {
					<-start
					for range round * 10 {
						read(scopes[0], itemOf(1))
					}
					tier.Close()
					if e := scopes[0].Lookup(itemOf(1).hash, itemOf(1).key); e != nil {
						t.Error("a Lookup after Close found an entry")
						scopes[0].Hit(itemOf(1).hash)
					}
				})
			}
			close(start)
			all.Wait()
			closeChecked(t, tier)
		}
	})
}

func TestClose_leavesATierThatDoesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind})
		s, it := tier.NewScope(), itemOf(1)
		s.Set(it.hash, it.entry(1))
		tier.Close()
		if _, ok := read(s, it); ok {
			t.Error("a closed tier is read")
		}
		if s.Set(it.hash, it.entry(2)) {
			t.Error("a closed tier accepts a Set")
		}
		s.Delete(it.hash, it.key)
		tier.Clear()
		tier.wait()
		if n := tier.Len(); n != 0 {
			t.Errorf("Len is %d", n)
		}
		if _, misses, _ := s.Stats(); misses != 1 {
			t.Errorf("%d misses", misses)
		}
	})
}

// Close returns only when a Lookup that is under way has been concluded.
func TestClose_waitsForLookups(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind})
		s, it := tier.NewScope(), itemOf(1)
		s.Set(it.hash, it.entry(1))
		if s.Lookup(it.hash, it.key) == nil {
			t.Fatal("a miss")
		}
		closed := make(chan struct{})
		go func() {
			tier.Close()
			close(closed)
		}()
		eventually(t, "Close to begin", tier.closed.Load)
		select {
		case <-closed:
			t.Error("Close did not wait for the Lookup")
		default:
		}
		s.Hit(it.hash)
		<-closed
	})
}
