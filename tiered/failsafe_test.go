package tiered_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

var errBoom = errors.New("boom")

func failing(context.Context) (string, error) { return "", errBoom }

func TestFailSafe_servesAStaleValueWhenTheLoadFails(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
	bubble(t, o, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", o)
		check(t, c.Set(t.Context(), "k", "v"))
		time.Sleep(2 * time.Minute)
		for _, c := range []*tiered.Cache[string]{c, other} { // from the local and from the remote tier
			wantMissing(t, c, "k") // it is over: only a failed load may bring it back
			var a tiered.Source
			got, err := c.GetOrSet(tiered.WithSource(t.Context(), &a), "k", failing)
			if err != nil || got != "v" || a != tiered.SourceStale {
				t.Errorf("GetOrSet = %q, %v by %v, want the stale value", got, err, a)
			}
			wantMissing(t, c, "k")
			if m, err := c.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]string, error) { return nil, errBoom }); err != nil || m["k"] != "v" {
				t.Errorf("GetOrSetMany = %v, %v", m, err)
			}
			if found, err := c.Exists(t.Context(), "k"); found || err != nil {
				t.Errorf("Exists = %t, %v", found, err)
			}
			if n, err := c.Count(t.Context(), ""); n != 0 || err != nil {
				t.Errorf("Count = %d, %v", n, err)
			}
		}
		if s := client.Stats(); s.StaleServed != 2 {
			t.Errorf("%d stale values counted, want 2", s.StaleServed)
		}
		// Without the option at the call there is no fallback.
		plain := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
		_, err := plain.GetOrSet(t.Context(), "k", failing)
		wantErr(t, err, errBoom)
		time.Sleep(time.Hour)
		_, err = c.GetOrSet(t.Context(), "k", failing)
		wantErr(t, err, errBoom) // its span is over
	})
}

func TestFailSafe_givesWayToALoadThatSucceeds(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		if got, err := c.GetOrSet(t.Context(), "k", constant("new")); err != nil || got != "new" {
			t.Errorf("got %q, %v", got, err)
		}
		wantGet(t, c, "k", "new")
	})
}

func TestFailSafe_neverBringsBackAnInvalidatedValue(t *testing.T) {
	for name, invalidate := range map[string]func(ctx context.Context, c *tiered.Cache[string]) error{
		"Delete":         func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Delete(ctx, "k"); return err },
		"InvalidateTags": func(ctx context.Context, c *tiered.Cache[string]) error { return c.InvalidateTags(ctx, "tag") },
		"Clear":          func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Clear(ctx, ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
			bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
				other := newCache[string](t, r.Instance(t, rarely), "c", o)
				check(t, c.Set(t.Context(), "k", "v", tiered.Tags("tag")))
				synctest.Wait() // its message would drop the copy
				wantGet(t, other, "k", "v")
				time.Sleep(2 * time.Minute)
				check(t, invalidate(t.Context(), c))
				synctest.Wait()
				for _, c := range []*tiered.Cache[string]{c, other} {
					got, err := c.GetOrSet(t.Context(), "k", failing)
					if !errors.Is(err, errBoom) {
						t.Errorf("got %q, %v", got, err)
					}
				}
			})
		})
	}
}

func TestSoftTimeout_servesAStaleValueWhileTheLoadGoesOn(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour, SoftTimeout: time.Second}
	bubble(t, o, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		began := time.Now()
		got, err := c.GetOrSet(t.Context(), "k", func(ctx context.Context) (string, error) {
			select {
			case <-time.After(10 * time.Second):
				return "new", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})
		if err != nil || got != "old" || time.Since(began) != time.Second {
			t.Errorf("got %q, %v after %v, want the stale value after 1s", got, err, time.Since(began))
		}
		time.Sleep(10 * time.Second)
		wantGet(t, c, "k", "new")
		if s := client.Stats(); s.Loads != 1 || s.LoadErrors != 0 {
			t.Errorf("%d loads, %d failed, want one that goes on", s.Loads, s.LoadErrors)
		}
		// With no stale value there is nothing to serve: the caller waits.
		began = time.Now()
		got, err = c.GetOrSet(t.Context(), "fresh", func(context.Context) (string, error) { time.Sleep(5 * time.Second); return "v", nil })
		if err != nil || got != "v" || time.Since(began) < 5*time.Second {
			t.Errorf("got %q, %v after %v", got, err, time.Since(began))
		}
	})
}

func TestRefreshAhead_runsOnceInTheBackground(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second}
	bubble(t, o, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		otherClient := r.Instance(t, rarely)
		other := newCache[string](t, otherClient, "c", o)
		check(t, c.Set(t.Context(), "k", "old"))
		synctest.Wait() // its message would drop the copy
		wantGet(t, other, "k", "old")
		time.Sleep(30 * time.Second) // the first half of its life
		for range 10 {
			if got, err := c.GetOrSet(t.Context(), "k", forbidden[string](t)); err != nil || got != "old" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		time.Sleep(25 * time.Second)
		b := newBlocked(t, "new")
		for range 100 {
			if got, err := c.GetOrSet(t.Context(), "k", b.load); err != nil || got != "old" {
				t.Fatalf("while it is refreshed: %q, %v, want the value that is there", got, err)
			}
		}
		synctest.Wait()
		if s := client.Stats(); b.calls.Load() != 1 || s.Refreshes != 1 || s.Joined != 0 {
			t.Errorf("%d loads, %d refreshes, %d joined for 100 callers, want one refresh that nobody joins", b.calls.Load(), s.Refreshes, s.Joined)
		}
		b.letGo()
		synctest.Wait()
		wantGet(t, c, "k", "new")
		// Another instance, due to refresh as well, takes what this one has stored.
		if got, err := other.GetOrSet(t.Context(), "k", forbidden[string](t)); err != nil || got != "old" {
			t.Fatalf("%q, %v", got, err)
		}
		synctest.Wait()
		wantGet(t, other, "k", "new")
		if s := otherClient.Stats(); s.Loads != 0 {
			t.Errorf("the other instance loaded, too")
		}
		time.Sleep(30 * time.Second)
		wantGet(t, c, "k", "new") // its life began anew
	})
}

// With a span longer than the life, an instance must still see that another has just refreshed.
func TestRefreshAhead_mayBeLongerThanTheLife(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, RefreshAhead: time.Hour}
	bubble(t, o, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", o)
		check(t, c.Set(t.Context(), "k", "old"))
		synctest.Wait() // its message would drop the copy
		wantGet(t, other, "k", "old")
		for range 29 {
			time.Sleep(time.Second)
			if got, err := c.GetOrSet(t.Context(), "k", forbidden[string](t)); err != nil || got != "old" {
				t.Fatalf("in the first half of its life: %q, %v", got, err)
			}
		}
		time.Sleep(30 * time.Second)
		_, err := c.GetOrSet(t.Context(), "k", constant("new"))
		check(t, err)
		synctest.Wait()
		wantGet(t, c, "k", "new")
		_, err = other.GetOrSet(t.Context(), "k", forbidden[string](t))
		check(t, err)
		synctest.Wait()
		wantGet(t, other, "k", "new")
		if s := client.Stats(); s.Refreshes != 1 {
			t.Errorf("%d refreshes, want 1", s.Refreshes)
		}
	})
}

func TestRefreshAhead_keepsTheValueWhenTheLoadFails(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second}, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "v"))
		time.Sleep(55 * time.Second)
		got, err := c.GetOrSet(t.Context(), "k", failing)
		if err != nil || got != "v" {
			t.Fatalf("%q, %v", got, err)
		}
		synctest.Wait()
		if s := client.Stats(); s.LoadErrors != 1 {
			t.Errorf("%d failed loads counted", s.LoadErrors)
		}
		wantGet(t, c, "k", "v")
		if left, err := c.TTL(t.Context(), "k"); err != nil || left > 5*time.Second {
			t.Errorf("TTL = %v, %v", left, err)
		}
	})
}

// A refresh does not run with the context of the call that began it.
func TestRefreshAhead_outlivesItsCaller(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(55 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := c.GetOrSet(ctx, "k", func(ctx context.Context) (string, error) {
			select {
			case <-time.After(time.Second):
				return "new", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})
		check(t, err)
		cancel()
		time.Sleep(2 * time.Second)
		wantGet(t, c, "k", "new")
	})
}

func TestHardTimeout_endsALoadInTime(t *testing.T) {
	bubble(t, tiered.CacheOptions{}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		for name, option := range map[string]tiered.EntryOption{"default": tiered.HardTimeout(0), "own": tiered.HardTimeout(time.Minute)} {
			want := map[string]time.Duration{"default": tiered.DefaultHardTimeout, "own": time.Minute}[name]
			began := time.Now()
			_, err := c.GetOrSet(t.Context(), "k", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }, option)
			var load *tiered.LoadError
			if took := time.Since(began); !errors.As(err, &load) || !errors.Is(err, context.DeadlineExceeded) || took != want {
				t.Errorf("%s: %v after %v, want a *LoadError after %v", name, err, took, want)
			}
		}
	})
}
