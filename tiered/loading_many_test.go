package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// echoing is a batch loader that gives each key its own name, and counts how often each was asked for.
type echoing struct {
	mu    sync.Mutex
	asked map[string]int
	calls int
}

func (e *echoing) load(_ context.Context, missing []string) (map[string]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	out := make(map[string]string)
	for _, k := range missing {
		if e.asked == nil {
			e.asked = make(map[string]int)
		}
		e.asked[k]++
		out[k] = "v:" + k
	}
	return out, nil
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	return keys
}

func wantMap[V comparable](t *testing.T, got, want map[string]V) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestGetOrSetMany_loadsOnlyMissingKeys(t *testing.T) {
	t.Parallel()
	_, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
	check(t, caches[0].Set(t.Context(), "near", "v:near"))
	check(t, caches[1].Set(t.Context(), "far", "v:far"))
	var e echoing
	keys := []string{"near", "far", "a", "b", "a", "near"} // duplicates, too
	want := map[string]string{"near": "v:near", "far": "v:far", "a": "v:a", "b": "v:b"}
	for range 2 {
		got, err := caches[0].GetOrSetMany(t.Context(), keys, e.load)
		check(t, err)
		wantMap(t, got, want)
	}
	wantMap(t, e.asked, map[string]int{"a": 1, "b": 1})
	if e.calls != 1 || clients[0].Stats().Loads != 1 {
		t.Errorf("%d calls, %d counted, want one for all keys", e.calls, clients[0].Stats().Loads)
	}
	got, err := caches[1].GetMany(t.Context(), keys)
	check(t, err)
	wantMap(t, got, want)
}

func TestGetOrSetMany_loadsNothingWithoutKeys(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	for _, keys := range [][]string{nil, {}} {
		got, err := c.GetOrSetMany(t.Context(), keys, func(context.Context, []string) (map[string]string, error) {
			t.Error("the loader ran")
			return nil, nil
		})
		if err != nil || got == nil || len(got) != 0 {
			t.Errorf("got %v, %v, want an empty map", got, err)
		}
	}
}

func TestGetOrSetMany_failsInvalidKeysAlone(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	var e echoing
	long := strings.Repeat("x", tiered.MaxKeyBytes+1)
	got, err := c.GetOrSetMany(t.Context(), []string{"ok", "", long}, e.load)
	wantMap(t, got, map[string]string{"ok": "v:ok"})
	var batch *tiered.BatchError
	if !errors.As(err, &batch) || !errors.Is(err, tiered.ErrInvalidKey) || len(batch.Failed) != 2 {
		t.Fatalf("got %v, want a BatchError with two keys", err)
	}
	wantErr(t, batch.Failed[""], tiered.ErrInvalidKey)
	wantErr(t, batch.Failed[long], tiered.ErrInvalidKey)
	wantMap(t, e.asked, map[string]int{"ok": 1})
}

func TestGetOrSetMany_keysThatTheLoaderLeavesOutAreNotFound(t *testing.T) {
	t.Parallel()
	_, _, caches := fleet[string](t, 2, tiered.CacheOptions{NegativeTTL: time.Minute})
	load := func(_ context.Context, missing []string) (map[string]string, error) {
		return map[string]string{missing[0]: "v", "not asked for": "x"}, nil
	}
	got, err := caches[0].GetOrSetMany(t.Context(), []string{"a", "b"}, load)
	check(t, err)
	wantMap(t, got, map[string]string{"a": "v"})
	wantMissing(t, caches[0], "not asked for")
	for _, c := range caches { // the word that there is no b is kept in both tiers
		_, err := c.GetOrSet(t.Context(), "b", forbidden[string](t))
		wantErr(t, err, tiered.ErrNotFound)
	}
	got, err = caches[0].GetOrSetMany(t.Context(), []string{"c", "d"}, func(context.Context, []string) (map[string]string, error) {
		return nil, fmt.Errorf("none: %w", tiered.ErrNotFound)
	})
	if err != nil || len(got) != 0 {
		t.Errorf("a loader that knows none of them: %v, %v", got, err)
	}
}

func TestGetOrSetMany_failsOnlyMissingKeysWhenTheLoadFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		end  func() error
		want error
	}{
		"error":       {func() error { return boom }, boom},
		"panic error": {func() error { panic(boom) }, boom},
		"goexit":      {func() error { runtime.Goexit(); return nil }, tiered.ErrLoaderExited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, c := one[string](t, tiered.CacheOptions{})
			check(t, c.Set(t.Context(), "there", "v"))
			keys := []string{"there", "a", "b"}
			got, err := c.GetOrSetMany(t.Context(), keys, func(context.Context, []string) (map[string]string, error) { return nil, tc.end() })
			wantMap(t, got, map[string]string{"there": "v"})
			var batch *tiered.BatchError
			var load *tiered.LoadError
			if !errors.As(err, &batch) || len(batch.Failed) != 2 || !errors.As(err, &load) || !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want a BatchError of two LoadErrors", err)
			}
			var e echoing
			got, err = c.GetOrSetMany(t.Context(), keys, e.load)
			check(t, err)
			wantMap(t, got, map[string]string{"there": "v", "a": "v:a", "b": "v:b"})
			if s := client.Stats(); s.Fills != 2 {
				t.Errorf("%d fills, want 2: failed loads give their leases back", s.Fills)
			}
		})
	}
}

func TestGetOrSetMany_overlappingBatchesLoadEachKeyOnce(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	var e echoing
	var failed atomic.Int64
	var wg sync.WaitGroup
	const keys, batches = 64, 32
	start := make(chan struct{})
	for i := range batches {
		wg.Go(func() {
			<-start
			mine := numbered(keys)[i : i+keys/2]
			if i%2 == 1 {
				slices.Reverse(mine) // batches that wait for each other crosswise must not lock up
			}
			got, err := c.GetOrSetMany(t.Context(), mine, e.load)
			if err != nil || len(got) != len(mine) {
				failed.Add(1)
			}
		})
		wg.Go(func() {
			<-start
			k := fmt.Sprint(i)
			v, err := c.GetOrSet(t.Context(), k, func(ctx context.Context) (string, error) {
				m, err := e.load(ctx, []string{k})
				return m[k], err
			})
			if err != nil || v != "v:"+k {
				failed.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d callers failed", failed.Load())
	}
	for k, n := range e.asked {
		if n != 1 {
			t.Errorf("key %s was loaded %d times", k, n)
		}
	}
}

func TestGetOrSetMany_sharesLoadsWithGetOrSet(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{})
	single := newBlocked(t, "single")
	first := async(func() (string, error) { return c.GetOrSet(t.Context(), "a", single.load) })
	await(t, "the single load runs", single.running)

	batch := newBlocked(t, map[string]string{"b": "batch"})
	many := async(func() (map[string]string, error) {
		return c.GetOrSetMany(t.Context(), []string{"a", "b"}, func(ctx context.Context, missing []string) (map[string]string, error) {
			if !slices.Equal(missing, []string{"b"}) {
				t.Errorf("the batch loads %v, want b only", missing)
			}
			return batch.load(ctx)
		})
	})
	await(t, "the batch load runs", batch.running)
	second := async(func() (string, error) { return c.GetOrSet(t.Context(), "b", forbidden[string](t)) })
	eventually(t, "both joined", func() bool { return client.Stats().Joined == 2 })
	single.letGo()
	batch.letGo()
	if r := receive(t, "the single caller", first); r.v != "single" || r.err != nil {
		t.Errorf("single: %q, %v", r.v, r.err)
	}
	if r := receive(t, "the caller that joined the batch", second); r.v != "batch" || r.err != nil {
		t.Errorf("joined: %q, %v", r.v, r.err)
	}
	r := receive(t, "the batch", many)
	check(t, r.err)
	wantMap(t, r.v, map[string]string{"a": "single", "b": "batch"})
}

func TestGetOrSetMany_loadGoesOnForOthersWhenItsCallerLeaves(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{})
	b := newBlocked(t, map[string]string{"a": "v", "b": "w"})
	load := func(ctx context.Context, _ []string) (map[string]string, error) { return b.load(ctx) }
	ctx, cancel := context.WithCancel(t.Context())
	first := async(func() (map[string]string, error) { return c.GetOrSetMany(ctx, []string{"a", "b"}, load) })
	await(t, "the load runs", b.running)
	second := async(func() (string, error) { return c.GetOrSet(t.Context(), "b", forbidden[string](t)) })
	eventually(t, "the second caller joins", func() bool { return client.Stats().Joined == 1 })
	cancel()
	wantErr(t, receive(t, "the first caller leaves", first).err, context.Canceled)
	select {
	case <-b.ended:
		t.Fatal("the batch was cancelled though somebody waits for one of its keys")
	default:
	}
	b.letGo()
	if r := receive(t, "the second caller", second); r.v != "w" || r.err != nil {
		t.Errorf("got %q, %v", r.v, r.err)
	}
}

func TestGetOrSetMany_cancelsALoadWithoutCallers(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	b := newBlocked(t, map[string]string{})
	load := func(ctx context.Context, _ []string) (map[string]string, error) { return b.load(ctx) }
	ctx, cancel := context.WithCancel(t.Context())
	call := async(func() (map[string]string, error) { return c.GetOrSetMany(ctx, []string{"a", "b"}, load) })
	await(t, "the load runs", b.running)
	cancel()
	receive(t, "the caller leaves", call)
	await(t, "the batch's context ends with its last caller", b.ended)
	var e echoing
	got, err := c.GetOrSetMany(t.Context(), []string{"a", "b"}, e.load)
	check(t, err)
	wantMap(t, got, map[string]string{"a": "v:a", "b": "v:b"})
}
