package tiered

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// GetOrSetMany gives the values under keys, and loads those that neither tier has, with one call of load for all of
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
	b, ahead := newBatch(ctx, c, st, load), newBatch(outermost(ctx), c, st, load)
	var waits []waiting[V]
	for _, key := range keys {
		hash := c.hash(key)
		n := c.near(ctx, hash, key)
		switch n.state {
		case usable, refreshable:
			out[key] = *n.value
			if n.state == refreshable {
				ahead.refresh(hash, key, n.entry.Meta.(*meta))
			}
			continue
		case absent:
			continue
		}
		if c.recursive(ctx, key) {
			failed.add(key, ErrRecursiveLoad)
			continue
		}
		j := &job[V]{cache: c, key: key, hash: hash, st: st}
		if n.state == expired {
			j.fallback = n.kept()
		}
		f, ch := b.join(j)
		if f == nil {
			failed.add(key, ErrClosed)
			continue
		}
		waits = append(waits, waiting[V]{j, f, ch})
	}
	defer adopt(ctx, b.ctx)
	began := time.Now()
	var again []string
	ahead.begin()
	b.begin()
	for i, w := range waits {
		l, err := w.job.wait(ctx, w.flight, w.landing, b.soft(began))
		switch {
		case err == nil:
			out[w.job.key] = *l.value
		case errors.Is(err, errOvertaken):
			again = append(again, w.job.key)
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			for _, rest := range waits[i+1:] {
				c.flights.leave(rest.job.key, rest.flight)
			}
			return out, ctx.Err()
		case !saysNotFound(err):
			failed.add(w.job.key, err)
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

type waiting[V any] struct {
	job     *job[V]
	flight  *flight[V]
	landing <-chan singleflight.Result
}

// soft fires when SoftTimeout has passed since began, if that matters.
func (b *batch[V]) soft(began time.Time) <-chan time.Time {
	if b.st.softTimeout <= 0 || b.st.failSafe <= 0 {
		return nil
	}
	return time.After(b.st.softTimeout - time.Since(began))
}

// batch is the flight of all keys that one call of GetOrSetMany leads. Others may wait for some of them; it is
// cancelled when nobody waits for any.
type batch[V any] struct {
	cache  *Cache[V]
	st     settings
	load   func(ctx context.Context, missing []string) (map[string]V, error)
	ctx    context.Context //nolint:containedctx // detached: its callers' ends are not its own
	cancel context.CancelFunc
	opened bool         // it is counted as running
	open   atomic.Int64 // flights that were not cancelled
	keeper *keeper      // of all leases

	legs []*leg[V]
}

// leg is one key of a batch.
type leg[V any] struct {
	job     *job[V]
	flight  *flight[V]
	seat    seat
	busy    bool              // another instance is loading it
	waits   bool              // its callers know that
	waiter  *coherence.Waiter // what wakes it then
	taken   int               // how many leases in a row it has taken from others
	lease   *heldLease        // its lease, while that is renewed
	loading uint64            // what had been seen of its key when its load began
	ended   bool              // it has its end, which need not be the batch's
	end     landing[V]
	err     error
}

// finish gives all who wait for the leg its end.
func (l *leg[V]) finish(end landing[V], err error) {
	l.ended = true
	l.flight.noteFailure(&end, err)
	l.job.cache.flights.conclude(l.job.key, l.flight, end, err)
}

func newBatch[V any](ctx context.Context, c *Cache[V], st settings, load func(ctx context.Context, missing []string) (map[string]V, error)) *batch[V] {
	b := &batch[V]{cache: c, st: st, load: load}
	b.ctx, b.cancel = context.WithCancel(detach(ctx))
	return b
}

// join joins the flight of the job's key, or makes its key a leg of the batch. It gives nil when the client is closed.
func (b *batch[V]) join(j *job[V]) (*flight[V], <-chan singleflight.Result) {
	s := b.cache.shared
	f, ch, led := s.flights.join(j.key, j.joinable, func() (*flight[V], func() (landing[V], error)) { return b.add(j), nil })
	if f != nil && !led {
		s.counts.joined.Add(1)
	}
	return f, ch
}

// refresh makes a key whose local copy is due to be loaded anew a leg of the batch, for which nobody waits, unless
// somebody is at it. So all refreshes that fall due in one call are one background load.
func (b *batch[V]) refresh(hash uint64, key string, m *meta) {
	j := &job[V]{cache: b.cache, key: key, hash: hash, st: b.st}
	if !j.refreshes(m) {
		return
	}
	s := b.cache.shared
	if s.flights.lead(key, j.joinable, func() (*flight[V], func() (landing[V], error)) { return b.add(j), nil }) {
		s.counts.refreshes.Add(1)
	}
}

// add makes a key a leg of the batch, with a flight that others may join.
func (b *batch[V]) add(j *job[V]) *flight[V] {
	if !b.opened {
		if b.opened = b.cache.client.start(); !b.opened {
			return nil
		}
	}
	f := j.newFlight()
	f.done = make(chan struct{})
	b.open.Add(1)
	f.cancel = sync.OnceFunc(func() {
		if b.open.Add(-1) == 0 {
			b.cancel()
		}
	})
	b.legs = append(b.legs, &leg[V]{job: j, flight: f})
	return f
}

// begin runs the batch, if there is anything for it to do.
func (b *batch[V]) begin() {
	if !b.opened {
		b.cancel()
		return
	}
	c := b.cache.client
	go func() {
		defer c.running.Done()
		defer b.cancel()
		defer func() {
			if r := recover(); r != nil {
				b.abort(c.caughtInLoad(r))
			}
		}()
		stop := context.AfterFunc(c.life, b.cancel)
		defer stop()
		ctx, span := c.spans.load(b.ctx, b.cache.name)
		span.end(b.run(ctx))
	}()
}

// run is the flight of all legs: far tier, leases, load, fill.
func (b *batch[V]) run(ctx context.Context) error {
	b.keeper = newKeeper(ctx, b.cache.client, b.legs[0].job)
	defer b.keeper.release()
	if !b.cache.client.opts.Disabled {
		b.readFar(ctx)
	}
	missing, waiting := b.left(false), b.left(true)
	var wg sync.WaitGroup
	if len(waiting) > 0 {
		wg.Go(func() {
			defer func() { b.cache.client.panics.Caught(loadPart, recover()) }() // they are loaded below then
			b.awaitOthers(ctx, waiting)
		})
	}
	var errs []error
	if len(missing) > 0 {
		errs = append(errs, b.runLoad(ctx, missing))
	}
	wg.Wait()
	waiting = slices.DeleteFunc(waiting, func(l *leg[V]) bool { return l.ended })
	if len(waiting) > 0 {
		errs = append(errs, b.runLoad(ctx, waiting))
	}
	return errors.Join(errs...)
}

// abort ends the legs without an end.
func (b *batch[V]) abort(err error) {
	for _, l := range b.legs {
		if !l.ended {
			l.finish(landing[V]{}, l.job.failure(err))
		}
	}
}

// left gives the legs without an end: those that wait for another instance's load, or the others.
func (b *batch[V]) left(busy bool) []*leg[V] {
	var out []*leg[V]
	for _, l := range b.legs {
		if !l.ended && l.busy == busy {
			out = append(out, l)
		}
	}
	return out
}

// readFar ends the legs that the far tier can serve, and takes seats for the others. Where both tiers may hold what this
// instance invalidated, neither is asked.
func (b *batch[V]) readFar(ctx context.Context) {
	s := b.cache.shared
	var legs []*leg[V]
	var keys []string
	until := s.client.patienceOfReads()
	for _, l := range b.legs {
		if err := s.validity.Blocked(ctx, until, l.job.hash, l.flight.tags...); err != nil {
			l.job.note(ctx, err)
			continue
		}
		legs, keys = append(legs, l), append(keys, s.prefix+l.job.key)
	}
	if len(legs) == 0 {
		return
	}
	if err := s.validity.CatchUp(ctx, b.cache.after, s.validity.AllLanes()...); err != nil {
		b.legs[0].job.note(ctx, err)
		return
	}
	for _, l := range legs {
		l.flight.ID = s.point(l.job.hash).ID
	}
	var claiming []*leg[V]
	tags, tagErr := s.tagsToCarry(ctx, &b.st)
	if tagErr != nil {
		legs[0].job.note(ctx, tagErr)
	}
	for _, l := range legs {
		l.flight.view.Restart()
	}
	results := s.client.far.GetMany(ctx, keys)
	for i, r := range results {
		s.flights.carries(legs[i].flight, s.tagHashes(tagNames(r.Record.Tags)))
	}
	known := s.versionsOf(ctx, results)
	now := time.Now()
	for i, r := range results {
		l := legs[i]
		seen, err := s.examine(ctx, now, l.job.hash, l.job.key, r.Record, r.Err, known)
		l.job.note(ctx, err)
		if end, err, served := l.job.served(l.flight, &r.Record, seen, err); served {
			l.finish(end, err)
			continue
		}
		if tagErr != nil {
			continue
		}
		seen, err = l.job.sweep(ctx, seen, err)
		var need bool
		if l.seat, need = seatOf(r.Record.Token, seen, err); need {
			claiming = append(claiming, l)
		}
		l.seat.tags = tags
	}
	waiting, free := b.ask(ctx, claiming)
	for _, l := range slices.Concat(waiting, free) {
		l.busy = true
	}
}

// hold renews a leg's lease, if it has one, until it is let go or the batch ends.
func (b *batch[V]) hold(l *leg[V]) {
	if l.seat.leased && l.lease == nil {
		l.lease = b.keeper.keep(b.cache.prefix+l.job.key, l.seat.witness, l.seat.since)
	}
}

// letGo ends the renewal of a leg's lease.
func (b *batch[V]) letGo(l *leg[V]) {
	if l.lease != nil {
		b.keeper.drop(l.lease)
		l.lease = nil
	}
}

// giveBack gives the leases of legs back, so that the next callers need not load without one.
func (b *batch[V]) giveBack(ctx context.Context, legs []*leg[V]) {
	s := b.cache.shared
	var leases []remote.Renewal
	var hashes []uint64
	for _, l := range legs {
		b.letGo(l)
		if l.seat.leased {
			leases = append(leases, remote.Renewal{Key: s.prefix + l.job.key, Token: l.seat.witness})
			hashes = append(hashes, l.job.hash)
		}
	}
	if len(leases) == 0 {
		return
	}
	awaited, errs := s.client.far.ReleaseMany(context.WithoutCancel(ctx), leases)
	b.note(ctx, errs)
	b.wake(ctx, hashes, func(i int) bool { return awaited[i] })
}

// wake tells other instances that loads that they wait for are over.
func (b *batch[V]) wake(ctx context.Context, hashes []uint64, awaited func(i int) bool) {
	woken := hashes[:0]
	for i, h := range hashes {
		if awaited(i) {
			woken = append(woken, h)
		}
	}
	if len(woken) > 0 {
		b.legs[0].job.note(ctx, b.cache.client.co.AnnounceFilled(ctx, woken))
	}
}

// note counts and logs what failed behind a batch.
func (b *batch[V]) note(ctx context.Context, errs []error) {
	for _, err := range errs {
		b.legs[0].job.note(ctx, err)
	}
}

// runLoad calls the loader for the legs that are left, and stores what it gives.
func (b *batch[V]) runLoad(ctx context.Context, missing []*leg[V]) error {
	s := b.cache.shared
	keys := make([]string, len(missing))
	for i, l := range missing {
		keys[i] = l.job.key
	}
	if err := ctx.Err(); err != nil {
		// Nobody waits any more, or the client is closing.
		b.giveBack(ctx, missing)
		for _, l := range missing {
			l.finish(landing[V]{}, l.job.failure(err))
		}
		return err
	}
	if slices.ContainsFunc(missing, func(l *leg[V]) bool { return l.job.down.Load() && len(l.seat.witness) == 0 }) {
		leave, err := s.client.enterLoad(ctx, b.st.hardTimeout)
		if err != nil {
			b.giveBack(ctx, missing)
			for _, l := range missing {
				l.finish(landing[V]{}, l.job.failure(err))
			}
			return err
		}
		defer leave()
	}
	s.counts.loads.Add(1)
	lctx, cancel := context.WithTimeout(ctx, b.st.hardTimeout)
	for _, l := range missing {
		b.hold(l)
		l.loading = l.flight.view.Restart()
	}
	began := local.Monotonic()
	lctx, own := withLoad(lctx, s, keys...)
	values, err := runLoader(lctx, s.client, func(ctx context.Context) (map[string]V, error) { return b.load(ctx, keys) })
	own.leave()
	cancel()
	took := time.Duration(local.Monotonic() - began)
	given := partial(err)
	if given.failed(keys, func(key string) bool { _, found := values[key]; return found }) {
		s.counts.loadErrors.Add(1)
	}
	// What was loaded is stored before anybody is told: who was told may look for it. Leases are renewed until then.
	for part := range slices.Chunk(missing, leasesTogether) {
		b.store(ctx, part, values, given, took)
	}
	for _, l := range missing {
		l.finish(l.end, l.err)
	}
	return err
}

// store stores what a load gave for some of its legs, and notes how these end.
func (b *batch[V]) store(ctx context.Context, legs []*leg[V], values map[string]V, given outcomes, took time.Duration) {
	s := b.cache.shared
	var fillings []remote.Filling
	var filling, idle []*leg[V]
	var none []contradicted[V]
	for _, l := range legs {
		v, found := values[l.job.key]
		var rec *remote.Record
		var absent bool
		switch absent, l.err = given.of(l.job.key, found); {
		case absent:
			l.err = ErrNotFound
			if rec = l.job.negative(l.flight, l.seat, took); rec == nil {
				none = append(none, contradicted[V]{l.job, l.flight, l.seat})
			}
		case l.err != nil:
			l.err = l.job.failure(l.err)
		default:
			l.end.answer = AnsweredLoad
			l.end.value, rec = l.job.encode(ctx, l.flight, l.seat, &v, took)
		}
		if rec == nil {
			idle = append(idle, l)
			continue
		}
		fillings = append(fillings, remote.Filling{Key: s.prefix + l.job.key, Seen: l.seat.witness, Record: rec})
		filling = append(filling, l)
	}
	b.giveBack(ctx, idle)
	s.retire(ctx, none...)
	for _, l := range idle {
		if l.err == nil || saysNotFound(l.err) {
			l.job.lands(l.flight, &l.end, nil, seat{}, false, l.loading)
		}
	}
	if len(fillings) == 0 {
		return
	}
	for _, l := range filling {
		l.flight.view.Restart()
	}
	filled, errs := s.client.far.FillMany(context.WithoutCancel(ctx), fillings)
	hashes := make([]uint64, len(filling))
	for i, l := range filling {
		b.letGo(l)
		hashes[i] = l.job.hash
		l.job.filled(ctx, len(fillings[i].Seen) > 0, filled[i].Stored, errs[i])
		l.job.lands(l.flight, &l.end, fillings[i].Record, l.seat, filled[i].Stored && errs[i] == nil, l.loading)
	}
	b.wake(ctx, hashes, func(i int) bool { return filled[i].Awaited })
}
