package compare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

// bench is what work with values of one type needs.
type bench[V any] struct {
	subjects []peers.Subject[V]
	make     func(i int) V
	mark     func(v V) int64 // tells values apart, at no cost worth mentioning
}

func markBlob(b []byte) int64 {
	if len(b) != peers.BlobBytes {
		return -1
	}
	return int64(binary.LittleEndian.Uint64(b))
}

// data are entries: made once, before any clock runs.
type data[V any] struct {
	keys   []string
	values []V
	marks  []int64
	mark   func(v V) int64
}

func (b *bench[V]) data(prefix string, n int) *data[V] {
	d := &data[V]{keys: keysOf(prefix, n), values: make([]V, n), marks: make([]int64, n), mark: b.mark}
	for i := range d.values {
		d.values[i] = b.make(i)
		d.marks[i] = b.mark(d.values[i])
	}
	return d
}

// loadOf is the source of entry i.
func (d *data[V]) loadOf(i int) func(context.Context) (V, error) {
	return func(context.Context) (V, error) { return d.values[i], nil }
}

var (
	errNotLocal = errors.New("it wanted to load: not a local hit")
	errWrong    = errors.New("a wrong value")
)

// Why a subject cannot do some work.
var (
	errNoGet    = errors.New("it has no get")
	errNoLoad   = errors.New("it has no get-or-load")
	errNoSet    = errors.New("it has no set")
	errNoDelete = errors.New("it has no delete")
	errNoMany   = errors.New("it has no get of many")
)

func can[T any](cache any, otherwise error) (T, error) {
	able, ok := cache.(T)
	if !ok {
		return able, otherwise
	}
	return able, nil
}

// gets reads the keys of a sequence. The other tasks are alike: as little as possible beside the work itself.
func (d *data[V]) gets(g peers.Getter[V], seq []uint32) task {
	return func(ctx context.Context, round, caller, n int) error {
		for at := begin(round, caller); n > 0; n-- {
			i := seq[at&(picks-1)]
			at++
			v, err := g.Get(ctx, d.keys[i])
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			if d.mark(v) != d.marks[i] {
				return errWrong
			}
		}
		return nil
	}
}

// loads reads the keys of a sequence by get-or-load, which must not come to loading.
func (d *data[V]) loads(l peers.Loader[V], seq []uint32) task {
	load := func(context.Context) (V, error) { return *new(V), errNotLocal }
	return func(ctx context.Context, round, caller, n int) error {
		for at := begin(round, caller); n > 0; n-- {
			i := seq[at&(picks-1)]
			at++
			v, err := l.GetOrLoad(ctx, d.keys[i], load)
			if err != nil {
				return fmt.Errorf("get or load: %w", err)
			}
			if d.mark(v) != d.marks[i] {
				return errWrong
			}
		}
		return nil
	}
}

// sets writes the keys of a sequence.
func (d *data[V]) sets(w peers.Setter[V], seq []uint32) task {
	return func(ctx context.Context, round, caller, n int) error {
		for at := begin(round, caller); n > 0; n-- {
			i := seq[at&(picks-1)]
			at++
			if err := w.Set(ctx, d.keys[i], d.values[i]); err != nil {
				return fmt.Errorf("set: %w", err)
			}
		}
		return nil
	}
}

// many reads batches of keys.
func (d *data[V]) many(m peers.ManyGetter[V], batch int) task {
	batches := len(d.keys) / batch
	return func(ctx context.Context, round, caller, n int) error {
		for at := begin(round, caller); n > 0; n-- {
			first := (at % batches) * batch
			at++
			found, err := m.GetMany(ctx, d.keys[first:first+batch])
			if err != nil {
				return fmt.Errorf("get many: %w", err)
			}
			if len(found) != batch {
				return fmt.Errorf("get many: %d of %d keys", len(found), batch)
			}
			if v := found[d.keys[first]]; d.mark(v) != d.marks[first] {
				return errWrong
			}
		}
		return nil
	}
}

// mix reads by get-or-load and writes every twentieth time. It counts what is loaded.
func (d *data[V]) mix(l peers.Loader[V], w peers.Setter[V], seq []uint32, loaded *atomic.Int64) task {
	const writes = 20
	loads := make([]func(context.Context) (V, error), len(d.values))
	for i := range loads {
		load := d.loadOf(i)
		loads[i] = func(ctx context.Context) (V, error) {
			loaded.Add(1)
			return load(ctx)
		}
	}
	return func(ctx context.Context, round, caller, n int) error {
		for at := begin(round, caller); n > 0; n-- {
			i := seq[at&(picks-1)]
			at++
			if at%writes == 0 {
				if err := w.Set(ctx, d.keys[i], d.values[i]); err != nil && !errors.Is(err, peers.ErrDropped) {
					return fmt.Errorf("set: %w", err)
				}
				continue
			}
			v, err := l.GetOrLoad(ctx, d.keys[i], loads[i])
			if err != nil {
				return fmt.Errorf("get or load: %w", err)
			}
			if d.mark(v) != d.marks[i] {
				return errWrong
			}
		}
		return nil
	}
}

// fresh are keys that nobody has used before, for work that needs one for each operation.
type fresh struct {
	prefix string
	used   int
	keys   []string
}

// next makes n of them.
func (f *fresh) next(n int) {
	f.keys = f.keys[:0]
	for range n {
		f.keys = append(f.keys, fmt.Sprintf("%s:%010d", f.prefix, f.used))
		f.used++
	}
}

// misses reads keys that are nowhere, and loads them.
func (d *data[V]) misses(l peers.Loader[V], f *fresh) task {
	load := d.loadOf(0)
	return func(ctx context.Context, _, caller, n int) error {
		for _, key := range f.keys[caller*n : (caller+1)*n] {
			v, err := l.GetOrLoad(ctx, key, load)
			if err != nil {
				return fmt.Errorf("get or load: %w", err)
			}
			if d.mark(v) != d.marks[0] {
				return errWrong
			}
		}
		return nil
	}
}

// deletes removes what is under fresh keys.
func deletes(del peers.Deleter, f *fresh) task {
	return func(ctx context.Context, _, caller, n int) error {
		for _, key := range f.keys[caller*n : (caller+1)*n] {
			if err := del.Delete(ctx, key); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
		}
		return nil
	}
}
