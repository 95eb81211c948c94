package tiered

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// GetOrSet gives the value under key, or loads it: near tier, then a flight that asks the far tier and runs load.
// Callers of one key share a flight, if it began after the last change that is known. load runs detached from ctx, with
// its values, until HardTimeout or until nobody waits for it; each caller leaves when its own ctx ends.
//
// ErrNotFound when load says so; *LoadError when it fails, panics, or is too slow. With the far
// tier down it loads; what could not be read or stored is counted and logged. ErrRecursiveLoad when
// a loader asks for its own key. A local hit does not look at ctx, and allocates nothing, options
// or not; a load that captures variables is allocated by its own caller.
func (c *Cache[V]) GetOrSet(ctx context.Context, key string, load func(context.Context) (V, error), opts ...EntryOption) (V, error) {
	hash := c.hash(key)
	n := c.near(ctx, hash, key)
	if n.state == usable {
		return *n.value, nil
	}
	st, err := c.defaults.with(opts)
	if err != nil {
		return *new(V), err
	}
	v, err := c.getOrLoad(ctx, hash, key, n, load, st)
	if err != nil {
		return *new(V), c.fault("GetOrSet", err)
	}
	return *v, nil
}

func (c *Cache[V]) getOrLoad(ctx context.Context, hash uint64, key string, n nearCopy[V], load func(context.Context) (V, error), st settings) (*V, error) {
	if err := c.usable(key); err != nil {
		return nil, err
	}
	if load == nil {
		return nil, &OptionError{Field: "load", Reason: "must not be nil"}
	}
	switch n.state {
	case absent:
		return nil, ErrNotFound
	case refreshable:
		j := &job[V]{cache: c, key: key, hash: hash, load: load, st: st}
		j.refreshAhead(ctx, n.entry.Meta.(*meta))
		return n.value, nil
	}
	if c.recursive(ctx, key) {
		return nil, ErrRecursiveLoad
	}
	var left *looked[V]
	if n.state == unusable && c.looksFirst(key, &st) {
		v, rest, err, served := c.look(ctx, hash, key, &st)
		if served {
			return v, err
		}
		left = rest
	}
	j := &job[V]{cache: c, key: key, hash: hash, load: load, st: st, looked: left}
	j.fallback = n.kept()
	return j.await(ctx)
}

// looksFirst tells whether the caller reads the far tier itself before it has a flight do more: a hit costs half of what a flight
// does. With SoftTimeout a slow read must not hold the caller up, and where most keys are missing the flight is needed anyhow. It is
// ended by look.
func (c *Cache[V]) looksFirst(key string, st *settings) bool {
	return !c.client.opts.Disabled && st.softTimeout <= 0 && !c.recent.mostlyMisses() && c.flights.look(key)
}

// look reads the far tier for a caller, and gives what it cannot serve, for a flight to go on with.
func (c *Cache[V]) look(ctx context.Context, hash uint64, key string, st *settings) (v *V, left *looked[V], err error, served bool) {
	defer c.flights.looked(key)
	began := local.Monotonic()
	if err = c.validity.Blocked(ctx, c.client.patienceOfReads(), hash); err == nil {
		err = c.validity.CatchUp(ctx, c.after, c.validity.LaneOf(hash))
	}
	from := c.point(hash)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err(), true
	}
	if err != nil {
		from.Begun = began // what was waited for is part of the time that reads have
		return nil, &looked[V]{Point: from, err: err}, nil, false
	}
	w := c.view(hash)
	defer w.End()
	rec, err := c.client.calls.read(ctx, c.prefix+key)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err(), true
	}
	seen, err := c.examine(ctx, time.Now(), hash, key, rec, err, nil)
	switch seen.state {
	case live:
		c.metFar(true)
		c.keep(&w, coherence.SeenAt(&rec), seen.at, hash, key, seen.value, from, &rec, st)
		answered(ctx, AnsweredFar)
		return seen.value, nil, nil, true
	case negative:
		c.metFar(true)
		c.keep(&w, coherence.SeenAt(&rec), seen.at, hash, key, nil, from, &rec, st)
		answered(ctx, AnsweredFar)
		return nil, nil, ErrNotFound, true
	}
	return nil, &looked[V]{from, rec, seen, err}, nil, false
}

// looked is a far read that a caller made before its flight, which began with it if it gave anything.
type looked[V any] struct {
	coherence.Point
	rec  remote.Record
	seen farCopy[V]
	err  error
}

// job is what a caller wants loaded. The first caller's job is the one that its flight runs.
type job[V any] struct {
	cache    *Cache[V]
	key      string
	hash     uint64
	load     func(context.Context) (V, error)
	st       settings
	refresh  bool       // the value is live: load it anew unless somebody else just did
	fallback *kept[V]   // a local copy past its life, to serve if the load fails
	looked   *looked[V] // what the caller found in the far tier; nil if it did not look

	detached context.Context //nolint:containedctx // of the flight that the job began; nil if it began none
	mark     uint64          // what had been seen of the key when it joined another's flight; 0: the flight is its own
	until    time.Time       // when the remote tier is not waited for any more before the load
	down     atomic.Bool     // the remote tier could not be asked
}

// begin makes the job's flight.
func (j *job[V]) begin(ctx context.Context) (*flight[V], func() (landing[V], error)) {
	c := j.cache.client
	if !c.start() {
		return nil, nil
	}
	f := j.newFlight()
	// Detached: no caller's end is the flight's. The time for the far tier comes on top of the loader's.
	detached, cancel := context.WithCancel(detach(ctx))
	f.cancel, j.detached = cancel, detached
	return f, func() (l landing[V], err error) {
		defer c.running.Done()
		defer func() {
			if r := recover(); r != nil {
				l, err = landing[V]{}, j.failure(c.caughtInLoad(r))
			}
		}()
		stop := context.AfterFunc(c.life, cancel)
		defer stop()
		detached, span := c.spans.load(detached, j.cache.name)
		defer func() { span.end(err) }()
		l, err = j.run(detached, f)
		f.noteFailure(&l, err)
		return l, err
	}
}

func (j *job[V]) newFlight() *flight[V] {
	f := &flight[V]{Point: j.cache.point(j.hash), after: j.cache.after, tags: j.cache.tagHashes(j.st.tags), busy: make(chan struct{})}
	if j.looked != nil && j.looked.seen.state != nothing {
		f.Point = j.looked.Point // what was read then may be served yet
		f.tags = append(f.tags, j.cache.tagHashes(tagNames(j.looked.rec.Tags))...)
	}
	f.stale.there = make(chan struct{})
	f.stale.add(j.fallback)
	f.view = j.cache.view(j.hash)
	f.first = f.view.Since()
	if c := j.cache.validity; c != nil {
		f.live = f.Begun < c.TrustedUntil()
	}
	return f
}

// joinable tells whether a flight is recent enough for this caller. While the near tier is not
// coherent nothing is heard of changes: a flight that began while it was may have read the far tier
// by what was known of floors MaxStaleness before, and is not joined; one that began since knows
// what was true a quarter of that ago, and may be three older. With a client that is disabled every
// load runs: nothing says which of them began before a change. Nor is a flight joined that reads,
// or loads, while others have seen a newer record: this caller may be one of them. It is called
// under flights.mu.
func (j *job[V]) joinable(f *flight[V]) bool {
	c := j.cache.validity
	if c == nil || !j.unchanged(f.Stamp) || !c.TagsValid(f.tags, f.Stamp) {
		return false
	}
	if len(j.cache.after) > 0 && j.cache.lagging() && !coherence.Covers(f.after, j.cache.after) {
		return false
	}
	now := local.Monotonic()
	if now >= c.TrustedUntil() && (f.live || now-f.Begun >= int64(j.cache.client.opts.MaxStaleness)*3/4) || f.view.Passed() {
		return false
	}
	j.mark = f.view.Now()
	return true
}

// unchanged tells whether nothing is known to have changed about the job's key and tags since stamp.
func (j *job[V]) unchanged(stamp uint64) bool {
	s := j.cache.shared
	return s.validity.Valid(j.hash, stamp) && s.validity.TagsValid(s.tagHashes(j.st.tags), stamp)
}

func (j *job[V]) join(ctx context.Context) (*flight[V], <-chan singleflight.Result) {
	j.mark = 0
	f, ch, led := j.cache.flights.join(j.key, j.joinable, func() (*flight[V], func() (landing[V], error)) { return j.begin(ctx) })
	if f != nil && !led {
		j.cache.counts.joined.Add(1)
	}
	return f, ch
}

// refreshAhead loads a value anew in the background, unless somebody is at it, and waits for nothing. A refresh that
// fails is tried again by a later hit, after a pause: the source may be in trouble, and a hot key is hit a great many
// times.
func (j *job[V]) refreshAhead(ctx context.Context, m *meta) {
	if !j.refreshes(m) {
		return
	}
	ctx = outermost(ctx) // nobody waits for it
	if j.cache.flights.lead(j.key, j.joinable, func() (*flight[V], func() (landing[V], error)) { return j.begin(ctx) }) {
		j.cache.counts.refreshes.Add(1)
	}
}

// refreshes makes the job a refresh, unless another has begun since the copy was found to be due.
func (j *job[V]) refreshes(m *meta) bool {
	now := local.Monotonic()
	next := m.refreshAt.Load()
	pause := max(leastRefreshPause, min(j.st.refreshAhead/4, maxRefreshPause))
	j.refresh = now >= next && m.refreshAt.CompareAndSwap(next, local.After(now, pause))
	return j.refresh
}

const (
	leastRefreshPause = 100 * time.Millisecond
	maxRefreshPause   = 10 * time.Second
)

// await waits for the job's flight, as long as ctx allows.
func (j *job[V]) await(ctx context.Context) (*V, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var soft <-chan time.Time
	if j.st.softTimeout > 0 && j.st.failSafe > 0 {
		timer := time.NewTimer(j.st.softTimeout)
		defer timer.Stop()
		soft = timer.C
	}
	for {
		f, ch := j.join(ctx)
		if f == nil {
			return nil, ErrClosed
		}
		l, err := j.wait(ctx, f, ch, soft)
		if errors.Is(err, errOvertaken) {
			j.looked = nil
			continue
		}
		adopt(ctx, j.detached)
		if err != nil {
			return nil, err
		}
		answered(ctx, l.answer)
		return l.value, nil
	}
}

// errOvertaken ends the wait of a caller whose flight gave what may be older than what others had
// seen when the caller came. It begins again, with a flight that began later: what overtook the
// first one has made it unfit to be joined.
var errOvertaken = errors.New("doppio: overtaken")

// wait is a caller's part of a flight. What its own options say about stale values decides, whoever leads the flight:
// one serves when the load fails, and once soft has fired as soon as there is one; the load then goes on, with this
// caller among those who wait for it.
func (j *job[V]) wait(ctx context.Context, f *flight[V], ch <-chan singleflight.Result, soft <-chan time.Time) (landing[V], error) {
	var late <-chan struct{}
	busy := f.busy
	if j.st.failSafe <= 0 {
		busy = nil
	}
	for {
		select {
		case r := <-ch:
			l, _ := r.Val.(landing[V])
			return j.landed(ctx, f, l, r.Err)
		case <-f.done:
			return j.landed(ctx, f, f.end, f.err)
		case <-soft:
			soft, late = nil, f.stale.there
		case <-busy:
			busy, late = nil, f.stale.there // another instance is loading: no reason to wait where a stale value will do
		case <-late:
			late = nil
			if v := j.stale(f); v != nil {
				return landing[V]{value: v, answer: AnsweredStale}, nil
			}
		case <-ctx.Done():
			j.cache.flights.leave(j.key, f)
			return landing[V]{}, ctx.Err()
		}
	}
}

// landed is what a flight that has ended gives this caller.
func (j *job[V]) landed(ctx context.Context, f *flight[V], l landing[V], err error) (landing[V], error) {
	if l.overtaken && j.mark > l.since {
		return landing[V]{}, errOvertaken
	}
	if err == nil {
		return l, nil
	}
	var failed *LoadError
	if errors.As(err, &failed) {
		if v := j.stale(f); v != nil {
			j.cache.failures.warn(ctx, "doppio: load failed, serving a stale value", j.cache.name, failed.Err)
			return landing[V]{value: v, answer: AnsweredStale}, nil
		}
	}
	return landing[V]{}, err
}

// stale gives the value past its life that may serve this caller now, if it asked for such values.
func (j *job[V]) stale(f *flight[V]) *V {
	if j.st.failSafe <= 0 || j.cache.validity == nil || !j.unchanged(f.Stamp) || j.mark > f.first && f.view.FoundSince(f.first) {
		return nil
	}
	v := f.stale.fresh(j.cache.shared, j.hash)
	if v == nil && j.fallback != nil && j.fallback.fresh(j.cache.shared, j.hash) {
		v = j.fallback.value
	}
	if v != nil {
		j.cache.counts.staleServed.Add(1)
	}
	return v
}
