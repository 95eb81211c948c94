package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Yiling-J/theine-go"
)

func theineSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("theine", "github.com/Yiling-J/theine-go", "Local tier only, its loading cache, with TTL."),
		Local: true, Open: openTheine[V],
	}
}

// bareTheine is theine's loading cache, its means against stampedes.
//
// Fairness: the loader belongs to the cache and not to the call, so the call's travels in the context, but only once theine
// has said that it holds nothing: a hit is theine's Get and nothing else. A miss asks twice, which is less than a
// microsecond. Doorkeeper and entry pool are off, its default.
//
// What it cannot do: a loader for each call; several loads at once in one shard, whose lock a loader holds; batches; a
// remote tier that is up to date (its secondary cache is experimental, and its Delete does not reach it). It promises nothing
// to other instances.
type bareTheine[V any] struct {
	cache *theine.LoadingCache[string, V]
	ttl   time.Duration
}

// errNoLoad is the answer of theine's loader to a call that brought none.
var errNoLoad = errors.New("no loader")

type theineLoad struct{} // the context's key of the load

func openTheine[V any](_ context.Context, c Config) (Cache[V], error) {
	if !c.Local {
		return nil, fmt.Errorf("theine: %w: local only", ErrTiers)
	}
	ttl := c.TTL
	cache, err := theine.NewBuilder[string, V](c.Entries).Loading(func(ctx context.Context, _ string) (theine.Loaded[V], error) {
		load, ok := ctx.Value(theineLoad{}).(func(context.Context) (V, error))
		if !ok {
			return theine.Loaded[V]{}, errNoLoad
		}
		v, err := load(ctx)
		return theine.Loaded[V]{Value: v, Cost: 1, TTL: ttl}, err
	}).Build()
	if err != nil {
		return nil, fmt.Errorf("theine: %w", err)
	}
	return &bareTheine[V]{cache: cache, ttl: ttl}, nil
}

func (t *bareTheine[V]) Get(ctx context.Context, key string) (V, error) {
	v, err := t.cache.Get(ctx, key)
	if err != nil && errors.Is(err, errNoLoad) {
		err = ErrMiss
	}
	return v, err
}

func (t *bareTheine[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	v, err := t.cache.Get(ctx, key)
	if err == nil || !errors.Is(err, errNoLoad) {
		return v, err
	}
	ctx = context.WithValue(ctx, theineLoad{}, load)
	for err != nil && errors.Is(err, errNoLoad) { // it may have joined one who only looked
		v, err = t.cache.Get(ctx, key)
	}
	return v, err
}

func (t *bareTheine[V]) Set(_ context.Context, key string, v V) error {
	if !t.cache.SetWithTTL(key, v, 1, t.ttl) {
		return ErrDropped
	}
	return nil
}

func (t *bareTheine[V]) Delete(_ context.Context, key string) error {
	t.cache.Delete(key)
	return nil
}

func (t *bareTheine[V]) Wait() { t.cache.Wait() }

func (t *bareTheine[V]) Close() error {
	t.cache.Close()
	return nil
}
