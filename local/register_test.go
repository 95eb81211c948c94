package local

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// register is one key with one writer, whose versions rise. A reader takes the floor before it
// reads: what it finds must not be older. Every Delete raises the floor as well, past every version
// set before it.
type register struct {
	item
	floor   atomic.Int64
	version int64 // the writer's
}

// step is one write. The floor rises when the write has returned.
func (r *register) step(s *Scope, rnd *rand.Rand) {
	r.version++
	if rnd.IntN(4) == 0 {
		s.Delete(r.hash, r.key)
		r.floor.Store(r.version + 1) // a version never set
		r.version++
		return
	}
	e := r.entry(r.version)
	if rnd.IntN(8) == 0 {
		e.Expires = Monotonic() + 1 // for the expirer; the readers here do not check it
	}
	s.Set(r.hash, e)
	r.floor.Store(r.version)
}

// Writers, readers, evictions, the expirer and Clear are let loose on few keys in a tier that
// holds only some of them, and every read is checked against the state that was known before it
// began.
func TestLookup_neverGoesBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		for _, size := range []struct{ keys, max int64 }{{4, 100}, {64, 16}, {1_000, 100}} {
			s := newTier(t, Options{Engine: kind, MaxEntries: size.max}).NewScope()
			registers := make([]*register, size.keys)
			for i := range registers {
				registers[i] = &register{item: itemOf(i)}
			}
			const writers, readers, writes = 2, 3, 6_000
			var reading, writing sync.WaitGroup
			stop := make(chan struct{})
			for r := range readers {
				reading.Go(func() { checkReads(t, s, registers, rand.New(rand.NewPCG(1, uint64(r))), stop) })
			}
			for w := range writers {
				writing.Go(func() {
					rnd := rand.New(rand.NewPCG(2, uint64(w)))
					for i := range writes {
						mine := rnd.IntN(len(registers)/writers)*writers + w
						registers[mine].step(s, rnd)
						if i%2_000 == 1_999 {
							s.tier.Clear()
						}
					}
				})
			}
			writing.Wait()
			close(stop)
			reading.Wait()
		}
	})
}

func checkReads(t *testing.T, s *Scope, registers []*register, rnd *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		r := registers[rnd.IntN(len(registers))]
		floor := r.floor.Load()
		if v, ok := read(s, r.item); ok && v.(int64) < floor {
			t.Errorf("%s: read version %d, %d was written before", r.key, v, floor)
			return
		}
	}
}
