package peers

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
)

func byHandSubject[V any]() Subject[V] {
	return Subject[V]{
		Info:  subject("by hand", "github.com/dgraph-io/ristretto/v2", "ristretto before go-redis and the encoding that doppio has, as a good engineer would write it; instances are not coherent."),
		Local: true, Remote: true, Open: openByHand[V],
	}
}

// byHand is what is written where no library is used: ristretto, else GET, else the load and SET.
//
// Fairness: it is as short as can be, and so as fast: the same ristretto and the same go-redis as the subjects of these
// names. A change is written remote first, so that what failed is not served locally. It is the baseline of rows with both tiers, so
// it encodes as doppio does: with encoding/json, which most take, the encodings would decide the row.
//
// What it cannot do: stampede protection (all who miss load). It promises nothing to other instances, whose copies live
// until their TTL ends, and a read under way while its own instance changes the entry may put the old value local again.
type byHand[V any] struct {
	local  *ristretto.Cache[string, V] // nil without the local tier
	remote *remote[V]
}

func openByHand[V any](ctx context.Context, c Config) (Cache[V], error) {
	remote, err := newRemote(ctx, c, unlessRaw[V](newDoppioJSON[V]()))
	if err != nil {
		return nil, fmt.Errorf("by hand: %w", err)
	}
	if !c.Local {
		return &byHand[V]{remote: remote}, nil
	}
	local, err := newRistretto[V](c)
	if err != nil {
		return nil, closing(remote.rdb, err)
	}
	return &byHand[V]{local: local, remote: remote}, nil
}

func (b *byHand[V]) Get(ctx context.Context, key string) (V, error) {
	if b.local != nil {
		if v, ok := b.local.Get(key); ok {
			return v, nil
		}
	}
	v, err := b.remote.Get(ctx, key)
	if err == nil {
		b.keep(key, v)
	}
	return v, err
}

// GetOrLoad is written out, unlike that of who has no local tier here: beside a local hit, loadByHand's dispatch would tell.
func (b *byHand[V]) GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
	v, err := b.Get(ctx, key)
	if err == nil || !errors.Is(err, ErrMiss) {
		return v, err
	}
	if v, err = load(ctx); err != nil {
		return v, err
	}
	return v, b.Set(ctx, key, v)
}

func (b *byHand[V]) Set(ctx context.Context, key string, v V) error {
	if err := b.remote.Set(ctx, key, v); err != nil {
		return err
	}
	b.keep(key, v)
	return nil
}

// keep puts v local. That ristretto may drop it is no harm: the remote tier has it.
func (b *byHand[V]) keep(key string, v V) {
	if b.local != nil {
		b.local.SetWithTTL(key, v, 1, b.remote.ttl)
	}
}

func (b *byHand[V]) Delete(ctx context.Context, key string) error {
	err := b.remote.Delete(ctx, key)
	return errors.Join(err, b.Forget(ctx, key))
}

func (b *byHand[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	if b.local == nil {
		return b.remote.GetMany(ctx, keys)
	}
	found := make(map[string]V, len(keys))
	var missing []string
	for _, k := range keys {
		if v, ok := b.local.Get(k); ok {
			found[k] = v
		} else {
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	if err := b.remote.addMany(ctx, missing, found); err != nil {
		return found, err
	}
	for _, k := range missing {
		if v, ok := found[k]; ok {
			b.keep(k, v)
		}
	}
	return found, nil
}

func (b *byHand[V]) Forget(_ context.Context, key string) error {
	if b.local != nil {
		b.local.Del(key)
	}
	return nil
}

// Wait is for the local tier.
func (b *byHand[V]) Wait() {
	if b.local != nil {
		b.local.Wait()
	}
}

func (b *byHand[V]) Close() error {
	if b.local != nil {
		b.local.Close()
	}
	return b.remote.Close()
}
