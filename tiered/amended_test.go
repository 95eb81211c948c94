package tiered_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// Increment, Expire, SetIfAbsent and GetOrSetValue, which depend on the entry that is there, leave
// it as it is when they fail: other instances count on their counters, and on having been the
// first.
func TestIncrement_leavesTheEntryWhenItFails(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *tiered.Cache[int64]) error{
		"Increment": func(ctx context.Context, c *tiered.Cache[int64]) error { return errorOf(c.Increment(ctx, "n", 1)) },
		"Expire": func(ctx context.Context, c *tiered.Cache[int64]) error {
			return errorOf(c.Expire(ctx, "n", time.Minute))
		},
		"SetIfAbsent":   func(ctx context.Context, c *tiered.Cache[int64]) error { return errorOf(c.SetIfAbsent(ctx, "n", 7)) },
		"GetOrSetValue": func(ctx context.Context, c *tiered.Cache[int64]) error { return errorOf(c.GetOrSetValue(ctx, "n", 7)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			p := redistest.NewProxy(t, shared.Addr)
			o := tiered.Options{Namespace: ns, RetryBackoff: 20 * time.Millisecond, MaxStaleness: 200 * time.Millisecond}
			behind := coherent(t, shared.Client(t, func(r *redis.Options) { r.Addr = p.Addr() }), o)
			c := newCache[int64](t, behind, "c", tiered.CacheOptions{})
			other := remoteOnly[int64](t, ns, "c")
			check(t, other.Set(t.Context(), "n", 41))
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			wantErr(t, change(gone, c), context.Canceled)
			p.Refuse(true)
			p.CutAll()
			eventually(t, "Redis is out of reach", func() bool { return errors.Is(change(t.Context(), c), tiered.ErrRemoteUnavailable) })
			if n := behind.Stats().Pending; n != 0 {
				t.Errorf("%d invalidations are pending", n)
			}
			p.Refuse(false)
			ready(t, behind)
			wantGet(t, other, "n", 41)
		})
	}
}

// Channels belong to the server, whatever the database; instances of one database ignore what
// those of another announce.
func TestNamespace_isApartInEachDatabase(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := tiered.Options{Namespace: "same", MaxStaleness: 10 * time.Second} // a busy machine is no silence
	var clients []*tiered.Client
	var caches []*tiered.Cache[int64]
	for db := range 2 {
		client := coherent(t, server.Client(t, func(r *redis.Options) { r.DB = db }), o)
		clients = append(clients, client)
		caches = append(caches, newCache[int64](t, client, "c", tiered.CacheOptions{}))
	}
	for round := range int64(20) {
		for i, c := range caches {
			check(t, c.Set(t.Context(), "k", 100*int64(i)+round))
		}
		for i, c := range caches {
			wantGet(t, c, "k", 100*int64(i)+round)
		}
	}
	for i, client := range clients {
		if s := client.Stats(); len(s.Drops) != 1 || s.Invalidations > 20 || s.LocalHits != 20 {
			t.Errorf("database %d: drops %v, %d messages, %d local hits", i, s.Drops, s.Invalidations, s.LocalHits)
		}
	}
}

// While nothing is heard of changes, remote reads ask for the floors first. A caller with less
// patience than RemoteTimeout does not wait for them.
func TestGet_doesNotQueueForFloors(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const timeout = 3 * time.Second
	client := coherent(t, server.Client(t), tiered.Options{MaxStaleness: 100 * time.Millisecond, RemoteTimeout: timeout, BreakerFailures: 1000})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	server.Pause()
	defer server.Resume()
	eventually(t, "the silence is noticed", func() bool { return !client.Stats().Coherent })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := c.Get(ctx, "absent"); err == nil {
				t.Error("Get of a paused server succeeds")
			}
			if took := time.Since(began); took > timeout {
				t.Errorf("Get took %v, with 50 ms to live", took)
			}
		})
		wg.Go(func() {
			began := time.Now()
			if got, err := c.GetOrSet(t.Context(), "k", constant[int64](7)); err != nil || got != 7 {
				t.Errorf("GetOrSet = %d, %v", got, err)
			}
			if took := time.Since(began); took > 4*timeout {
				t.Errorf("GetOrSet took %v, want little more than a timeout or two", took)
			}
		})
	}
	wg.Wait()
}
