package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

func TestCoherence_everyChangeReachesOtherLocalTiers(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *tiered.Cache[int64]) error{
		"Set": func(ctx context.Context, c *tiered.Cache[int64]) error { return c.Set(ctx, "k", 2) },
		"SetMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
			_, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: "k", Value: 2}})
			return err
		},
		"Increment": func(ctx context.Context, c *tiered.Cache[int64]) error {
			_, err := c.Increment(ctx, "k", 1)
			return err
		},
		"Delete": func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Delete(ctx, "k"); return err },
		"DeleteMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
			_, err := c.DeleteMany(ctx, []string{"k"})
			return err
		},
		"Clear":          func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Clear(ctx, ""); return err },
		"InvalidateTags": func(ctx context.Context, c *tiered.Cache[int64]) error { return c.InvalidateTags(ctx, "other", "tag") },
		"short Expire": func(ctx context.Context, c *tiered.Cache[int64]) error {
			_, err := c.Expire(ctx, "k", time.Millisecond)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, clients, caches := fleet[int64](t, 2, tiered.CacheOptions{})
			check(t, caches[1].Set(t.Context(), "k", 1, tiered.Tags("tag")))
			check(t, caches[1].Set(t.Context(), "bystander", 1))
			eventually(t, "the values are local", func() bool { // the messages of their own Sets may come after the first reads
				hits := clients[0].Stats().LocalHits
				wantGet(t, caches[0], "k", 1)
				wantGet(t, caches[0], "bystander", 1)
				return clients[0].Stats().LocalHits == hits+2
			})
			check(t, change(t.Context(), caches[1]))
			eventually(t, "the change is read", func() bool {
				got, err := caches[0].Get(t.Context(), "k")
				return got == 2 || errors.Is(err, tiered.ErrNotFound)
			})
			if name != "Clear" {
				wantGet(t, caches[0], "bystander", 1)
			}
		})
	}
}

// The lane tells which changes were missed while there was no subscription: none here, so no copy
// is dropped.
func TestCoherence_copiesSurviveACutInWhichNothingWasMissed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := coherent(t, server.Client(t), tiered.Options{MaxStaleness: 20 * time.Second, RetryBackoff: 20 * time.Millisecond})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", "v"))
	wantGet(t, c, "k", "v")
	subscriptions := client.Stats().Subscriptions
	check(t, server.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
	eventually(t, "a new subscription", func() bool { return client.Stats().Subscriptions > subscriptions })
	ready(t, client)
	before := client.Stats()
	wantGet(t, c, "k", "v")
	if after := client.Stats(); after.LocalHits != before.LocalHits+1 || after.Drops["first-sync"] != 1 || len(after.Drops) != 1 {
		t.Errorf("a copy was dropped: %d local hits, drops %v", after.LocalHits-before.LocalHits, after.Drops)
	}
}

// A change that was announced while an instance was cut off is not missed for ever.
func TestCoherence_changeMissedInACutIsSeenAfterIt(t *testing.T) {
	t.Parallel()
	p, client, c, outside := behindProxy(t, tiered.Options{RetryBackoff: 20 * time.Millisecond, MaxStaleness: 200 * time.Millisecond})
	check(t, c.Set(t.Context(), "k", "old"))
	p.Refuse(true)
	p.CutAll()
	check(t, outside.Set(t.Context(), "k", "new"))
	p.Refuse(false)
	subscriptions := uint64(2)
	eventually(t, "a new subscription", func() bool { return client.Stats().Subscriptions >= subscriptions })
	ready(t, client)
	wantGet(t, c, "k", "new")
}

// neverOldAfter reads until long past the bound, and fails when a read that began after the bound gave the old value.
func neverOldAfter(t *testing.T, c *tiered.Cache[string], since time.Time, bound time.Duration) {
	t.Helper()
	end := since.Add(2*bound + 200*time.Millisecond)
	for time.Now().Before(end) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		got, err := c.Get(ctx, "k")
		cancel()
		if got == "old" && began.Sub(since) > bound {
			t.Fatalf("served from before the cut %v after it, the bound is %v", began.Sub(since), bound)
		}
		if errors.Is(err, tiered.ErrNotFound) {
			t.Fatal("an outage was taken for a miss")
		}
	}
}

func TestMaxStaleness_boundsTrustInAHalfOpenSubscription(t *testing.T) {
	t.Parallel()
	const bound = 400 * time.Millisecond
	o := tiered.Options{MaxStaleness: bound, RetryBackoff: 20 * time.Millisecond}
	t.Run("black hole", func(t *testing.T) {
		t.Parallel()
		p, client, c, outside := behindProxy(t, o)
		check(t, c.Set(t.Context(), "k", "old"))
		wantGet(t, c, "k", "old")
		p.BlackHole(true)
		cut := time.Now()
		check(t, outside.Set(t.Context(), "k", "new"))
		neverOldAfter(t, c, cut, bound)
		if client.Stats().Coherent {
			t.Error("Stats still calls the local tier coherent")
		}
		p.BlackHole(false)
		eventually(t, "the new value is read once the path is back", func() bool { got, err := c.Get(t.Context(), "k"); return err == nil && got == "new" })
	})
	t.Run("stopped server", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		client := coherent(t, server.Client(t), o)
		c := newCache[string](t, client, "c", tiered.CacheOptions{})
		check(t, c.Set(t.Context(), "k", "old"))
		wantGet(t, c, "k", "old")
		server.Pause()
		neverOldAfter(t, c, time.Now(), bound)
		server.Resume()
		ready(t, client)
		eventually(t, "Redis answers again", func() bool { _, err := c.Get(t.Context(), "k"); return err == nil })
	})
}

// incoherent gives an instance whose server has been stopped after old was read, and whose subscription is known to be lost.
func incoherent(t *testing.T, policy tiered.Incoherence) (*tiered.Client, *tiered.Cache[string]) {
	t.Helper()
	server := redistest.Start(t)
	client := coherent(t, server.Client(t), tiered.Options{
		MaxStaleness: 100 * time.Millisecond, WhenIncoherent: policy, BreakerFailures: 1, BreakerPause: 10 * time.Millisecond, RetryBackoff: 20 * time.Millisecond,
	})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", "old"))
	kept(t, client, c, "old")
	server.Kill()
	eventually(t, "the loss is noticed", func() bool { s := client.Stats(); return s.Losses > 0 && !s.Coherent })
	return client, c
}

// kept waits until the local tier serves want under k: on a busy machine it may not be trusted for a moment, and keeps
// nothing then.
func kept(t *testing.T, client *tiered.Client, c *tiered.Cache[string], want string) {
	t.Helper()
	eventually(t, "the local tier serves "+want, func() bool {
		hits := client.Stats().LocalHits
		wantGet(t, c, "k", want)
		return client.Stats().LocalHits > hits
	})
}

func TestGutter_keepsLoadsForAMomentAndNothingFromBefore(t *testing.T) {
	t.Parallel()
	_, c := incoherent(t, tiered.Gutter)
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	var loads atomic.Int64
	var calls atomic.Int64
	began := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for time.Since(began) < 1500*time.Millisecond {
				calls.Add(1)
				if got, err := c.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { loads.Add(1); return "new", nil }); err != nil || got != "new" {
					t.Errorf("GetOrSet = %q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// It keeps a load for three quarters of MaxStaleness, which is 100 ms here. The machine may make it less for some.
	if most := 2*int64(time.Since(began)/(75*time.Millisecond)) + 1; loads.Load() > most || calls.Load() < 100 {
		t.Errorf("%d calls made %d loads, want at most %d: the source is stampeded", calls.Load(), loads.Load(), most)
	}
}

// Values that the gutter keeps are ended by this instance's own changes.
func TestGutter_readsItsOwnWrites(t *testing.T) {
	t.Parallel()
	_, c := incoherent(t, tiered.Gutter)
	for i := range 3 {
		want := fmt.Sprint(i)
		if got, err := c.GetOrSet(t.Context(), "k", constant(want)); err != nil || got != want {
			t.Fatalf("GetOrSet = %q, %v, want %q", got, err, want)
		}
		_, err := c.Delete(t.Context(), "k")
		wantErr(t, err, tiered.ErrRemoteUnavailable)
	}
}

func TestBypass_keepsNothing(t *testing.T) {
	t.Parallel()
	_, c := incoherent(t, tiered.Bypass)
	for i := range 5 {
		want := fmt.Sprint(i)
		if got, err := c.GetOrSet(t.Context(), "k", constant(want)); err != nil || got != want {
			t.Fatalf("GetOrSet = %q, %v, want %q", got, err, want)
		}
	}
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
}

func TestServeStale_servesForItsSpanOnly(t *testing.T) {
	t.Parallel()
	const span = 2 * time.Second
	_, c := incoherent(t, tiered.ServeStale(span))
	noticed := time.Now()
	wantGet(t, c, "k", "old")
	served := 1
	eventually(t, "serving ends", func() bool {
		began := time.Now()
		got, err := c.Get(t.Context(), "k")
		if err == nil && got == "old" {
			served++
			if began.Sub(noticed) > span {
				t.Fatalf("served %v after the loss was noticed, the span is %v", began.Sub(noticed), span)
			}
			return false
		}
		wantErr(t, err, tiered.ErrRemoteUnavailable)
		return true
	})
	if served < 3 {
		t.Errorf("served %d times only", served)
	}
}

// The clients of one process do not mistake each other's namespaces.
func TestNamespace_separatesClientsOfOneProcess(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t, func(o *redis.Options) {})
	a, b := coherent(t, rdb, tiered.Options{}), coherent(t, rdb, tiered.Options{})
	caches := []*tiered.Cache[string]{
		newCache[string](t, a, "x", tiered.CacheOptions{}), newCache[string](t, a, "y", tiered.CacheOptions{}), newCache[string](t, b, "x", tiered.CacheOptions{}),
	}
	for i, c := range caches {
		check(t, c.Set(t.Context(), "k", fmt.Sprint(i), tiered.Tags("tag")))
	}
	check(t, caches[0].InvalidateTags(t.Context(), "tag"))
	n, err := caches[0].Clear(t.Context(), "")
	check(t, err)
	if n != 1 {
		t.Errorf("Clear removed %d", n)
	}
	wantMissing(t, caches[0], "k")
	wantGet(t, caches[1], "k", "1")
	wantGet(t, caches[2], "k", "2")
}
