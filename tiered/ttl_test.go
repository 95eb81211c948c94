package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// bubble runs a test on an embedded Redis whose clock, and the test's, is synctest's.
func bubble(t *testing.T, o tiered.CacheOptions, test func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, rarely)
		test(t, r, client, newCache[string](t, client, "c", o))
	})
}

// rarely asks for signs of life so seldom that hours pass in a bubble without much ado.
var rarely = tiered.Options{MaxStaleness: 24 * time.Hour}

// localHit tells whether the local tier serves key.
func localHit(t *testing.T, client *tiered.Client, c *tiered.Cache[string], key string) bool {
	t.Helper()
	before := client.Stats().LocalHits
	_, _ = c.Get(t.Context(), key)
	return client.Stats().LocalHits > before
}

func TestTTL_endsEntriesInBothTiersAtOnce(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"long": time.Hour, "millisecond": time.Millisecond, "below a millisecond": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tiered.CacheOptions{}, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
				other := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
				check(t, c.Set(t.Context(), "k", "v", tiered.TTL(ttl)))
				synctest.Wait()
				life := max(ttl, time.Millisecond)
				time.Sleep(life - time.Millisecond/2)
				wantGet(t, c, "k", "v")
				wantGet(t, other, "k", "v") // its copy is younger, and has no longer to live
				time.Sleep(time.Millisecond)
				wantMissing(t, c, "k")
				wantMissing(t, other, "k")
				found, err := c.Exists(t.Context(), "k")
				check(t, err)
				if found {
					t.Error("Exists says that it is there")
				}
			})
		})
	}
}

func TestExpire_shortensLocalCopies(t *testing.T) {
	bubble(t, tiered.CacheOptions{}, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
		check(t, c.Set(t.Context(), "k", "v"))
		synctest.Wait() // its message would drop the copy
		wantGet(t, other, "k", "v")
		found, err := c.Expire(t.Context(), "k", time.Minute)
		if err != nil || !found {
			t.Fatalf("Expire = %t, %v", found, err)
		}
		synctest.Wait()
		wantGet(t, c, "k", "v")
		wantGet(t, other, "k", "v")
		time.Sleep(time.Minute + time.Millisecond)
		wantMissing(t, c, "k")
		wantMissing(t, other, "k")
	})
}

func TestNoExpiration_keepsAnEntryForEver(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"NoExpiration": tiered.NoExpiration, "almost": tiered.NoExpiration - 1, "two centuries": 200 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tiered.CacheOptions{Jitter: time.Hour, FailSafe: time.Hour}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
				check(t, c.Set(t.Context(), "k", "v", tiered.TTL(ttl), tiered.Tags("tag")))
				time.Sleep(3 * time.Hour)
				wantGet(t, c, "k", "v")
				if left, err := c.TTL(t.Context(), "k"); err != nil || left != tiered.NoExpiration {
					t.Errorf("TTL = %v, %v, want NoExpiration", left, err)
				}
				check(t, c.InvalidateTags(t.Context(), "tag"))
				wantMissing(t, c, "k")
			})
		})
	}
}

func TestLocalTTL_boundsTheLocalCopyOnly(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Hour, LocalTTL: time.Minute}, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "v"))
		check(t, c.Set(t.Context(), "short", "v", tiered.TTL(time.Second)))
		check(t, c.Set(t.Context(), "long", "v", tiered.LocalTTL(tiered.NoExpiration)))
		time.Sleep(time.Second + time.Millisecond)
		wantMissing(t, c, "short") // LocalTTL does not make it live longer
		time.Sleep(time.Minute - 2*time.Second)
		if !localHit(t, client, c, "k") {
			t.Error("not local before LocalTTL has passed")
		}
		time.Sleep(2 * time.Second)
		if localHit(t, client, c, "k") {
			t.Error("local after LocalTTL has passed")
		}
		wantGet(t, c, "k", "v") // it came from the remote tier, and is local for another minute
		if !localHit(t, client, c, "k") || !localHit(t, client, c, "long") {
			t.Error("not local")
		}
		time.Sleep(time.Hour)
		wantMissing(t, c, "k")
	})
}

func TestJitter_shortensByAtMostHalf(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Hour, Jitter: 2 * time.Hour}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		lives := make(map[time.Duration]bool)
		for i := range 50 {
			key := fmt.Sprint(i)
			check(t, c.Set(t.Context(), key, "v"))
			left, err := c.TTL(t.Context(), key)
			check(t, err)
			if left < 30*time.Minute || left > time.Hour {
				t.Errorf("life of %v, want 30m to 1h", left)
			}
			lives[left] = true
		}
		if len(lives) < 25 {
			t.Errorf("50 entries have %d different lives: they end together", len(lives))
		}
		check(t, c.Set(t.Context(), "small", "v", tiered.Jitter(time.Minute)))
		if left, err := c.TTL(t.Context(), "small"); err != nil || left < 59*time.Minute {
			t.Errorf("a jitter of a minute took %v, %v", time.Hour-left, err)
		}
	})
}

func TestSetMany_itemsMayHaveATTLOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{TTL: 10 * time.Minute})
	n, err := c.SetMany(t.Context(), []tiered.Item[string]{
		{Key: "default", Value: "v"}, {Key: "own", Value: "v", TTL: time.Minute}, {Key: "ever", Value: "v", TTL: tiered.NoExpiration}, {Key: "bad", Value: "v", TTL: -1},
		{Key: "twice", Value: "first"}, {Key: "twice", Value: "last"},
	})
	var batch *tiered.BatchError
	if n != 4 || !errors.As(err, &batch) || len(batch.Failed) != 1 || !errors.Is(batch.Failed["bad"], tiered.ErrInvalidOptions) {
		t.Fatalf("SetMany = %d, %v", n, err)
	}
	wantGet(t, c, "twice", "last")
	for key, want := range map[string]time.Duration{"default": 10 * time.Minute, "own": time.Minute, "ever": tiered.NoExpiration} {
		if left, err := c.TTL(t.Context(), key); err != nil || left > want || left < want-time.Minute/2 {
			t.Errorf("TTL(%s) = %v, %v, want %v", key, left, err, want)
		}
	}
	wantMissing(t, c, "bad")
}

func TestNegativeTTL_endsNegativeEntries(t *testing.T) {
	bubble(t, tiered.CacheOptions{NegativeTTL: time.Minute}, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
		_, err := c.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { return "", tiered.ErrNotFound })
		wantErr(t, err, tiered.ErrNotFound)
		_, err = other.GetOrSet(t.Context(), "k", forbidden[string](t))
		wantErr(t, err, tiered.ErrNotFound)
		time.Sleep(time.Minute + time.Millisecond)
		for _, c := range []*tiered.Cache[string]{c, other} {
			if got, err := c.GetOrSet(t.Context(), "k", constant("v")); err != nil || got != "v" {
				t.Errorf("after NegativeTTL: %q, %v", got, err)
			}
		}
	})
}

func TestEntryOption_refusesNegativeDurations(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	for name, option := range map[string]tiered.EntryOption{
		"TTL": tiered.TTL(-1), "LocalTTL": tiered.LocalTTL(-1), "FailSafe": tiered.FailSafe(-1), "RefreshAhead": tiered.RefreshAhead(-1), "SoftTimeout": tiered.SoftTimeout(-1),
		"HardTimeout": tiered.HardTimeout(-1), "NegativeTTL": tiered.NegativeTTL(-1), "Jitter": tiered.Jitter(-1), "Tags": tiered.Tags("ok", ""),
	} {
		for _, err := range []error{
			c.Set(t.Context(), "k", "v", option),
			second(c.SetIfAbsent(t.Context(), "k", "v", option)),
			second(c.GetOrSetValue(t.Context(), "k", "v", option)),
			second(c.GetOrSet(t.Context(), "k", forbidden[string](t), option)),
			second(c.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]string, error) { return nil, nil }, option)),
		} {
			var fault *tiered.OptionError
			if !errors.As(err, &fault) || fault.Field != name || !errors.Is(err, tiered.ErrInvalidOptions) {
				t.Errorf("%s: %v, want an OptionError of that field", name, err)
			}
		}
	}
	for _, ttl := range []time.Duration{0, -1} {
		_, err := c.Expire(t.Context(), "k", ttl)
		wantErr(t, err, tiered.ErrInvalidOptions)
	}
	wantErr(t, c.InvalidateTags(t.Context(), "ok", ""), tiered.ErrInvalidOptions)
	wantMissing(t, c, "k")
}

func second[A, B any](_ A, b B) B { return b }
