package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

func ristrettoSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("ristretto", "github.com/dgraph-io/ristretto/v2", "Local tier only, string keys, with TTL; get-or-load by hand, without stampede protection."),
		Local: true, Open: openRistretto[V],
	}
}

// newRistretto makes one as its documentation advises: ten counters for each entry that fits, buffers of 64. Entries cost
// one each, and so what ristretto itself needs for an entry must not count beside them.
func newRistretto[V any](c Config) (*ristretto.Cache[string, V], error) {
	cache, err := ristretto.NewCache(&ristretto.Config[string, V]{NumCounters: 10 * c.Entries, MaxCost: c.Entries, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		return nil, fmt.Errorf("ristretto: %w", err)
	}
	return cache, nil
}

// bareRistretto is ristretto and nothing around it: the floor that a local hit can come down to with this engine.
//
// Fairness: it has its metrics off, its default. Every entry has a TTL, for which Get reads the clock: the work that a
// cache with TTLs has to do. Set is applied later, by another goroutine, and may be dropped under load; Wait waits for it.
//
// What it cannot do: a remote tier, get-or-load (here Get and SetWithTTL by hand: concurrent misses all load), batches. Of keys
// it keeps two hashes and not the key. It promises nothing to other instances.
type bareRistretto[V any] struct {
	cache *ristretto.Cache[string, V]
	ttl   time.Duration
}

func openRistretto[V any](_ context.Context, c Config) (Cache[V], error) {
	if !c.Local {
		return nil, fmt.Errorf("ristretto: %w: local only", ErrTiers)
	}
	cache, err := newRistretto[V](c)
	if err != nil {
		return nil, err
	}
	return &bareRistretto[V]{cache: cache, ttl: c.TTL}, nil
}

func (r *bareRistretto[V]) Get(_ context.Context, key string) (V, error) {
	v, ok := r.cache.Get(key)
	if !ok {
		return v, ErrMiss
	}
	return v, nil
}

func (r *bareRistretto[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	if v, ok := r.cache.Get(key); ok {
		return v, nil
	}
	v, err := load(ctx)
	if err == nil {
		r.cache.SetWithTTL(key, v, 1, r.ttl)
	}
	return v, err
}

func (r *bareRistretto[V]) Set(_ context.Context, key string, v V) error {
	if !r.cache.SetWithTTL(key, v, 1, r.ttl) {
		return ErrDropped
	}
	return nil
}

func (r *bareRistretto[V]) Delete(_ context.Context, key string) error {
	r.cache.Del(key)
	return nil
}

func (r *bareRistretto[V]) Wait() { r.cache.Wait() }

func (r *bareRistretto[V]) Close() error {
	r.cache.Close()
	return nil
}
