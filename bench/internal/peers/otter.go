package peers

import (
	"context"
	"fmt"
	"math"

	"github.com/maypok86/otter/v2"
)

func otterSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("otter", "github.com/maypok86/otter/v2", "Local tier only, with TTL from the last write; its own get-or-load with stampede protection."),
		Local: true, Open: openOtter[V],
	}
}

// bareOtter is otter with a bound of entries and a TTL that each write begins anew, as in its documentation of Options.
//
// Fairness: statistics and refreshes are off, its default. Sets are applied at once. Its loader is an interface; a function
// fits into one without an allocation.
//
// What it cannot do: a remote tier; a TTL for one call without asking a calculator of the whole cache. It promises nothing
// to other instances.
type bareOtter[V any] struct {
	cache *otter.Cache[string, V]
}

// otterLoad makes a load an otter.Loader. As a function it is a pointer, so no call allocates.
type otterLoad[V any] func(context.Context) (V, error)

func (l otterLoad[V]) Load(ctx context.Context, _ string) (V, error)        { return l(ctx) }
func (l otterLoad[V]) Reload(ctx context.Context, _ string, _ V) (V, error) { return l(ctx) }

func openOtter[V any](_ context.Context, c Config) (Cache[V], error) {
	if !c.Local {
		return nil, fmt.Errorf("otter: %w: local only", ErrTiers)
	}
	if c.Entries <= 0 || c.Entries > math.MaxInt32 {
		return nil, fmt.Errorf("otter: Entries is %d, must be from 1 to %d", c.Entries, math.MaxInt32)
	}
	cache, err := otter.New(&otter.Options[string, V]{MaximumSize: int(c.Entries), ExpiryCalculator: otter.ExpiryWriting[string, V](c.TTL)})
	if err != nil {
		return nil, fmt.Errorf("otter: %w", err)
	}
	return &bareOtter[V]{cache: cache}, nil
}

func (o *bareOtter[V]) Get(_ context.Context, key string) (V, error) {
	v, ok := o.cache.GetIfPresent(key)
	if !ok {
		return v, ErrMiss
	}
	return v, nil
}

func (o *bareOtter[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	return o.cache.Get(ctx, key, otterLoad[V](load))
}

func (o *bareOtter[V]) Set(_ context.Context, key string, v V) error {
	o.cache.Set(key, v)
	return nil
}

func (o *bareOtter[V]) Delete(_ context.Context, key string) error {
	o.cache.Invalidate(key)
	return nil
}

func (o *bareOtter[V]) Close() error {
	o.cache.StopAllGoroutines()
	return nil
}
