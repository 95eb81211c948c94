package tiered

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/flight"
)

// GetOrSetMany returns the values under keys, and loads those that neither tier has, with one call of load for all of
// them that nobody else is loading. Keys that load leaves out are not found, and absent from the map. What failed is in
// a *BatchError, beside what was found. Cancellation, panics and outages are as for GetOrSet.
//
// load may fail for some of the keys: a *BatchError that it returns names those, each with an error of its own, of which
// ErrNotFound says that there is no such thing. A key in it has failed even if there is a value for it; what it does not
// name is kept and returned as if there was no error, or is not found when it was left out. Any other error is that of
// every key, and values beside it are not used: nothing says which of them are good. Keys that nobody asked for are
// ignored.
//
// Values that are due to be refreshed are returned as they are, and loaded by one call of load in the background.
func (c *Cache[V]) GetOrSetMany(ctx context.Context, keys []string, load func(ctx context.Context, missing []string) (map[string]V, error), opts ...EntryOption) (map[string]V, error) {
	out, err := c.getOrSetMany(ctx, keys, load, opts)
	return out, c.fault("GetOrSetMany", err)
}

func (c *Cache[V]) getOrSetMany(ctx context.Context, keys []string, load func(ctx context.Context, missing []string) (map[string]V, error), opts []EntryOption) (map[string]V, error) {
	st, err := c.defaults.with(opts)
	if err != nil {
		return nil, err
	}
	if load == nil {
		return nil, &OptionError{Field: "load", Reason: "must not be nil"}
	}
	keys, failed := c.distinct(keys)
	out := make(map[string]V, len(keys))
	if err := ctx.Err(); err != nil {
		return out, err
	}
	l, ahead := newLoad(ctx, c, &st), newLoad(outermost(ctx), c, &st)
	l.many, ahead.many, ahead.refresh = load, load, true
	var waits []waiting[V]
	for _, key := range keys {
		hash := c.hash(key)
		found := c.lookupLocal(ctx, hash, key)
		r := &request[V]{cache: c, key: key, hash: hash, st: st, fallback: found.kept()}
		switch found.state {
		case hit, dueHit:
			out[key] = *found.value
			if found.state == dueHit && found.entry.Meta.(*meta).beginRefresh(&st) && c.flights.Lead(key, r.joinable, ahead.beginMany(r)) {
				c.counts.refreshes.Add(1)
			}
			continue
		case negativeHit:
			continue
		}
		if c.recursive(ctx, key) {
			failed.add(key, ErrRecursiveLoad)
			continue
		}
		t := c.flights.Join(key, r.joinable, l.beginMany(r))
		if t.Call == nil {
			failed.add(key, ErrClosed)
			continue
		}
		if !t.Leader {
			c.counts.joined.Add(1)
		}
		waits = append(waits, waiting[V]{r, t})
	}
	defer adopt(ctx, l.ctx)
	soft := l.soft(time.Now())
	var again []string
	ahead.start()
	l.start()
	for i, w := range waits {
		res, err := w.wait(ctx, w.ticket, soft())
		switch {
		case err == nil:
			out[w.key] = *res.value
		case errors.Is(err, errOvertaken):
			again = append(again, w.key)
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			for _, rest := range waits[i+1:] {
				c.flights.Leave(rest.key, rest.ticket.Call)
			}
			return out, ctx.Err()
		case !saysNotFound(err):
			failed.add(w.key, err)
		}
	}
	if len(again) > 0 {
		return c.overtaken(ctx, again, load, opts, out, failed)
	}
	return out, failed.err()
}

// overtaken begins again for keys whose flights were overtaken, and adds what that gives.
func (c *Cache[V]) overtaken(ctx context.Context, keys []string, load func(ctx context.Context, missing []string) (map[string]V, error), opts []EntryOption, out map[string]V, failed failures) (map[string]V, error) {
	more, err := c.getOrSetMany(ctx, keys, load, opts)
	maps.Copy(out, more)
	var some *BatchError
	if err != nil && !errors.As(err, &some) {
		return out, err
	}
	if some != nil {
		for key, err := range some.Failed {
			failed.add(key, err)
		}
	}
	return out, failed.err()
}

// waiting is a key that the caller waits for.
type waiting[V any] struct {
	*request[V]
	ticket ticket[V]
}

// soft returns a function that returns what fires when SoftTimeout has passed since began, if that
// matters.
func (l *load[V]) soft(began time.Time) func() <-chan time.Time {
	return func() <-chan time.Time {
		if l.st.softTimeout <= 0 || l.st.failSafe <= 0 {
			return nil
		}
		return time.After(l.st.softTimeout - time.Since(began))
	}
}

// beginMany makes a key one of a load of many, with a call that others may join. The call is nil when the
// client is closed.
func (l *load[V]) beginMany(r *request[V]) flight.Begin[callInfo[V], result[V]] {
	return func() (*call[V], func() (result[V], error)) {
		if !l.opened {
			if l.opened = l.cache.client.start(); !l.opened {
				return nil, nil
			}
		}
		f := l.add(r, nil).call
		l.open.Add(1)
		f.Cancel = sync.OnceFunc(func() {
			if l.open.Add(-1) == 0 {
				l.cancel()
			}
		})
		return f.OfMany(), nil
	}
}

// start runs a load of many, if there is anything for it to do.
func (l *load[V]) start() {
	if !l.opened {
		l.cancel()
		return
	}
	go l.execute()
}
