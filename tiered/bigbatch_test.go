package tiered_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// A batch has a few goroutines, however many of its keys are cold, also while other instances wait for their loads; and
// they are told of the end by a few messages.
func TestGetOrSetMany_takesFewGoroutines(t *testing.T) {
	const n, few = 2_000, 100
	commands, clients, caches := counted(t, 2, tiered.CacheOptions{})
	keys := numbered(n)
	b := newBlocked(t, map[string]string{})
	for _, k := range keys {
		b.value[k] = "v"
	}
	load := func(ctx context.Context, _ []string) (map[string]string, error) { return b.load(ctx) }
	before := runtime.NumGoroutine()
	first := async(func() (map[string]string, error) { return caches[0].GetOrSetMany(t.Context(), keys, load) })
	await(t, "the load runs", b.running)
	second := async(func() (map[string]string, error) {
		return caches[1].GetOrSetMany(t.Context(), keys, forbiddenMany[string](t))
	})
	third := async(func() (map[string]string, error) { // joins all flights of the first
		return caches[0].GetOrSetMany(t.Context(), keys, forbiddenMany[string](t))
	})
	eventually(t, "the other instance waits for all of them", func() bool { return clients[1].Waiting() == n && clients[1].Stats().LeasesBusy == n })
	eventually(t, "the third has joined", func() bool { return clients[0].Stats().Joined == n })
	if more := runtime.NumGoroutine() - before; more > few {
		t.Errorf("%d goroutines more for %d keys, want at most %d", more, n, few)
	}
	b.letGo()
	for _, call := range []<-chan result[map[string]string]{first, second, third} {
		r := receive(t, "a batch", call)
		if check(t, r.err); len(r.v) != n {
			t.Errorf("%d of %d values", len(r.v), n)
		}
	}
	if s := clients[0].Stats(); s.Fills != n || s.Loads != 1 {
		t.Errorf("%d fills by %d loads", s.Fills, s.Loads)
	}
	t.Logf("%d commands", commands.n.Load())
	wantNobodyWaiting(t, clients...)
}

// Refreshes that fall due in one call are one load in the background, and keys that are being refreshed are in no other.
func TestRefreshAhead_loadsTheKeysOfABatchTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, rarely)
		c := newCache[string](t, client, "c", tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 10 * time.Second})
		var calls atomic.Int64
		var mu sync.Mutex
		asked := make(map[string]int)
		load := func(_ context.Context, keys []string) (map[string]string, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			out := make(map[string]string, len(keys))
			for _, k := range keys {
				asked[k]++
				out[k] = "v"
			}
			return out, nil
		}
		keys := numbered(n)
		_, err := c.GetOrSetMany(t.Context(), keys, load)
		check(t, err)
		time.Sleep(58 * time.Second) // all of them are due
		calls.Store(0)
		clear(asked)
		for _, part := range [][]string{keys[:n/2], keys, keys} { // the second call has the rest, the third nothing
			began := time.Now()
			m, err := c.GetOrSetMany(t.Context(), part, load)
			if check(t, err); len(m) != len(part) || time.Since(began) > 0 {
				t.Errorf("%d of %d values after %v", len(m), len(part), time.Since(began))
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if calls.Load() != 2 || client.Stats().Refreshes != n {
			t.Errorf("%d loads for %d refreshes, want 2 for %d", calls.Load(), client.Stats().Refreshes, n)
		}
		for _, k := range keys {
			if asked[k] != 1 {
				t.Fatalf("key %s was refreshed %d times", k, asked[k])
			}
		}
		m, err := c.GetOrSetMany(t.Context(), keys, forbiddenMany[string](t))
		if check(t, err); len(m) != n {
			t.Errorf("%d of %d values", len(m), n)
		}
	})
}
