package compare

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

const (
	fillers    = 16  // callers that fill a cache
	fillPasses = 20  // over all keys, until they are local
	tolerated  = 100 // one key of so many may not be held
	stray      = 20  // commands that idle instances may send meanwhile
)

// fill writes all entries.
func (d *data[V]) fill(ctx context.Context, p *player[V]) error {
	return each(ctx, fillers, len(d.keys), func(i int) error { return d.put(ctx, p.cache(), i) })
}

// put writes entry i, by a load where the subject writes in no other way. What it dropped is found missing later.
func (d *data[V]) put(ctx context.Context, cache peers.Cache[V], i int) error {
	var err error
	if w, ok := cache.(peers.Setter[V]); ok {
		err = w.Set(ctx, d.keys[i], d.values[i])
	} else if l, ok := cache.(peers.Loader[V]); ok {
		_, err = l.GetOrLoad(ctx, d.keys[i], d.loadOf(i))
	} else {
		err = errNoSet
	}
	if errors.Is(err, peers.ErrDropped) {
		return nil
	}
	return err
}

// fillLocal writes all entries until reads of them are local hits, and returns those that will not stay.
func (d *data[V]) fillLocal(ctx context.Context, s *session, p *player[V]) (map[uint32]bool, error) {
	g, err := can[peers.Getter[V]](p.cache(), errNoGet)
	if err != nil {
		return nil, err
	}
	if err := d.fill(ctx, p); err != nil {
		return nil, err
	}
	limit, mayAsk := len(d.keys)/tolerated, int(localLimit*float64(len(d.keys)))+stray
	var missing []uint32
	var asked float64
	for range fillPasses {
		settle(p.cache())
		before, err := s.reads(ctx)
		if err != nil {
			return nil, err
		}
		if missing, err = d.absent(ctx, g); err != nil {
			return nil, err
		}
		now, err := s.reads(ctx)
		if err != nil {
			return nil, err
		}
		if asked = now - before; len(missing) == 0 && int(asked) <= mayAsk {
			return nil, nil
		}
		for _, i := range missing {
			if err := d.put(ctx, p.cache(), int(i)); err != nil {
				return nil, err
			}
			settle(p.cache())
		}
	}
	if len(missing) > limit || int(asked) > limit+stray { // those it lost are asked for, too
		return nil, fmt.Errorf("of %d entries that fit it does not hold %d, and asks Redis %.0f times", len(d.keys), len(missing), asked)
	}
	lost := make(map[uint32]bool, len(missing))
	for _, i := range missing {
		lost[i] = true
	}
	return lost, nil
}

// absent reads all entries, and returns those that are not there.
func (d *data[V]) absent(ctx context.Context, g peers.Getter[V]) ([]uint32, error) {
	var mu sync.Mutex
	var missing []uint32
	err := each(ctx, fillers, len(d.keys), func(i int) error {
		v, err := g.Get(ctx, d.keys[i])
		if errors.Is(err, peers.ErrMiss) {
			mu.Lock()
			missing = append(missing, uint32(i))
			mu.Unlock()
			return nil
		}
		if err == nil && d.mark(v) != d.marks[i] {
			err = errWrong
		}
		return err
	})
	return missing, err
}

// settle waits for what was written to be applied.
func settle(cache any) {
	if w, ok := cache.(peers.Waiter); ok {
		w.Wait()
	}
}
