package peers

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

const goRedisModule = "github.com/redis/go-redis/v9"

func goRedisSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:   subject("go-redis", goRedisModule, "Remote tier only: GET, SET and encoding/json; get-or-load by hand, without stampede protection."),
		Remote: true, Open: openGoRedis[V]("go-redis", unlessRaw[V](standardJSON[V]{})),
	}
}

func goRedisV2Subject[V any]() Subject[V] {
	return Subject[V]{
		Info:   subject("go-redis+json/v2", goRedisModule, "Remote tier only: GET, SET and the decoding that doppio has: the baseline of what goes over the wire."),
		Remote: true, Open: openGoRedis[V]("go-redis+json/v2", unlessRaw[V](newDoppioJSON[V]())),
	}
}

// remote is Redis by go-redis and an encoding: the floor that a remote hit can come down to over this client.
//
// Fairness: no cache around it, so nothing but the commands is paid for: no lease, no lanes, no record's header. Bytes are
// stored raw and, as go-redis allows, not copied when read.
//
// What it cannot do: a local tier; stampede protection. Get-or-load is GET, the load, SET. It is coherent, for it holds
// nothing; but a load that began before a change stores over it.
type remote[V any] struct {
	rdb      *redis.Client
	encoding encoding[V]
	prefix   string
	ttl      time.Duration
}

func newRemote[V any](ctx context.Context, c Config, e encoding[V]) (*remote[V], error) {
	rdb, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	return &remote[V]{rdb: rdb, encoding: e, prefix: c.prefix(), ttl: c.TTL}, nil
}

func openGoRedis[V any](name string, e encoding[V]) func(ctx context.Context, c Config) (Cache[V], error) {
	return func(ctx context.Context, c Config) (Cache[V], error) {
		if c.Local {
			return nil, fmt.Errorf("%s: %w: remote only", name, ErrTiers)
		}
		r, err := newRemote(ctx, c, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return r, nil
	}
}

func (r *remote[V]) Get(ctx context.Context, key string) (V, error) {
	data, err := r.rdb.Get(ctx, r.prefix+key).Bytes()
	if err != nil {
		if errors.Is(err, redis.Nil) {
			err = ErrMiss
		}
		return *new(V), err
	}
	return r.encoding.decode(data)
}

func (r *remote[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	return loadByHand[V](ctx, r, key, load)
}

func (r *remote[V]) Set(ctx context.Context, key string, v V) error {
	data, err := r.encoding.encode(v)
	if err != nil {
		return err
	}
	return r.rdb.Set(ctx, r.prefix+key, data, r.ttl).Err()
}

func (r *remote[V]) Delete(ctx context.Context, key string) error {
	return r.rdb.Del(ctx, r.prefix+key).Err()
}

func (r *remote[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	found := make(map[string]V, len(keys))
	return found, r.addMany(ctx, keys, found)
}

// addMany adds those of keys that Redis has, by one MGET.
func (r *remote[V]) addMany(ctx context.Context, keys []string, found map[string]V) error {
	values, err := r.rdb.MGet(ctx, prefixed(r.prefix, keys)...).Result()
	if err != nil {
		return err
	}
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			continue // there is none
		}
		// The text is this call's own, so its bytes may be used as they are, which is what Bytes does after GET.
		if found[keys[i]], err = r.encoding.decode(unsafe.Slice(unsafe.StringData(text), len(text))); err != nil {
			return err
		}
	}
	return nil
}

func (r *remote[V]) Close() error { return r.rdb.Close() }

// prefixed puts prefix before all keys.
func prefixed(prefix string, keys []string) []string {
	if prefix == "" {
		return keys
	}
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = prefix + k
	}
	return out
}
