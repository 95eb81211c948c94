package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/viccon/sturdyc"
)

func sturdycSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("sturdyc", "github.com/viccon/sturdyc", "Both tiers: its distributed storage is Redis by go-redis, in encoding/json. No write but by a load."),
		Local: true, Remote: true, Open: openSturdyc[V],
	}
}

// sturdycCache is sturdyc with a distributed storage over Redis, the interface that its README tells to implement.
//
// Fairness: shards hold about 1,000 entries and a tenth is evicted when one is full, as in the README's first example. Early
// refreshes and missing records are off, its default. Continuous evictions are off, which the README calls a slight gain:
// their goroutine can never be stopped and would keep the whole cache alive while the next library is measured. Get asks
// sturdyc's own Get first, as one does for a local hit, and then the storage by GetOrFetch.
//
// What it cannot do: do without its local tier; write to the storage but by a load, after which a goroutine writes that
// nobody can wait for (so there is no Set and no Wait); delete in the storage (Delete here is a DEL and sturdyc's Delete,
// what its user would write); have a TTL for one entry; choose the storage's encoding, which is encoding/json, also of []byte. An
// error of Redis is a miss. It promises nothing to other instances, whose copies live until their TTL ends.
type sturdycCache[V any] struct {
	cache   *sturdyc.Client[V]
	storage *sturdycStorage
}

func openSturdyc[V any](ctx context.Context, c Config) (Cache[V], error) {
	if !c.Local {
		return nil, fmt.Errorf("sturdyc: %w: never without the local one", ErrTiers)
	}
	if c.Entries <= 0 || c.Entries > math.MaxInt32 || c.TTL <= 0 { // sturdyc would panic
		return nil, fmt.Errorf("sturdyc: Entries is %d and TTL %v, must be positive and Entries at most %d", c.Entries, c.TTL, math.MaxInt32)
	}
	rdb, err := dial(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("sturdyc: %w", err)
	}
	const perShard, evicted = 1000, 10
	shards := max(1, int(c.Entries)/perShard)
	storage := &sturdycStorage{rdb: rdb, prefix: c.prefix(), ttl: c.TTL}
	return &sturdycCache[V]{
		cache:   sturdyc.New[V](int(c.Entries), shards, c.TTL, evicted, sturdyc.WithNoContinuousEvictions(), sturdyc.WithDistributedStorage(storage)),
		storage: storage,
	}, nil
}

func (s *sturdycCache[V]) Get(ctx context.Context, key string) (V, error) {
	if v, ok := s.cache.Get(key); ok {
		return v, nil
	}
	v, err := s.cache.GetOrFetch(ctx, key, sturdycNothing[V])
	if err != nil && errors.Is(err, sturdyc.ErrNotFound) {
		err = ErrMiss
	}
	return v, err
}

func (s *sturdycCache[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	return s.cache.GetOrFetch(ctx, key, load)
}

func (s *sturdycCache[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	return s.cache.GetOrFetchBatch(ctx, keys, sturdycKey, sturdycNone[V])
}

// sturdycNothing, sturdycNone: the source that has nothing, for reads of the cache alone.
func sturdycNothing[V any](context.Context) (V, error) { return *new(V), sturdyc.ErrNotFound }

func sturdycNone[V any](context.Context, []string) (map[string]V, error) { return nil, nil }

func sturdycKey(id string) string { return id }

func (s *sturdycCache[V]) Delete(ctx context.Context, key string) error {
	err := s.storage.rdb.Del(ctx, s.storage.prefix+key).Err()
	s.cache.Delete(key)
	return err
}

func (s *sturdycCache[V]) Forget(_ context.Context, key string) error {
	s.cache.Delete(key)
	return nil
}

// Close leaves it to writes that are under way to find the connection closed.
func (s *sturdycCache[V]) Close() error { return s.storage.rdb.Close() }

// sturdycStorage is Redis as sturdyc wants it. There is no way to report an error: what cannot be read is missing, what
// cannot be written is lost.
type sturdycStorage struct {
	rdb    *redis.Client
	prefix string
	ttl    time.Duration
}

func (s *sturdycStorage) Get(ctx context.Context, key string) ([]byte, bool) {
	data, err := s.rdb.Get(ctx, s.prefix+key).Bytes()
	return data, err == nil
}

func (s *sturdycStorage) Set(ctx context.Context, key string, value []byte) {
	_ = s.rdb.Set(ctx, s.prefix+key, value, s.ttl).Err() // the library's interface has no place for an error; rows that then miss drop out
}

func (s *sturdycStorage) GetBatch(ctx context.Context, keys []string) map[string][]byte {
	found := make(map[string][]byte, len(keys))
	values, err := s.rdb.MGet(ctx, prefixed(s.prefix, keys)...).Result()
	if err != nil {
		return found
	}
	for i, v := range values {
		if text, ok := v.(string); ok {
			found[keys[i]] = []byte(text)
		}
	}
	return found
}

func (s *sturdycStorage) SetBatch(ctx context.Context, records map[string][]byte) {
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for key, value := range records {
			p.Set(ctx, s.prefix+key, value, s.ttl)
		}
		return nil
	})
}
