package remote

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Each pair is one operation of Store beside the plain command that does its work, over the same
// client, one after the other: the ratio is what the remote tier costs. Compare within one run
// only.

func bench(b *testing.B, callers int, do func(ctx context.Context) error) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/2)) // times GOMAXPROCS
	ctx := context.Background()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func ignoreMiss(err error) error {
	if err == nil {
		return fmt.Errorf("a hit")
	}
	return nil
}

func benchPairs(b *testing.B, s *Store, rdb redis.UniversalClient) {
	b.Helper()
	raw := string(encode(b, "bench:raw", value(string(make([]byte, 200)))))
	r := value(string(make([]byte, 200)))
	must(b, s.Set(b.Context(), "bench:key", r, nil))
	keys := someKeys("bench:many", 100)
	writes := make([]Write, len(keys))
	for i, k := range keys {
		writes[i] = Write{Key: k, Record: r}
	}
	for _, err := range s.SetMany(b.Context(), writes) {
		must(b, err)
	}
	for _, callers := range []int{2, 32} {
		for _, c := range []struct {
			name          string
			store, client func(context.Context) error
		}{
			{
				"Get",
				func(ctx context.Context) error { _, err := s.Get(ctx, "bench:key"); return err },
				func(ctx context.Context) error { return rdb.Get(ctx, "bench:key").Err() },
			},
			{
				"GetMiss",
				func(ctx context.Context) error { _, err := s.Get(ctx, "bench:none"); return ignoreMiss(err) },
				func(ctx context.Context) error { return ignoreMiss(rdb.Get(ctx, "bench:none").Err()) },
			},
			{
				"Set",
				func(ctx context.Context) error { return s.Set(ctx, "bench:set", r, nil) },
				func(ctx context.Context) error { return rdb.Set(ctx, "bench:set", raw, 0).Err() },
			},
			{
				"SetAnnounced", // with a place in a lane; on a Cluster a second round trip
				func(ctx context.Context) error { return s.Set(ctx, "bench:set", r, news("m")) },
				func(ctx context.Context) error { return rdb.Set(ctx, "bench:set", raw, 0).Err() },
			},
			{
				"GetMany100",
				func(ctx context.Context) error { return s.GetMany(ctx, keys)[99].Err },
				func(ctx context.Context) error {
					if _, cluster := rdb.(*redis.ClusterClient); !cluster {
						return rdb.MGet(ctx, keys...).Err()
					}
					_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
						for _, k := range keys {
							p.Get(ctx, k)
						}
						return nil
					})
					return err
				},
			},
		} {
			b.Run(fmt.Sprintf("%s/%d/store", c.name, callers), func(b *testing.B) { bench(b, callers, c.store) })
			b.Run(fmt.Sprintf("%s/%d/raw", c.name, callers), func(b *testing.B) { bench(b, callers, c.client) })
		}
	}
}

func BenchmarkStandalone(b *testing.B) {
	rdb := shared.Client(b)
	benchPairs(b, newStore(b, rdb), rdb)
}

func BenchmarkCluster(b *testing.B) {
	rdb := sharedCluster.Client(b)
	benchPairs(b, newStore(b, rdb), rdb)
}

// What call adds to a round trip, without one.
func BenchmarkCall(b *testing.B) {
	s := newStore(b, shared.Client(b))
	for _, callers := range []int{2, 32} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			bench(b, callers, func(ctx context.Context) error {
				_, err := call(ctx, s, s.routes.single, "get", false, func(context.Context) (int, error) { return 1, nil })
				return err
			})
		})
	}
}

func BenchmarkParseRecord(b *testing.B) {
	data := encode(b, "bench:key", value(string(make([]byte, 200))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord("bench:key", data); err != nil {
			b.Fatal(err)
		}
	}
}
