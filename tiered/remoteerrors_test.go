package tiered_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// failures are the counters of Stats that say that something failed.
type failures struct{ remote, store, decode uint64 }

func failuresOf(c *tiered.Client) failures {
	s := c.Stats()
	return failures{s.RemoteErrors, s.StoreErrors, s.DecodeErrors}
}

func (f failures) since(before failures) failures {
	return failures{f.remote - before.remote, f.store - before.store, f.decode - before.decode}
}

// A call that fails counts once for each key, or once where the floors could not be asked for
// first, however many commands it takes.
func TestStats_countsAFailedRemoteCallOnce(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	client := newClient(t, rdb, tiered.Options{WhenIncoherent: tiered.Bypass, BreakerFailures: 1_000_000})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	numbers := newCache[int64](t, client, "numbers", tiered.CacheOptions{})
	keys := []string{"a", "b", "c", "d", "e"}
	nothing := func(context.Context, []string) (map[string]string, error) { return nil, nil }
	for _, call := range []struct {
		name string
		want uint64
		call func(ctx context.Context)
	}{
		{"Get", 1, func(ctx context.Context) { _, _ = c.Get(ctx, "k") }},
		{"GetOrSet", 1, func(ctx context.Context) { _, _ = c.GetOrSet(ctx, "k", constant("v")) }},
		{"GetOrSet with tags", 1, func(ctx context.Context) { _, _ = c.GetOrSet(ctx, "k2", constant("v"), tiered.Tags("t")) }},
		{"GetOrSet with SoftTimeout", 1, func(ctx context.Context) {
			_, _ = c.GetOrSet(ctx, "k3", constant("v"), tiered.SoftTimeout(time.Minute))
		}},
		{"GetMany", 1, func(ctx context.Context) { _, _ = c.GetMany(ctx, keys) }},
		{"GetOrSetMany", 1, func(ctx context.Context) { _, _ = c.GetOrSetMany(ctx, keys, nothing) }},
		{"Exists", 1, func(ctx context.Context) { _, _ = c.Exists(ctx, "k4") }},
		{"ExistsMany", 1, func(ctx context.Context) { _, _ = c.ExistsMany(ctx, keys) }},
		{"TTL", 1, func(ctx context.Context) { _, _ = c.TTL(ctx, "k5") }},
		{"Count", 1, func(ctx context.Context) { _, _ = c.Count(ctx, "") }},
		{"Increment", 1, func(ctx context.Context) { _, _ = numbers.Increment(ctx, "n", 1) }},
		{"Expire", 1, func(ctx context.Context) { _, _ = c.Expire(ctx, "k6", time.Minute) }},
		{"SetIfAbsent", 1, func(ctx context.Context) { _, _ = c.SetIfAbsent(ctx, "k7", "v") }},
		{"SetIfAbsent with tags", 1, func(ctx context.Context) { _, _ = c.SetIfAbsent(ctx, "k8", "v", tiered.Tags("t")) }},
		{"GetOrSetValue", 1, func(ctx context.Context) { _, _ = c.GetOrSetValue(ctx, "k9", "v") }},
		{"Set", 1, func(ctx context.Context) { _ = c.Set(ctx, "s", "v") }},
		{"Set with tags", 1, func(ctx context.Context) { _ = c.Set(ctx, "s2", "v", tiered.Tags("t")) }},
		{"SetMany", 3, func(ctx context.Context) {
			_, _ = c.SetMany(ctx, []tiered.Item[string]{{Key: "s3"}, {Key: "s4"}, {Key: "s5", Tags: []string{"t"}}})
		}},
		{"Delete", 1, func(ctx context.Context) { _, _ = c.Delete(ctx, "d") }},
		{"DeleteMany", 5, func(ctx context.Context) { _, _ = c.DeleteMany(ctx, keys) }},
		{"InvalidateTags", 2, func(ctx context.Context) { _ = c.InvalidateTags(ctx, "t1", "t2") }},
		{"a read of what could not be deleted", 1, func(ctx context.Context) { _, _ = c.Get(ctx, "d") }},
		{"Clear", 1, func(ctx context.Context) { _, _ = c.Clear(ctx, "") }},
	} {
		before := failuresOf(client)
		call.call(t.Context())
		if got := failuresOf(client).since(before); got != (failures{remote: call.want}) {
			t.Errorf("%s: %+v, want %d of the remote tier", call.name, got, call.want)
		}
	}
}

// A mistake of a caller, or the end of its context, is no failure of Redis.
func TestStats_doesNotBlameRedisForMistakesOfCallers(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{Namespace: namespace(t)})
	c := newCache[string](t, client, "c", tiered.CacheOptions{MaxValueBytes: 100})
	numbers := newCache[int64](t, client, "numbers", tiered.CacheOptions{})
	check(t, numbers.Set(t.Context(), "most", 1<<63-1))
	small := newCache[int8](t, client, "small", tiered.CacheOptions{})
	check(t, small.Set(t.Context(), "n", 127))
	check(t, c.Set(t.Context(), "text", "text"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel2 := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel2()
	before := failuresOf(client)
	for _, ctx := range []context.Context{ended, late} {
		_, _ = c.Get(ctx, "a")
		_, _ = c.GetOrSet(ctx, "b", constant("v"))
		_, _ = c.GetMany(ctx, []string{"c", "d"})
		_, _ = c.Exists(ctx, "e")
		_, _ = c.TTL(ctx, "f")
		_ = c.Set(ctx, "g", "v")
		_, _ = c.SetMany(ctx, []tiered.Item[string]{{Key: "h"}})
		_, _ = c.SetIfAbsent(ctx, "i", "v")
		_, _ = c.Delete(ctx, "j")
		_ = c.InvalidateTags(ctx, "t")
		_, _ = numbers.Increment(ctx, "k", 1)
		_, _ = c.Count(ctx, "")
	}
	ctx, long := t.Context(), strings.Repeat("x", 200)
	_ = c.Set(ctx, "k", long)
	_, _ = c.SetIfAbsent(ctx, "k", long)
	_ = c.Set(ctx, "", "v")
	_, _ = c.Get(ctx, strings.Repeat("k", 2000))
	_, _ = c.Get(ctx, "there is none")
	_, _ = numbers.Increment(ctx, "most", 1)
	_, _ = small.Increment(ctx, "n", 1)
	if got := failuresOf(client).since(before); got != (failures{}) {
		t.Errorf("%+v", got)
	}
}

// A failure that has a counter of its own is counted there alone.
func TestStats_countsAFailureUnderOneKind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := coherent(t, rdb, tiered.Options{Namespace: "ns"})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	ctx := t.Context()
	for _, row := range []struct {
		name string
		want failures
		call func(t *testing.T)
	}{
		{"an unreadable record, Get", failures{decode: 1}, func(t *testing.T) {
			check(t, rdb.Set(ctx, "ns:c:bad", "garbage", 0).Err())
			_, err := c.Get(ctx, "bad")
			if decode := (*tiered.DecodeError)(nil); !errors.As(err, &decode) {
				t.Error(err)
			}
		}},
		{"an unreadable record, GetOrSet", failures{decode: 1}, func(t *testing.T) {
			if _, err := c.GetOrSet(ctx, "bad", constant("v")); err != nil {
				t.Error(err)
			}
		}},
		{"another type", failures{remote: 1}, func(t *testing.T) {
			check(t, rdb.RPush(ctx, "ns:c:list", "x").Err())
			_, err := c.Get(ctx, "list")
			wantErr(t, err, tiered.ErrWrongType)
		}},
		{"a fill that is refused", failures{store: 1}, func(t *testing.T) {
			_, err := c.GetOrSet(ctx, "full", func(ctx context.Context) (string, error) {
				return "v", rdb.ConfigSet(ctx, "maxmemory", "1").Err()
			})
			check(t, err)
			check(t, rdb.ConfigSet(ctx, "maxmemory", "0").Err())
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := failuresOf(client)
			row.call(t)
			if got := failuresOf(client).since(before); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}
