package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

func rueidisSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("rueidis", "github.com/redis/rueidis", "Both tiers: its client-side cache (RESP3 tracking), whose hits are decoded by encoding/json; get-or-load by hand."),
		Local: true, Remote: true, Open: openRueidis[V],
	}
}

// rueidisCache is rueidis with DoCache, its client-side cache, which the server keeps up to date by RESP3's tracking.
//
// Fairness: all options are the library's defaults: four connections with automatic pipelining, so PoolSize means nothing to
// it. Local copies are the server's replies, bounded in bytes (128 MiB for each connection) and not in entries, and are decoded
// on each hit, with encoding/json as its DecodeJSON does. It has no namespace: the local tier's keys are Redis's, so every
// hit joins the two strings, about 2 % of it. Without the local tier, DoCache is Do: DisableCache, its own option.
//
// What it cannot do: get-or-load (here DoCache, the load, SET; its sibling rueidisaside adds locks, and over ten round
// trips a miss); drop a local copy alone. It promises that local copies are invalidated when the server says so, its own
// instance's changes included: a read at once after a change may see what was before. A connection that is half-open is
// noticed after about 11 s, and until then its copies are served.
type rueidisCache[V any] struct {
	client   rueidis.Client
	encoding encoding[V]
	prefix   string
	ttl      time.Duration
}

func openRueidis[V any](ctx context.Context, c Config) (Cache[V], error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{c.Addr}, SelectDB: c.DB, DisableCache: !c.Local})
	if err != nil {
		return nil, fmt.Errorf("rueidis: cannot reach Redis: %w", err)
	}
	if err := client.Do(ctx, client.B().Ping().Build()).Error(); err != nil {
		client.Close()
		return nil, fmt.Errorf("rueidis: cannot reach Redis: %w", err)
	}
	return &rueidisCache[V]{client: client, encoding: unlessRaw[V](standardJSON[V]{}), prefix: c.prefix(), ttl: c.TTL}, nil
}

func (r *rueidisCache[V]) Get(ctx context.Context, key string) (V, error) {
	data, err := r.client.DoCache(ctx, r.client.B().Get().Key(r.prefix+key).Cache(), r.ttl).AsBytes()
	if err != nil {
		if rueidis.IsRedisNil(err) {
			err = ErrMiss
		}
		return *new(V), err
	}
	return r.encoding.decode(data)
}

func (r *rueidisCache[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	return loadByHand[V](ctx, r, key, load)
}

func (r *rueidisCache[V]) Set(ctx context.Context, key string, v V) error {
	data, err := r.encoding.encode(v)
	if err != nil {
		return err
	}
	return r.client.Do(ctx, r.client.B().Set().Key(r.prefix+key).Value(rueidis.BinaryString(data)).Px(r.ttl).Build()).Error()
}

func (r *rueidisCache[V]) Delete(ctx context.Context, key string) error {
	return r.client.Do(ctx, r.client.B().Del().Key(r.prefix+key).Build()).Error()
}

func (r *rueidisCache[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	full := prefixed(r.prefix, keys)
	replies, err := rueidis.MGetCache(r.client, ctx, r.ttl, full)
	if err != nil {
		return nil, err
	}
	found := make(map[string]V, len(keys))
	for i, k := range full {
		reply := replies[k]
		data, err := reply.AsBytes()
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err != nil {
			return found, err
		}
		if found[keys[i]], err = r.encoding.decode(data); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (r *rueidisCache[V]) Close() error {
	r.client.Close()
	return nil
}
