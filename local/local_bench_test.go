package local

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// The benchmarks compare a whole local hit (hash the key, look it up, compare key and scope, read
// the clock for the expiry, count) with bare engines in the same run. Method: keys are made
// beforehand, every key is resident, values are pointers to a struct of six fields.
//
//	go test -run '^$' -bench BenchmarkHit -count 6 ./local/

type benchValue struct {
	ID, Age, Score int64
	Name, Mail     string
	Active         bool
}

const benchKeys = 100_000

func benchKeyNames() []string {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%012d", i)
	}
	return keys
}

// benchPicks are indexes into the keys, Zipf-distributed.
func benchPicks() []int32 {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, benchKeys-1)
	picks := make([]int32, 1<<18)
	for i := range picks {
		picks[i] = int32(zipf.Uint64())
	}
	return picks
}

type benchStore struct {
	name string
	get  func(key string) bool
	done func()
}

func benchEntry(key string, i int) *Entry {
	e := NewEntry(key, &benchValue{ID: int64(i)})
	e.Expires = Monotonic() + int64(time.Hour)
	return e
}

func tierStore(b *testing.B, kind EngineKind, keys []string) benchStore {
	t, err := New(Options{MaxEntries: 2 * benchKeys, Engine: kind})
	if err != nil {
		b.Fatal(err)
	}
	s := t.NewScope()
	for i, key := range keys {
		s.Set(keyhash.Sum(0, key), benchEntry(key, i))
	}
	t.wait()
	get := func(key string) bool {
		hash := keyhash.Sum(0, key)
		e := s.Lookup(hash, key)
		if e == nil {
			return false
		}
		if Monotonic() >= e.Expires {
			s.Stale(hash)
			return false
		}
		s.Hit(hash)
		return ValueOf[benchValue](e).ID >= 0
	}
	return benchStore{"doppio-" + kind.String(), get, func() { t.Close() }}
}

func bareRistretto[K ristretto.Key](b *testing.B, name string, ttl time.Duration, keys []string, keyOf func(string) K) benchStore {
	c, err := ristretto.NewCache(&ristretto.Config[K, *benchValue]{
		NumCounters: 20 * benchKeys, MaxCost: 2 * benchKeys, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	for i, key := range keys {
		for !c.SetWithTTL(keyOf(key), &benchValue{ID: int64(i)}, 1, ttl) {
			c.Wait()
		}
	}
	c.Wait()
	get := func(key string) bool {
		v, ok := c.Get(keyOf(key))
		return ok && v.ID >= 0
	}
	return benchStore{name, get, c.Close}
}

func bareOtter(keys []string) benchStore {
	c := otter.Must(&otter.Options[string, *benchValue]{MaximumSize: 2 * benchKeys})
	for i, key := range keys {
		c.Set(key, &benchValue{ID: int64(i)})
	}
	c.CleanUp()
	get := func(key string) bool {
		v, ok := c.GetIfPresent(key)
		return ok && v.ID >= 0
	}
	return benchStore{"otter-string", get, func() { c.StopAllGoroutines() }}
}

// benchStores makes one store at a time, so that none is measured with the others in the caches, or
// with a collection of their garbage under way.
func benchStores(b *testing.B, keys []string) iter.Seq[benchStore] {
	makers := []func() benchStore{
		func() benchStore { return tierStore(b, Ristretto, keys) },
		func() benchStore { return tierStore(b, Otter, keys) },
		func() benchStore {
			return bareRistretto(b, "ristretto-string-ttl", time.Hour, keys, func(key string) string { return key })
		},
		func() benchStore {
			return bareRistretto(b, "ristretto-uint64", 0, keys, func(key string) uint64 { return keyhash.Sum(0, key) })
		},
		func() benchStore { return bareOtter(keys) },
	}
	return func(yield func(benchStore) bool) {
		for _, newStore := range makers {
			s := newStore()
			runtime.GC()
			more := yield(s)
			s.done()
			if !more {
				return
			}
		}
	}
}

func BenchmarkHit(b *testing.B) {
	keys, picks := benchKeyNames(), benchPicks()
	for s := range benchStores(b, keys) {
		b.Run("hot512/"+s.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !s.get(keys[i&511]) {
					b.Fatal("a miss: the benchmark wants hits only")
				}
			}
		})
		b.Run("zipf100k-parallel/"+s.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(picks)); pb.Next(); i++ {
					if !s.get(keys[picks[i&(len(picks)-1)]]) {
						b.Error("a miss: the benchmark wants hits only")
						return
					}
				}
			})
		})
	}
}
