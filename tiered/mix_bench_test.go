package tiered_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
)

// mixCallers is how many ask at the same time, on however many processors.
const mixCallers = 16

// BenchmarkMix reads and writes 100,000 local entries: 95 % get-or-load, 5 % set, Zipf, 16 callers. By hand is ristretto and go-redis
// put together, which tell no other instance anything. Operations, not nanoseconds, are what to look at:
//
//	go test -run '^$' -bench Mix -count 6 ./tiered
func BenchmarkMix(b *testing.B) {
	ctx := context.Background()
	keys := keysOf(100_000)
	cache := benchCache(b, local.Ristretto)
	for some := range slices.Chunk(keys, 1000) {
		if _, err := cache.GetOrSetMany(ctx, some, loadAccounts); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("doppio", func(b *testing.B) {
		mix(b, keys,
			func(key string) error { _, err := cache.GetOrSet(ctx, key, loadAccount); return err },
			func(key string) error { return cache.Set(ctx, key, anAccount) })
	})

	bare, err := ristretto.NewCache(&ristretto.Config[string, account]{NumCounters: 2_000_000, MaxCost: 200_000, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bare.Close)
	rdb := redistest.Start(b).Client(b, func(o *redis.Options) { o.PoolSize = 64 })
	set := func(key string) error {
		data, err := json.Marshal(anAccount)
		if err == nil {
			err = rdb.Set(ctx, key, data, time.Hour).Err()
		}
		bare.SetWithTTL(key, anAccount, 1, time.Hour)
		return err
	}
	for _, key := range keys {
		for !bare.SetWithTTL(key, anAccount, 1, time.Hour) {
			bare.Wait()
		}
	}
	bare.Wait()
	b.Run("by-hand", func(b *testing.B) {
		mix(b, keys, func(key string) error {
			if _, ok := bare.Get(key); ok {
				return nil
			}
			return set(key)
		}, set)
	})
}

func mix(b *testing.B, keys []string, get, set func(key string) error) {
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(max(1, mixCallers/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		z := rand.NewZipf(r, 1.01, 1, uint64(len(keys)-1))
		picks := make([]uint32, 1<<14)
		for i := range picks {
			picks[i] = uint32(z.Uint64())
		}
		for i := r.IntN(len(picks)); pb.Next(); i++ {
			op, key := get, keys[picks[i%len(picks)]]
			if i%20 == 0 {
				op = set
			}
			if err := op(key); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
