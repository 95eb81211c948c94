package inspect

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

const patience = time.Minute

var (
	shared  *redistest.Server
	cluster *redistest.Cluster
	older   *redistest.Cluster // without sharded pub/sub, as before Redis 7
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) {
		shared = redistest.Start(h)
		cluster = redistest.StartCluster(h, 3)
		older = redistest.StartCluster(h, 3, redistest.WithArgs("--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", ""))
	}))
}

// deployment is a Redis of one kind.
type deployment struct {
	name   string
	client func(t *testing.T) redis.UniversalClient
}

func deployments() []deployment {
	return []deployment{
		{"standalone", func(t *testing.T) redis.UniversalClient { return shared.Client(t) }},
		{"cluster", func(t *testing.T) redis.UniversalClient { return cluster.Client(t) }},
		{"cluster without shards", func(t *testing.T) redis.UniversalClient { return older.Client(t) }},
	}
}

// instance gives a client of the library that is ready, in a namespace of its own.
func instance(t *testing.T, rdb redis.UniversalClient, namespace string, lanes int) *tiered.Client {
	t.Helper()
	c, err := tiered.New(rdb, tiered.Options{Namespace: namespace, Lanes: lanes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func cacheOf[V any](t *testing.T, c *tiered.Client, name string, o tiered.CacheOptions) *tiered.Cache[V] {
	t.Helper()
	cache, err := tiered.NewCache[V](c, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
