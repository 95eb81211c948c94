package tiered

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/flight"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// GetOrSet returns the value under key, or loads it: from the local tier, from the remote tier, or
// by load. Callers of one key share a load, if it began after the last change that is known. load
// runs detached from ctx, with its values, until HardTimeout or until no caller waits for it; each
// caller leaves when its own ctx ends.
//
// ErrNotFound is returned when load returns it, and a *LoadError when load fails, panics, or is too
// slow. When Redis does not answer, load runs; what could not be read or stored is counted and
// logged. ErrRecursiveLoad is returned when a loader asks for its own key. A local hit does not
// look at ctx, and allocates nothing, options or not; a load that captures variables is allocated
// by its own caller.
func (c *Cache[V]) GetOrSet(ctx context.Context, key string, load func(context.Context) (V, error), opts ...EntryOption) (V, error) {
	hash := c.shared.hash(key)
	found := c.lookupLocal(ctx, hash, key)
	if found.state == hit {
		return *found.value, nil
	}
	st, err := c.defaults.with(opts)
	if err != nil {
		return *new(V), err
	}
	v, err := c.getOrLoad(ctx, hash, key, found, load, st)
	if err != nil {
		return *new(V), c.shared.fault("GetOrSet", err)
	}
	return *v, nil
}

func (c *Cache[V]) getOrLoad(ctx context.Context, hash uint64, key string, found lookup[V], loader func(context.Context) (V, error), st settings) (*V, error) {
	if err := c.shared.checkKey(key); err != nil {
		return nil, err
	}
	if loader == nil {
		return nil, &OptionError{Field: "load", Reason: "must not be nil"}
	}
	switch found.state {
	case negativeHit:
		return nil, ErrNotFound
	case dueHit:
		c.refreshAhead(ctx, hash, key, found, loader, st)
		return found.value, nil
	}
	if c.shared.recursive(ctx, key) {
		return nil, ErrRecursiveLoad
	}
	var read *prefetched[V]
	if found.state == miss && c.readsFirst(key, &st) {
		v, unserved, err := c.readFirst(ctx, hash, key, &st)
		if unserved == nil {
			return v, err
		}
		read = unserved
	}
	r := &request[V]{cache: c, key: key, hash: hash, st: st, fallback: found.kept()}
	return r.await(ctx, loader, read)
}

// readsFirst reports whether the caller reads the remote tier itself before it begins or joins a
// load: a hit costs half as much then. With SoftTimeout a slow read must not hold the caller up,
// and where most keys are missing the load is needed anyhow. It is ended by readFirst.
func (c *Cache[V]) readsFirst(key string, st *settings) bool {
	return !c.shared.client.opts.Disabled && st.softTimeout <= 0 && !c.shared.recent.mostlyMisses() && c.shared.flights.TryRead(key)
}

// prefetched is a remote read that a caller made before its load.
type prefetched[V any] struct {
	coherence.Point
	rec   remote.Record
	at    time.Time // when it was made
	found lookup[V]
	err   error
}

// readFirst reads the remote tier for a caller, and returns the value or the error that the caller
// gets, or what the read cannot serve, for a load to go on with.
func (c *Cache[V]) readFirst(ctx context.Context, hash uint64, key string, st *settings) (*V, *prefetched[V], error) {
	defer c.shared.flights.EndRead(key)
	began := local.Monotonic()
	err := c.shared.validity.Blocked(ctx, c.shared.client.patienceOfReads(), hash)
	if err == nil {
		err = c.shared.validity.CatchUp(ctx, c.after, c.shared.validity.LaneOf(hash))
	}
	from := c.shared.point(hash)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if err != nil {
		from.Begun = began // the wait is part of the time that reads have
		return nil, &prefetched[V]{Point: from, err: err}, nil
	}
	w := c.shared.view(hash)
	defer w.End()
	rec, err := c.shared.client.coalesced.read(ctx, c.shared.prefix+key)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	now := time.Now()
	found, err := c.shared.classifyRemote(ctx, now, hash, key, &rec, err, nil)
	if found.state != hit && found.state != negativeHit {
		return nil, &prefetched[V]{from, rec, now, found, err}, nil
	}
	c.shared.countRemoteLookup(true)
	c.shared.keep(&w, coherence.SeenAt(&rec), now, hash, key, found.value, from, &rec, st)
	setSource(ctx, SourceRemote)
	if found.state == negativeHit {
		return nil, nil, ErrNotFound
	}
	return found.value, nil, nil
}

// refreshAhead loads a value anew in the background, unless a load of it is under way, and waits
// for nothing. A refresh that fails is tried again by a later hit, after a pause: the source may be
// in trouble, and a hot key is hit a great many times.
func (c *Cache[V]) refreshAhead(ctx context.Context, hash uint64, key string, found lookup[V], loader func(context.Context) (V, error), st settings) {
	if !found.entry.Meta.(*meta).beginRefresh(&st) {
		return
	}
	r := &request[V]{cache: c, key: key, hash: hash, st: st}
	begin := func() (*call[V], func() (result[V], error)) {
		l := newLoad(outermost(ctx), c, &st) // no load waits for it
		l.one, l.refresh = loader, true
		return l.begin(r, nil)
	}
	if c.shared.flights.Lead(key, r.joinable, begin) {
		c.shared.counts.refreshes.Add(1)
	}
}

// beginRefresh reports whether a copy that is due is to be refreshed by this caller: not if another
// refresh has begun since.
func (m *meta) beginRefresh(st *settings) bool {
	now := local.Monotonic()
	next := m.refreshAt.Load()
	pause := max(leastRefreshPause, min(st.refreshAhead/4, maxRefreshPause))
	return now >= next && m.refreshAt.CompareAndSwap(next, local.After(now, pause))
}

const (
	leastRefreshPause = 100 * time.Millisecond
	maxRefreshPause   = 10 * time.Second
)

// request is what a caller wants: the value of a key, from a load that it begins or joins.
type request[V any] struct {
	cache    *Cache[V]
	key      string
	hash     uint64
	st       settings
	fallback *kept[V] // a local copy past its life, to serve if the load fails
	joinedAt uint64   // the moment, as of coherence.View, at which it joined another's call; 0: the call is its own
}

// joinable reports whether a call is recent enough for this caller. While local copies are not
// trusted, no changes are heard of: a call that began while they were may have read the remote tier
// by what was known of floors MaxStaleness before, and is not joined; one that began since knows
// what was true a quarter of that ago, and may be three older. With a client that is disabled every
// load runs: nothing says which of them began before a change. Nor is a call joined that reads, or
// loads, while others have seen a newer record: this caller may be one of them. It is called with
// the lock of the calls held.
func (r *request[V]) joinable(f *call[V]) bool {
	c := r.cache.shared.validity
	if c == nil || !r.unchanged(f.Info.Stamp) || !c.TagsValid(f.Info.tags, f.Info.Stamp) {
		return false
	}
	if len(r.cache.after) > 0 && r.cache.lagging() && !coherence.Covers(f.Info.after, r.cache.after) {
		return false
	}
	now := local.Monotonic()
	if now >= c.TrustedUntil() && (f.Info.trusted || now-f.Info.Begun >= int64(r.cache.shared.client.opts.MaxStaleness)*3/4) || f.Info.view.Passed() {
		return false
	}
	r.joinedAt = f.Info.view.Now()
	return true
}

// unchanged reports whether nothing is known to have changed about the key and its tags since
// stamp.
func (r *request[V]) unchanged(stamp uint64) bool {
	s := r.cache.shared
	return s.validity.Valid(r.hash, stamp) && s.validity.TagsValid(s.tagHashes(r.st.tags), stamp)
}

// await returns the value that a load gives, as long as ctx allows: a load that it joins, or begins
// with what the caller has read.
func (r *request[V]) await(ctx context.Context, loader func(context.Context) (V, error), read *prefetched[V]) (*V, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var soft <-chan time.Time
	if r.st.softTimeout > 0 && r.st.failSafe > 0 {
		timer := time.NewTimer(r.st.softTimeout)
		defer timer.Stop()
		soft = timer.C
	}
	var own *load[V] // the load that this caller began last
	begin := func() (*call[V], func() (result[V], error)) {
		own = newLoad(ctx, r.cache, &r.st)
		own.one = loader
		return own.begin(r, read)
	}
	for {
		r.joinedAt = 0
		t := r.cache.shared.flights.Join(r.key, r.joinable, begin)
		if t.Call == nil {
			return nil, ErrClosed
		}
		if !t.Leader {
			r.cache.shared.counts.joined.Add(1)
		}
		res, err := r.wait(ctx, t, soft)
		if errors.Is(err, errOvertaken) {
			read = nil
			continue
		}
		if own != nil {
			adopt(ctx, own.ctx)
		}
		if err != nil {
			return nil, err
		}
		setSource(ctx, res.source)
		return res.value, nil
	}
}

// errOvertaken ends the wait of a caller whose call gave what may be older than what others had
// seen when the caller came. It begins again, with a call that began later: what overtook the first
// one has made it unfit to be joined.
var errOvertaken = errors.New("doppio: overtaken")

// wait is a caller's part of a call. What its own options say about stale values decides, whichever
// caller began the load: it serves one when the load fails, and once soft has fired as soon as
// there is one; the load then goes on, with this caller among those that wait for it.
func (r *request[V]) wait(ctx context.Context, t ticket[V], soft <-chan time.Time) (result[V], error) {
	f := t.Call
	var late <-chan struct{}
	busy := f.Info.busy
	if r.st.failSafe <= 0 {
		busy = nil
	}
	for {
		select {
		case shared := <-t.Shared:
			res, err := t.Result(shared)
			return r.take(ctx, f, res, err)
		case <-t.Done():
			res, err := t.Finished()
			return r.take(ctx, f, res, err)
		case <-soft:
			soft, late = nil, f.Info.fallbacks.there
		case <-busy:
			busy, late = nil, f.Info.fallbacks.there // another instance is loading: no reason to wait where a stale value will do
		case <-late:
			late = nil
			if v := r.stale(f); v != nil {
				return result[V]{value: v, source: SourceStale}, nil
			}
		case <-ctx.Done():
			r.cache.shared.flights.Leave(r.key, f)
			return result[V]{}, ctx.Err()
		}
	}
}

// take returns what a call that has ended gives this caller.
func (r *request[V]) take(ctx context.Context, f *call[V], res result[V], err error) (result[V], error) {
	if res.overtaken && r.joinedAt > res.since {
		return result[V]{}, errOvertaken
	}
	if err == nil {
		return res, nil
	}
	var failed *LoadError
	if errors.As(err, &failed) {
		if v := r.stale(f); v != nil {
			r.cache.shared.failures.warn(ctx, "doppio: load failed, serving a stale value", r.cache.shared.name, failed.Err)
			return result[V]{value: v, source: SourceStale}, nil
		}
	}
	return result[V]{}, err
}

// stale returns the value past its life that may serve this caller now, if it asked for such
// values.
func (r *request[V]) stale(f *call[V]) *V {
	if r.st.failSafe <= 0 || r.cache.shared.validity == nil || !r.unchanged(f.Info.Stamp) ||
		r.joinedAt > f.Info.first && f.Info.view.FoundSince(f.Info.first) {
		return nil
	}
	v := f.Info.fallbacks.newestServable(r.cache.shared, r.hash)
	if v == nil && r.fallback != nil && r.fallback.servable(r.cache.shared, r.hash) {
		v = r.fallback.value
	}
	if v != nil {
		r.cache.shared.counts.staleServed.Add(1)
	}
	return v
}

// GetOrSetMany returns the values under keys, and loads those that neither tier has, with one call
// of load for all of them that nobody else is loading. Keys that load leaves out are not found, and
// absent from the map. What failed is in a *BatchError, beside what was found. Cancellation, panics
// and outages are as for GetOrSet.
//
// load may fail for some of the keys: a *BatchError that it returns names those, each with an error
// of its own, of which ErrNotFound says that there is no such thing. A key in it has failed even if
// there is a value for it; what it does not name is kept and returned as if there was no error, or
// is not found when it was left out. Any other error is that of every key, and values beside it are
// not used: nothing says which of them are good. Keys that nobody asked for are ignored.
//
// Values that are due to be refreshed are returned as they are, and loaded by one call of load in
// the background.
func (c *Cache[V]) GetOrSetMany(ctx context.Context, keys []string, load func(ctx context.Context, missing []string) (map[string]V, error), opts ...EntryOption) (map[string]V, error) {
	out, err := c.getOrSetMany(ctx, keys, load, opts)
	return out, c.shared.fault("GetOrSetMany", err)
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
		hash := c.shared.hash(key)
		found := c.lookupLocal(ctx, hash, key)
		r := &request[V]{cache: c, key: key, hash: hash, st: st, fallback: found.kept()}
		switch found.state {
		case hit, dueHit:
			out[key] = *found.value
			if found.state == dueHit && found.entry.Meta.(*meta).beginRefresh(&st) && c.shared.flights.Lead(key, r.joinable, ahead.beginMany(r)) {
				c.shared.counts.refreshes.Add(1)
			}
			continue
		case negativeHit:
			continue
		}
		if c.shared.recursive(ctx, key) {
			failed.add(key, ErrRecursiveLoad)
			continue
		}
		t := c.shared.flights.Join(key, r.joinable, l.beginMany(r))
		if t.Call == nil {
			failed.add(key, ErrClosed)
			continue
		}
		if !t.Leader {
			c.shared.counts.joined.Add(1)
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
				c.shared.flights.Leave(rest.key, rest.ticket.Call)
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

// overtaken begins again for keys whose calls were overtaken, and adds what that gives.
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

// beginMany makes a key one of a load of many, with a call that others may join. The call is nil
// when the client is closed.
func (l *load[V]) beginMany(r *request[V]) flight.Begin[callInfo[V], result[V]] {
	return func() (*call[V], func() (result[V], error)) {
		if !l.opened {
			if l.opened = l.cache.shared.client.start(); !l.opened {
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
