package tiered_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// The benchmarks of reads, each beside what a service would do without this library, in one run. Only ratios of one run
// mean anything:
//
//	go test -run '^$' -bench Hit -benchmem -count 6 ./tiered

type account struct {
	ID      int64   `json:"id"`
	Name    string  `json:"name"`
	Email   string  `json:"email"`
	Age     int32   `json:"age"`
	Active  bool    `json:"active"`
	Balance float64 `json:"balance"`
}

var anAccount = account{ID: 42, Name: "Ada Lovelace", Email: "ada@example.com", Age: 36, Active: true, Balance: 1234.56}

func benchCache(b *testing.B, engine local.EngineKind) *tiered.Cache[account] {
	b.Helper()
	srv := redistest.Start(b)
	client, err := tiered.New(srv.Client(b, func(o *redis.Options) { o.PoolSize = 64 }), tiered.Options{Local: local.Options{MaxEntries: 200_000, Engine: engine}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close(context.Background()) })
	if err := client.Ready(context.Background()); err != nil {
		b.Fatal(err)
	}
	cache, err := tiered.NewCache[account](client, "accounts", tiered.CacheOptions{TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	return cache
}

func loadAccount(context.Context) (account, error) { return anAccount, nil }

func loadAccounts(_ context.Context, keys []string) (map[string]account, error) {
	found := make(map[string]account, len(keys))
	for _, k := range keys {
		found[k] = anAccount
	}
	return found, nil
}

func keysOf(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("account:%09d", i)
	}
	return keys
}

// pattern runs op over keys: hot and serial, or Zipf on all cores.
func patterns(b *testing.B, name string, keys []string, op func(key string)) {
	b.Helper()
	b.Run("hot/"+name, func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			op(keys[i&511])
			i++
		}
	})
	b.Run("zipf/"+name, func(b *testing.B) {
		b.ReportAllocs()
		var seed atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			z := rand.NewZipf(rand.New(rand.NewSource(seed.Add(1))), 1.01, 1, uint64(len(keys)-1))
			picks := make([]uint32, 1<<16)
			for i := range picks {
				picks[i] = uint32(z.Uint64())
			}
			for i := 0; pb.Next(); i++ {
				op(keys[picks[i&(1<<16-1)]])
			}
		})
	})
}

func BenchmarkLocalHit(b *testing.B) {
	ctx := context.Background()
	keys := keysOf(100_000)
	bare, err := ristretto.NewCache(&ristretto.Config[string, account]{NumCounters: 2_000_000, MaxCost: 200_000, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bare.Close)
	for _, k := range keys {
		for !bare.SetWithTTL(k, anAccount, 1, time.Hour) {
			bare.Wait()
		}
	}
	bare.Wait()
	sink := func(a account, ok bool) {
		if ok && a.ID != 42 {
			b.Fatal("wrong value")
		}
	}
	patterns(b, "ristretto", keys, func(k string) { sink(bare.Get(k)) })
	for _, engine := range []local.EngineKind{local.Ristretto, local.Otter} {
		cache := benchCache(b, engine)
		for some := range slices.Chunk(keys, 1000) {
			if _, err := cache.GetOrSetMany(ctx, some, loadAccounts); err != nil {
				b.Fatal(err)
			}
		}
		patterns(b, "Get-"+engine.String(), keys, func(k string) {
			a, err := cache.Get(ctx, k)
			sink(a, err == nil)
		})
		patterns(b, "GetOrSet-"+engine.String(), keys, func(k string) {
			a, err := cache.GetOrSet(ctx, k, loadAccount, tiered.TTL(time.Hour), tiered.LocalTTL(time.Minute), tiered.Tags("org:7"))
			sink(a, err == nil)
		})
	}
}

func BenchmarkRemoteHit(b *testing.B) {
	ctx := context.Background()
	srv := redistest.Start(b)
	raw := srv.Client(b, func(o *redis.Options) { o.PoolSize = 64 })
	payload, err := json.Marshal(anAccount)
	if err != nil {
		b.Fatal(err)
	}
	if err := raw.Set(ctx, "raw", payload, 0).Err(); err != nil {
		b.Fatal(err)
	}
	cache := coldCache(b, srv)
	if err := cache.Set(ctx, "1", anAccount); err != nil {
		b.Fatal(err)
	}
	typed := json.Unmarshal
	for _, callers := range []int{2, 32} {
		parallel := func(name string, op func() error) {
			b.Run(fmt.Sprintf("%d/%s", callers, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := op(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
		parallel("raw-GET-encoding-json", func() error {
			data, err := raw.Get(ctx, "raw").Bytes()
			if err != nil {
				return err
			}
			var a account
			return typed(data, &a)
		})
		parallel("raw-GET", func() error { return raw.Get(ctx, "raw").Err() })
		parallel("doppio", func() error {
			_, err := cache.Get(ctx, "1")
			return err
		})
	}
}

// coldCache keeps nothing local: it bypasses the local tier by never being coherent.
func coldCache(b *testing.B, srv *redistest.Server) *tiered.Cache[account] {
	b.Helper()
	client, err := tiered.New(srv.Client(b, func(o *redis.Options) { o.PoolSize = 64 }), tiered.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close(context.Background()) })
	cache, err := tiered.NewCache[account](client, "cold", tiered.CacheOptions{TTL: time.Hour, LocalTTL: time.Nanosecond})
	if err != nil {
		b.Fatal(err)
	}
	return cache
}

func BenchmarkGetMany100(b *testing.B) {
	ctx := context.Background()
	srv := redistest.Start(b)
	raw := srv.Client(b, func(o *redis.Options) { o.PoolSize = 64 })
	cache := coldCache(b, srv)
	keys := keysOf(100)
	payload, err := json.Marshal(anAccount)
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range keys {
		if err := raw.Set(ctx, k, payload, 0).Err(); err != nil {
			b.Fatal(err)
		}
		if err := cache.Set(ctx, k, anAccount); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("raw-MGET", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := raw.MGet(ctx, keys...).Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw-MGET-encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			values, err := raw.MGet(ctx, keys...).Result()
			if err != nil {
				b.Fatal(err)
			}
			out := make(map[string]account, len(keys))
			for i, v := range values {
				var a account
				if err := json.Unmarshal([]byte(v.(string)), &a); err != nil {
					b.Fatal(err)
				}
				out[keys[i]] = a
			}
		}
	})
	b.Run("doppio", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := cache.GetMany(ctx, keys)
			if err != nil || len(got) != 100 {
				b.Fatal(len(got), err)
			}
		}
	})
}
