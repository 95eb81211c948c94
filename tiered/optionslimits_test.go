package tiered_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// Tags given more than once add up: any of them invalidates the entry.
func TestTags_addUp(t *testing.T) {
	for _, tag := range []string{"a", "b", "c"} {
		for name, store := range map[string]func(c *tiered.Cache[string], opts ...tiered.EntryOption) error{
			"Set": func(c *tiered.Cache[string], opts ...tiered.EntryOption) error {
				return c.Set(t.Context(), "k", "v", opts...)
			},
			"SetIfAbsent": func(c *tiered.Cache[string], opts ...tiered.EntryOption) error {
				_, err := c.SetIfAbsent(t.Context(), "k", "v", opts...)
				return err
			},
			"GetOrSet": func(c *tiered.Cache[string], opts ...tiered.EntryOption) error {
				_, err := c.GetOrSet(t.Context(), "k", constant("v"), opts...)
				return err
			},
		} {
			t.Run(name+" "+tag, func(t *testing.T) {
				_, _, caches := fleet[string](t, 2, tiered.CacheOptions{})
				check(t, store(caches[0], tiered.Tags("a", "b"), tiered.TTL(time.Hour), tiered.Tags("b"), tiered.Tags(), tiered.Tags("c", "c")))
				wantGet(t, caches[1], "k", "v")
				check(t, caches[0].InvalidateTags(t.Context(), tag))
				wantMissing(t, caches[0], "k")
				eventually(t, "the other instance hears of it", func() bool { _, err := caches[1].Get(t.Context(), "k"); return errors.Is(err, tiered.ErrNotFound) })
			})
		}
	}
}

// Of the other options the last one counts, be it 0 for the cache's default.
func TestEntryOption_lastOfAKindCounts(t *testing.T) {
	_, c := one[string](t, tiered.CacheOptions{TTL: time.Hour})
	for _, test := range []struct {
		opts []tiered.EntryOption
		want time.Duration
	}{
		{[]tiered.EntryOption{tiered.TTL(time.Minute), tiered.TTL(2 * time.Minute)}, 2 * time.Minute},
		{[]tiered.EntryOption{tiered.TTL(2 * time.Hour), tiered.TTL(time.Minute)}, time.Minute},
		{[]tiered.EntryOption{tiered.TTL(2 * time.Hour), tiered.TTL(0)}, time.Hour},
	} {
		check(t, c.Set(t.Context(), "k", "v", test.opts...))
		if left, err := c.TTL(t.Context(), "k"); err != nil || left > test.want || left < test.want-30*time.Second {
			t.Errorf("TTL = %v, %v, want %v", left, err, test.want)
		}
	}
}

// A life is exact up to the longest that a record can tell, and for ever above, in Redis, in the record and in the local copy.
func TestTTL_isExactUpToTheLongestLife(t *testing.T) {
	const day = 24 * time.Hour
	const longest = remote.MaxTTL
	for _, ttl := range []time.Duration{68 * 365 * day, longest, longest + 1, 69 * 365 * day, 99 * 365 * day, 101 * 365 * day, tiered.NoExpiration} {
		t.Run(ttl.String(), func(t *testing.T) {
			_, clients, caches := fleet[int64](t, 2, tiered.CacheOptions{FailSafe: time.Hour})
			ns := tiered.NamespaceOf(caches[0])
			want := func(how, key string) {
				t.Helper()
				left, err := caches[1].TTL(t.Context(), key)
				switch {
				case err != nil:
					t.Errorf("%s: TTL: %v", how, err)
				case ttl > longest && left != tiered.NoExpiration:
					t.Errorf("%s: TTL = %v, want none", how, left)
				case ttl <= longest && (left > ttl || left < ttl-time.Minute):
					t.Errorf("%s: TTL = %v, want %v", how, left, ttl)
				}
				if kept := shared.Client(t).PTTL(t.Context(), ns+":c:"+key).Val(); (kept == -1) != (ttl > longest) {
					t.Errorf("%s: Redis keeps it for %v", how, kept)
				}
				eventually(t, how+" leaves a local copy, once its message has come", func() bool {
					before := clients[1].Stats().LocalHits
					wantGet(t, caches[1], key, 1)
					return clients[1].Stats().LocalHits > before
				})
			}
			check(t, caches[0].Set(t.Context(), "set", 1, tiered.TTL(ttl)))
			want("Set", "set")
			_, err := caches[0].GetOrSet(t.Context(), "loaded", constant[int64](1), tiered.TTL(ttl))
			check(t, err)
			want("GetOrSet", "loaded")
			check(t, caches[0].Set(t.Context(), "expired", 1))
			_, err = caches[0].Expire(t.Context(), "expired", ttl)
			check(t, err)
			want("Expire", "expired")
			counting := newCache[int64](t, clients[0], "c", tiered.CacheOptions{TTL: ttl})
			_, err = counting.Increment(t.Context(), "counted", 1)
			check(t, err)
			want("Increment", "counted")
		})
	}
}

// In a bubble the clock's reading is below zero; an entry for ever is kept locally all the same.
func TestNoExpiration_isKeptLocallyWhateverTheClockReads(t *testing.T) {
	for _, local := range []time.Duration{0, time.Hour, math.MaxInt64} {
		bubble(t, tiered.CacheOptions{TTL: tiered.NoExpiration, LocalTTL: local, FailSafe: time.Hour}, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
			check(t, c.Set(t.Context(), "k", "v"))
			synctest.Wait()
			if !localHit(t, client, c, "k") {
				t.Errorf("LocalTTL %v: what Set stored is not local", local)
			}
			other := r.Instance(t, rarely)
			read := newCache[string](t, other, "c", tiered.CacheOptions{LocalTTL: local})
			wantGet(t, read, "k", "v")
			if !localHit(t, other, read, "k") {
				t.Errorf("LocalTTL %v: what was read is not local", local)
			}
		})
	}
}

// An entry for ever that is given an end has the grace that its cache gives to every entry.
func TestExpire_givesAnEntryForEverItsGrace(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: tiered.NoExpiration, FailSafe: time.Hour}, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		counters := newCache[int64](t, client, "n", tiered.CacheOptions{TTL: tiered.NoExpiration, FailSafe: time.Hour})
		check(t, c.Set(t.Context(), "k", "v"))
		_, err := counters.Increment(t.Context(), "k", 7)
		check(t, err)
		for _, expire := range []func() (bool, error){
			func() (bool, error) { return c.Expire(t.Context(), "k", time.Minute) },
			func() (bool, error) { return counters.Expire(t.Context(), "k", time.Minute) },
		} {
			if ok, err := expire(); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		time.Sleep(2 * time.Minute)
		wantMissing(t, c, "k")
		if v, err := c.GetOrSet(t.Context(), "k", failing); v != "v" || err != nil {
			t.Errorf("after Set and Expire: %q, %v", v, err)
		}
		if v, err := counters.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) { return 0, errBoom }); v != 7 || err != nil {
			t.Errorf("after Increment and Expire: %d, %v", v, err)
		}
	})
}

func TestOptions_limitDurations(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	for field, o := range map[string]func(time.Duration) tiered.Options{
		"MaxStaleness":  func(d time.Duration) tiered.Options { return tiered.Options{MaxStaleness: d} },
		"RemoteTimeout": func(d time.Duration) tiered.Options { return tiered.Options{RemoteTimeout: d} },
		"BreakerPause":  func(d time.Duration) tiered.Options { return tiered.Options{BreakerPause: d} },
		"RetryBackoff":  func(d time.Duration) tiered.Options { return tiered.Options{RetryBackoff: d} },
	} {
		for _, d := range []time.Duration{24*time.Hour + 1, 1 << 62, math.MaxInt64} {
			c, err := tiered.New(rdb, o(d))
			var option *tiered.OptionError
			if !errors.As(err, &option) || option.Field != field {
				t.Errorf("%s of %v: %v", field, d, err)
			}
			if c != nil {
				closeClient(t, c)
			}
		}
		c, err := tiered.New(rdb, o(24*time.Hour))
		check(t, err)
		closeClient(t, c)
	}
	cfg := tiered.DefaultConfig()
	cfg.MaxStaleness = math.MaxInt64
	wantErr(t, cfg.Validate(), tiered.ErrInvalidOptions)
}

func TestOptions_limitCounts(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	for field, o := range map[string]func(int) tiered.Options{
		"MaxPending":      func(n int) tiered.Options { return tiered.Options{MaxPending: n} },
		"MaxLoads":        func(n int) tiered.Options { return tiered.Options{MaxLoads: n} },
		"BreakerFailures": func(n int) tiered.Options { return tiered.Options{BreakerFailures: n} },
		"Lanes":           func(n int) tiered.Options { return tiered.Options{Lanes: n} },
	} {
		for _, n := range []int{math.MinInt, -1, tiered.MaxCount + 1, math.MaxInt} {
			c, err := tiered.New(rdb, o(n))
			var option *tiered.OptionError
			if !errors.As(err, &option) || option.Field != field {
				t.Errorf("%s of %d: %v", field, n, err)
			}
			if c != nil {
				closeClient(t, c)
			}
		}
	}
	c, err := tiered.New(rdb, tiered.Options{MaxPending: tiered.MaxCount, MaxLoads: tiered.MaxCount, BreakerFailures: tiered.MaxCount, Lanes: tiered.MaxLanes})
	check(t, err)
	closeClient(t, c)
}

// A policy that serves for ever does, and its sum with a clock's reading does not turn over.
func TestServeStale_mayServeForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{WhenIncoherent: tiered.ServeStale(math.MaxInt64)})
		c := newCache[string](t, client, "c", tiered.CacheOptions{TTL: tiered.NoExpiration})
		check(t, c.Set(t.Context(), "k", "v"))
		r.Down()
		time.Sleep(48 * time.Hour)
		wantGet(t, c, "k", "v")
	})
}

func TestCacheOptions_durationsMayBeAnyLength(t *testing.T) {
	for field, o := range map[string]tiered.CacheOptions{
		"TTL": {TTL: math.MaxInt64 - 1}, "LocalTTL": {LocalTTL: math.MaxInt64}, "FailSafe": {FailSafe: math.MaxInt64}, "RefreshAhead": {RefreshAhead: math.MaxInt64},
		"SoftTimeout": {SoftTimeout: math.MaxInt64, FailSafe: time.Hour}, "HardTimeout": {HardTimeout: math.MaxInt64},
		"NegativeTTL": {NegativeTTL: math.MaxInt64}, "Jitter": {Jitter: math.MaxInt64},
	} {
		t.Run(field, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
				for range 2 {
					v, err := c.GetOrSet(t.Context(), "k", constant("v"))
					if v != "v" || err != nil {
						t.Errorf("%q, %v", v, err)
					}
					_, err = c.GetOrSet(t.Context(), "none", noSuchThing)
					wantErr(t, err, tiered.ErrNotFound)
				}
				if !localHit(t, client, c, "k") {
					t.Error("no copy is kept locally")
				}
				if keys := r.Server.Keys(); !slices.Contains(keys, "doppio:c:k") {
					t.Errorf("Redis has %v", keys)
				}
			})
		})
	}
}
