package tiered_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// laned gives the same cache on n instances that share a server, a namespace and a number of lanes.
func laned(t *testing.T, server *redistest.Server, n, lanes int) ([]*tiered.Client, []*tiered.Cache[int64]) {
	t.Helper()
	o := tiered.Options{Namespace: namespace(t), Lanes: lanes, RetryBackoff: 20 * time.Millisecond}
	clients, caches := make([]*tiered.Client, n), make([]*tiered.Cache[int64], n)
	for i := range n {
		clients[i] = coherent(t, server.Client(t), o)
		caches[i] = newCache[int64](t, clients[i], "c", tiered.CacheOptions{})
	}
	return clients, caches
}

// wantEverywhere requires that all instances come to read want, 0 for nothing, under all keys.
func wantEverywhere(t *testing.T, caches []*tiered.Cache[int64], keys []string, want int64) {
	t.Helper()
	for i, c := range caches {
		for _, k := range keys {
			eventually(t, fmt.Sprintf("instance %d reads %d under %s", i, want, k), func() bool {
				got, err := c.Get(t.Context(), k)
				return got == want && (err == nil) == (want != 0) && (err == nil || errors.Is(err, tiered.ErrNotFound))
			})
		}
	}
}

// Every operation works when keys are spread over several lanes.
func TestLanes_everyOperationWorksOverSeveral(t *testing.T) {
	t.Parallel()
	const lanes = 4
	clients, caches := laned(t, shared, 3, lanes)
	a, b, ctx := caches[0], caches[1], t.Context()
	keys := numbered(24)
	items := make([]tiered.Item[int64], len(keys))
	for i, k := range keys {
		items[i] = tiered.Item[int64]{Key: k, Value: 1, Tags: []string{"all", "mod" + fmt.Sprint(i%3)}}
	}
	n, err := a.SetMany(ctx, items)
	if err != nil || n != len(items) {
		t.Fatalf("SetMany = %d, %v", n, err)
	}
	wantEverywhere(t, caches, keys, 1)
	for i, client := range clients {
		for _, l := range client.Stats().Lanes {
			if l.State != tiered.StateLive || l.Newest == "0-0" {
				t.Errorf("instance %d: lane %+v, want all to be live and in use", i, l)
			}
		}
	}
	for _, k := range keys[:8] {
		check(t, b.Set(ctx, k, 2, tiered.Tags("all")))
	}
	wantEverywhere(t, caches, keys[:8], 2)
	if n, err := a.DeleteMany(ctx, keys[8:16]); err != nil || n != 8 {
		t.Errorf("DeleteMany = %d, %v", n, err)
	}
	wantEverywhere(t, caches, keys[8:16], 0)
	found, err := b.ExistsMany(ctx, keys)
	check(t, err)
	for i, k := range keys {
		if found[k] != (i < 8 || i >= 16) {
			t.Errorf("ExistsMany: %s is %t", k, found[k])
		}
	}
	for _, k := range keys[8:10] {
		if sum, err := a.Increment(ctx, k, 7); err != nil || sum != 7 {
			t.Errorf("Increment = %d, %v", sum, err)
		}
	}
	wantEverywhere(t, caches, keys[8:10], 7)
	check(t, a.InvalidateTags(ctx, "all"))
	wantEverywhere(t, caches, keys[:8], 0)
	wantEverywhere(t, caches, keys[16:], 0)
	wantEverywhere(t, caches, keys[8:10], 7)
	if _, err := b.Clear(ctx, ""); err != nil {
		t.Error(err)
	}
	wantEverywhere(t, caches, keys, 0)
	check(t, a.Set(ctx, "0", 9))
	wantEverywhere(t, caches, []string{"0"}, 9)
}

// A tag is in a lane of its own, which need not be that of the entry.
func TestInvalidateTags_reachesEntriesThatLoadInAnotherLane(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		clients, caches := laned(t, shared, 2, lanes)
		late := newClient(t, shared.Client(t), tiered.Options{Namespace: tiered.NamespaceOf(caches[0]), Lanes: lanes})
		for _, tag := range numbered(6) {
			key := "k" + tag
			b := newBlocked(t, int64(1))
			call := async(func() (int64, error) { return caches[0].GetOrSet(t.Context(), key, b.load, tiered.Tags(tag)) })
			await(t, "the load runs", b.running)
			heard := clients[0].Stats().Invalidations
			check(t, caches[1].InvalidateTags(t.Context(), tag))
			eventually(t, "the loading instance hears of it", func() bool { return clients[0].Stats().Invalidations > heard })
			b.letGo()
			receive(t, "the caller", call)
			for _, c := range append(caches, newCache[int64](t, late, "c", tiered.CacheOptions{})) {
				wantMissing(t, c, key)
			}
		}
	}
}

// Redis loses everything, or the lane: all instances notice, no entry from before is served, and
// things go on.
func TestLoss_invalidatesBothTiers(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, server *redistest.Server, stream string) error{
		"FLUSHALL": func(t *testing.T, server *redistest.Server, _ string) error {
			return server.Client(t).FlushAll(t.Context()).Err()
		},
		"DEL of the lane": func(t *testing.T, server *redistest.Server, stream string) error {
			return server.Client(t).Del(t.Context(), stream).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			clients, caches := laned(t, server, 2, 1)
			keys := numbered(3)
			for _, k := range keys {
				check(t, caches[0].Set(t.Context(), k, 1))
			}
			wantEverywhere(t, caches, keys, 1)
			stream := lane.Of(tiered.NamespaceOf(caches[0]), 0).Stream
			check(t, lose(t, server, stream))
			began := time.Now()
			for i, client := range clients {
				eventually(t, "the loss is noticed", func() bool { return client.Stats().Drops["history-lost"] > 0 })
				if took := time.Since(began); took > tiered.DefaultMaxStaleness+20*time.Second {
					t.Errorf("instance %d noticed after %v", i, took)
				}
			}
			t.Logf("both have noticed after %v", time.Since(began))
			wantEverywhere(t, caches, keys, 0)
			eventually(t, "nothing is pending", func() bool { return clients[0].Stats().Pending+clients[1].Stats().Pending == 0 })
			// The new history begins with its floor, and nobody raises it again.
			entries, err := server.Client(t).XRangeN(t.Context(), stream, "-", "+", 1).Result()
			check(t, err)
			floors, err := server.Client(t).HGetAll(t.Context(), lane.Of(tiered.NamespaceOf(caches[0]), 0).Floors).Result()
			if check(t, err); floors["*"] != entries[0].ID {
				t.Errorf("floors %v, and the lane begins at %s", floors, entries[0].ID)
			}
			for i, c := range caches {
				check(t, c.Set(t.Context(), keys[i], 2))
				wantEverywhere(t, caches, keys[i:i+1], 2)
			}
			for i, client := range clients {
				ready(t, client)
				if d := client.Stats().Drops["history-lost"]; d != 1 {
					t.Errorf("instance %d has lost history %d times", i, d)
				}
			}
		})
	}
}
