package tiered_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

type wrapper struct{ redis.UniversalClient }

func TestClientsThatReadElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	cached := redis.NewClient(&redis.Options{ClientSideCacheConfig: &redis.ClientSideCacheConfig{}})
	ring := redis.NewRing(&redis.RingOptions{})
	replicas := redis.NewClusterClient(&redis.ClusterOptions{ReadOnly: true})
	t.Cleanup(func() { _ = errors.Join(cached.Close(), ring.Close(), replicas.Close()) })
	for name, rdb := range map[string]redis.UniversalClient{"client-side cache": cached, "Ring": ring, "replicas": replicas, "nothing": (*redis.Client)(nil)} {
		for _, rdb := range []redis.UniversalClient{rdb, wrapper{rdb}, &wrapper{wrapper{rdb}}} {
			_, err := tiered.New(rdb, tiered.Options{})
			if fault := (*tiered.OptionError)(nil); !errors.As(err, &fault) || fault.Field != "rdb" || !errors.Is(err, tiered.ErrInvalidOptions) {
				t.Errorf("%s in a %T: %v", name, rdb, err)
			}
		}
	}
}

func TestReplicaServesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	if err := s.Client(t).Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	c, err := tiered.New(s.Client(t), tiered.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	cache, err := tiered.NewCache[string](c, "c", tiered.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(t.Context(), "k"); !errors.Is(err, tiered.ErrInvalidOptions) || !errors.Is(err, tiered.ErrRemoteUnavailable) {
		t.Errorf("Get: %v", err)
	}
	if err := c.Ready(t.Context()); !errors.Is(err, tiered.ErrInvalidOptions) {
		t.Errorf("Ready: %v", err)
	}
}

func TestPanicsOfOptionsEndNoProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	told := make(chan struct{}, 64)
	c, err := tiered.New(s.Client(t), tiered.Options{
		Local:         local.Options{MaxBytes: 8 << 20, Cost: func(string, any) int64 { panic("cost") }},
		OnStateChange: func(invalidation.Change) { told <- struct{}{}; panic("state") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	cache, err := tiered.NewCache[string](c, "c", tiered.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := cache.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { return "v", nil })
	if v != "v" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	<-told
	<-told // it goes on after a panic
}
