package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

const doppioModule = "github.com/doppio-cache/doppio"

func doppioSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("doppio", doppioModule, "Both tiers, local tier in ristretto, the default; instances are coherent within a bound."),
		Local: true, Remote: true, Open: openDoppio[V](local.Ristretto),
	}
}

func doppioOtterSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("doppio/otter", doppioModule, "Both tiers, local tier in otter; instances are coherent within a bound."),
		Local: true, Remote: true, Open: openDoppio[V](local.Otter),
	}
}

// doppio is this repository's library with its defaults: GetOrSet reads local, remote, then loads under a lease of the fleet;
// Set and Delete are announced to all instances.
//
// Fairness: nothing is tuned but what Config says, and its client is that of all others who have one: see dial. Its namespace and its cache's name cost it longer keys than others have.
// It promises coherence, which none of the others does but rueidis, so each of its local hits checks the time and the
// table of invalidations, and each change is a script that writes to the lane as well: the price is in its figures.
// Without the local tier means with LocalTTL at its least: what is read is still put local, but never served, which costs
// doppio a little.
//
// What it cannot do: drop a local copy alone.
type doppio[V any] struct {
	rdb    *redis.Client
	client *tiered.Client
	cache  *tiered.Cache[V]
}

func openDoppio[V any](engine local.EngineKind) func(ctx context.Context, c Config) (Cache[V], error) {
	return func(ctx context.Context, c Config) (Cache[V], error) {
		rdb, err := dial(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("doppio: %w", err)
		}
		client, err := tiered.New(rdb, tiered.Options{Namespace: c.Namespace, Local: local.Options{MaxEntries: c.Entries, Engine: engine}})
		if err != nil {
			return nil, closing(rdb, err)
		}
		d := &doppio[V]{rdb: rdb, client: client}
		o := tiered.CacheOptions{TTL: c.TTL}
		if !c.Local {
			o.LocalTTL = time.Nanosecond
		}
		if d.cache, err = tiered.NewCache[V](client, "bench", o); err == nil {
			err = client.Ready(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		return d, nil
	}
}

func (d *doppio[V]) Get(ctx context.Context, key string) (V, error) {
	v, err := d.cache.Get(ctx, key)
	if err != nil && errors.Is(err, tiered.ErrNotFound) {
		err = ErrMiss
	}
	return v, err
}

func (d *doppio[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	return d.cache.GetOrSet(ctx, key, load)
}

func (d *doppio[V]) Set(ctx context.Context, key string, v V) error {
	return d.cache.Set(ctx, key, v)
}

func (d *doppio[V]) Delete(ctx context.Context, key string) error {
	_, err := d.cache.Delete(ctx, key)
	return err
}

func (d *doppio[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	return d.cache.GetMany(ctx, keys)
}

func (d *doppio[V]) Close() error {
	return errors.Join(d.client.Close(context.Background()), d.rdb.Close())
}
