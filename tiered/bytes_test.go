package tiered_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

const mebibyte = 1 << 20

var engines = []local.EngineKind{local.Ristretto, local.Otter}

// MaxBytes bounds the local copies, which are not compressed, however small the records are in the
// remote tier, and however the copies came to be kept.
func TestMaxBytes_boundsValuesThatCompressWell(t *testing.T) {
	t.Parallel()
	const bound, n = 8 * mebibyte, 100
	value := strings.Repeat("x", mebibyte)
	keys := numbered(n)
	for _, engine := range engines {
		for how, fill := range map[string]func(ctx context.Context, c, writer *tiered.Cache[string], key string) error{
			"Set": func(ctx context.Context, c, _ *tiered.Cache[string], key string) error { return c.Set(ctx, key, value) },
			"remote hit": func(ctx context.Context, c, writer *tiered.Cache[string], key string) error {
				if err := writer.Set(ctx, key, value); err != nil {
					return err
				}
				_, err := c.Get(ctx, key)
				return err
			},
			"load": func(ctx context.Context, c, _ *tiered.Cache[string], key string) error {
				_, err := c.GetOrSet(ctx, key, constant(value))
				return err
			},
		} {
			t.Run(engine.String()+"/"+how, func(t *testing.T) {
				t.Parallel()
				ns := namespace(t)
				client := coherent(t, shared.Client(t), tiered.Options{Namespace: ns, Local: local.Options{MaxBytes: bound, Engine: engine}})
				o := tiered.CacheOptions{Compression: tiered.Zstd}
				c := newCache[string](t, client, "c", o)
				writer := newCache[string](t, newClient(t, shared.Client(t), tiered.Options{Namespace: ns, Local: local.Options{MaxEntries: 1}}), "c", o)
				for _, key := range keys {
					check(t, fill(t.Context(), c, writer, key))
				}
				eventually(t, "local tier is within its bound, and not everything is in it", func() bool {
					s := client.Stats().Local
					return s.Bytes <= bound && s.Entries <= bound/mebibyte && s.Evicted+s.Rejected+s.Dropped >= n-bound/mebibyte
				})
			})
		}
	}
}

// The local tier asks Local.Cost about values as the cache's users know them, and believes it.
func TestCost_isAskedAboutTheUsersValues(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.String(), func(t *testing.T) {
			t.Parallel()
			const bound, cost = 8 * mebibyte, 3 * mebibyte
			var asked, strange atomic.Int64
			client := coherent(t, shared.Client(t), tiered.Options{Local: local.Options{MaxBytes: bound, Engine: engine, Cost: func(key string, value any) int64 {
				asked.Add(1)
				if u, ok := value.(user); !ok || u != ada || key == "" {
					strange.Add(1)
				}
				return cost
			}}})
			c := newCache[user](t, client, "c", tiered.CacheOptions{NegativeTTL: time.Hour})
			check(t, c.Set(t.Context(), "first", ada))
			eventually(t, "an entry counts what Cost says", func() bool { s := client.Stats().Local; return s.Entries == 1 && s.Bytes >= cost })
			for _, key := range numbered(20) {
				check(t, c.Set(t.Context(), key, ada))
			}
			_, err := c.GetOrSet(t.Context(), "absent", func(context.Context) (user, error) { return user{}, tiered.ErrNotFound })
			wantErr(t, err, tiered.ErrNotFound)
			eventually(t, "the local tier holds no more than fits by Cost", func() bool {
				s := client.Stats().Local
				return s.Bytes <= bound && s.Entries <= bound/cost+1 // and the absent one
			})
			if asked.Load() < 21 || strange.Load() != 0 {
				t.Errorf("Cost was asked %d times for 21 values, %d times about something else", asked.Load(), strange.Load())
			}
		})
	}
}
