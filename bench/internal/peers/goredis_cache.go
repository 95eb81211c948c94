package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"
)

func goRedisCacheSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("go-redis/cache", "github.com/go-redis/cache/v9", "Both tiers: its TinyLFU before go-redis, MessagePack with S2, its default."),
		Local: true, Remote: true, Open: openGoRedisCache[V],
	}
}

// goRedisCache is go-redis/cache as its README's quick start has it: TinyLFU as the local cache, Set and Get of an item,
// Once to load.
//
// Fairness: the local tier holds encoded bytes, and so each hit decodes them: the library's own design, which gives every caller
// a value of his own. Once takes a function of another type than a load has, so every call makes a closure, as every user's
// does. Local and remote TTL are the same; the library adds up to ten seconds to the local one. The namespace is added where
// go-redis/cache calls Redis, so that local hits do not pay for it.
//
// What it cannot do: batches; a TTL below a second. A second Set of a key leaves the first among TinyLFU's entries, beside
// the new one; when Redis refuses what was loaded, Once does not say so. It promises nothing to other instances, whose copies
// live until their TTL ends.
type goRedisCache[V any] struct {
	cache *cache.Cache
	rdb   *redis.Client
	ttl   time.Duration
}

func openGoRedisCache[V any](ctx context.Context, c Config) (Cache[V], error) {
	if c.TTL < time.Second || c.Entries > math.MaxInt32 {
		return nil, fmt.Errorf("go-redis/cache: TTL is %v and Entries %d, must be at least %v and at most %d", c.TTL, c.Entries, time.Second, math.MaxInt32)
	}
	rdb, err := dial(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("go-redis/cache: %w", err)
	}
	o := &cache.Options{Redis: rdb}
	if prefix := c.prefix(); prefix != "" {
		o.Redis = namespaced{rdb: rdb, prefix: prefix}
	}
	if c.Local {
		o.LocalCache = cache.NewTinyLFU(int(c.Entries), c.TTL)
	}
	return &goRedisCache[V]{cache: cache.New(o), rdb: rdb, ttl: c.TTL}, nil
}

func (g *goRedisCache[V]) Get(ctx context.Context, key string) (V, error) {
	var v V
	err := g.cache.Get(ctx, key, &v)
	if err != nil && errors.Is(err, cache.ErrCacheMiss) {
		err = ErrMiss
	}
	return v, err
}

func (g *goRedisCache[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	var v V
	err := g.cache.Once(&cache.Item{
		Ctx: ctx, Key: key, Value: &v, TTL: g.ttl,
		Do: func(item *cache.Item) (any, error) { return load(item.Context()) },
	})
	return v, err
}

func (g *goRedisCache[V]) Set(ctx context.Context, key string, v V) error {
	return g.cache.Set(&cache.Item{Ctx: ctx, Key: key, Value: v, TTL: g.ttl})
}

func (g *goRedisCache[V]) Delete(ctx context.Context, key string) error {
	return g.cache.Delete(ctx, key)
}

func (g *goRedisCache[V]) Forget(_ context.Context, key string) error {
	g.cache.DeleteFromLocalCache(key)
	return nil
}

func (g *goRedisCache[V]) Close() error { return g.rdb.Close() }

// namespaced is a client as go-redis/cache wants it, which puts a prefix before each key.
type namespaced struct {
	rdb    *redis.Client
	prefix string
}

func (n namespaced) Get(ctx context.Context, key string) *redis.StringCmd {
	return n.rdb.Get(ctx, n.prefix+key)
}

func (n namespaced) Set(ctx context.Context, key string, value any, ttl time.Duration) *redis.StatusCmd {
	return n.rdb.Set(ctx, n.prefix+key, value, ttl)
}

// SetXX and SetNX are there for the interface; no item here asks for them.
func (n namespaced) SetXX(ctx context.Context, key string, value any, ttl time.Duration) *redis.BoolCmd {
	return n.rdb.SetXX(ctx, n.prefix+key, value, ttl)
}

func (n namespaced) SetNX(ctx context.Context, key string, value any, ttl time.Duration) *redis.BoolCmd {
	return n.rdb.SetNX(ctx, n.prefix+key, value, ttl)
}

func (n namespaced) Del(ctx context.Context, keys ...string) *redis.IntCmd {
	return n.rdb.Del(ctx, prefixed(n.prefix, keys)...)
}
