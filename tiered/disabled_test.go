package tiered_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// disabledClients give a disabled client without a Redis client, and with one that must not be used.
func disabledClients(t *testing.T) map[string]*tiered.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a disabled client dialed")
		return nil, errors.New("dialed")
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	fromConfig := tiered.DefaultConfig()
	fromConfig.Enabled = false
	open, err := tiered.Open(fromConfig)
	check(t, err)
	t.Cleanup(func() { closeClient(t, open) })
	return map[string]*tiered.Client{
		"nil": newClient(t, nil, tiered.Options{Disabled: true}), "unused": newClient(t, rdb, tiered.Options{Disabled: true}), "config": open,
	}
}

func TestDisabled_storesNothingAndRunsEveryLoad(t *testing.T) {
	t.Parallel()
	for name, client := range disabledClients(t) {
		t.Run(name, func(t *testing.T) {
			check(t, client.Ready(t.Context()))
			c := newCache[int64](t, client, "c", tiered.CacheOptions{NegativeTTL: tiered.NoExpiration, FailSafe: 1})
			ctx := t.Context()
			check(t, c.Set(ctx, "k", 1, tiered.Tags("tag")))
			wantMissing(t, c, "k")
			if n, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: "k", Value: 1}, {Key: "", Value: 1}}); n != 1 || !errors.Is(err, tiered.ErrInvalidKey) {
				t.Errorf("SetMany = %d, %v", n, err)
			}
			if ok, err := c.SetIfAbsent(ctx, "k", 1); !ok || err != nil {
				t.Errorf("SetIfAbsent = %t, %v", ok, err)
			}
			if v, err := c.GetOrSetValue(ctx, "k", 5); v != 5 || err != nil {
				t.Errorf("GetOrSetValue = %d, %v", v, err)
			}
			for want := range int64(3) {
				if v, err := c.GetOrSet(ctx, "k", constant(want)); v != want || err != nil {
					t.Errorf("GetOrSet = %d, %v, want a load", v, err)
				}
				m, err := c.GetOrSetMany(ctx, []string{"k", "l"}, func(context.Context, []string) (map[string]int64, error) { return map[string]int64{"k": want}, nil })
				if m["k"] != want || len(m) != 1 || err != nil {
					t.Errorf("GetOrSetMany = %v, %v", m, err)
				}
			}
			if m, err := c.GetMany(ctx, []string{"k"}); len(m) != 0 || err != nil {
				t.Errorf("GetMany = %v, %v", m, err)
			}
			if found, err := c.Delete(ctx, "k"); found || err != nil {
				t.Errorf("Delete = %t, %v", found, err)
			}
			if n, err := c.DeleteMany(ctx, []string{"k"}); n != 0 || err != nil {
				t.Errorf("DeleteMany = %d, %v", n, err)
			}
			if found, err := c.Exists(ctx, "k"); found || err != nil {
				t.Errorf("Exists = %t, %v", found, err)
			}
			if m, err := c.ExistsMany(ctx, []string{"k"}); len(m) != 1 || m["k"] || err != nil {
				t.Errorf("ExistsMany = %v, %v", m, err)
			}
			if n, err := c.Clear(ctx, ""); n != 0 || err != nil {
				t.Errorf("Clear = %d, %v", n, err)
			}
			if n, err := c.Count(ctx, ""); n != 0 || err != nil {
				t.Errorf("Count = %d, %v", n, err)
			}
			if n, err := c.Increment(ctx, "k", 3); n != 3 || err != nil {
				t.Errorf("Increment = %d, %v", n, err)
			}
			_, err := c.TTL(ctx, "k")
			wantErr(t, err, tiered.ErrNotFound)
			if found, err := c.Expire(ctx, "k", 1); found || err != nil {
				t.Errorf("Expire = %t, %v", found, err)
			}
			check(t, c.InvalidateTags(ctx, "tag"))
			for name, err := range perKey(ctx, c, "") {
				if !errors.Is(err, tiered.ErrInvalidKey) {
					t.Errorf("%s with a bad key: %v", name, err)
				}
			}
			if s := client.Stats(); s.Loads != 6 || s.LocalHits+s.RemoteHits != 0 || len(s.Caches) != 1 {
				t.Errorf("stats: %+v", s.CacheStats)
			}
			closeClient(t, client)
			wantClosed(t, client, c)
		})
	}
}

// A disabled client cannot tell which load began before a change, so no caller may get another's.
func TestDisabled_sharesNoLoad(t *testing.T) {
	t.Parallel()
	c := newCache[string](t, newClient(t, nil, tiered.Options{Disabled: true}), "c", tiered.CacheOptions{})
	b := newBlocked(t, "old")
	old := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the old load runs", b.running)
	check(t, c.Set(t.Context(), "k", "new"))
	late := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", constant("new")) })
	if r := receive(t, "a caller after the change", late); r.v != "new" || r.err != nil {
		t.Errorf("got %q, %v", r.v, r.err)
	}
	b.letGo()
	receive(t, "the old caller", old)
}
