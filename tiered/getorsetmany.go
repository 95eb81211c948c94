package tiered

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// GetOrSetMany gives the values under keys, and loads those that neither tier has, with one call of load for all of
// them that nobody else is loading. Keys that load leaves out are not found, and absent from the map. What failed is in
// a *BatchError, beside what was found. Cancellation, panics and outages are as for GetOrSet.
//
// load may fail for some of the keys, and what it returns beside its error is kept and returned as if there was none.
// A *BatchError names the keys that failed, each with an error of its own, of which ErrNotFound says that there is no
// such thing; a key in it has failed even if there is a value for it, and what it does not name is found, or not found
// when it was left out. Any other error is that of every key without a value. So a loader that returns values which are
// not to be used must return none of them. Keys that nobody asked for are ignored.
func (c *Cache[V]) GetOrSetMany(ctx context.Context, keys []string, load func(ctx context.Context, missing []string) (map[string]V, error), opts ...EntryOption) (map[string]V, error) {
	st, err := c.defaults.with(opts)
	if err != nil {
		return nil, err
	}
	if load == nil {
		return nil, &OptionError{Field: "load", Reason: "must not be nil"}
	}
	keys, failed := c.distinct(keys)
	out := make(map[string]V, len(keys))
	b := &batch[V]{cache: c, st: st, load: load}
	waits := make([]waiting[V], 0, len(keys))
	if err := ctx.Err(); err != nil {
		return out, err
	}
	b.ctx, b.cancel = context.WithCancel(detach(ctx))
	for _, key := range keys {
		hash := c.hash(key)
		n := c.near(ctx, hash, key)
		j := &job[V]{cache: c, key: key, hash: hash, st: st}
		switch n.state {
		case usable:
			out[key] = *n.value
			continue
		case refreshable:
			out[key] = *n.value
			j.load = b.single(key)
			j.refreshAhead(ctx, n.entry.Meta.(*meta))
			continue
		case absent:
			continue
		case expired:
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
	b.begin()
	for i, w := range waits {
		l, err := w.job.wait(ctx, w.flight, w.landing, b.soft(began))
		switch {
		case err == nil:
			out[w.job.key] = *l.value
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			for _, rest := range waits[i+1:] {
				c.flights.leave(rest.job.key, rest.flight)
			}
			return out, ctx.Err()
		case !saysNotFound(err):
			failed.add(w.job.key, err)
		}
	}
	return out, failed.err()
}

type waiting[V any] struct {
	job     *job[V]
	flight  *flight[V]
	landing <-chan singleflight.Result
}

// single is the batch's loader for one key.
func (b *batch[V]) single(key string) func(context.Context) (V, error) {
	return func(ctx context.Context) (V, error) {
		values, err := b.load(ctx, []string{key})
		v, found := values[key]
		if err == nil && !found {
			err = ErrNotFound
		}
		return v, err
	}
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
	ctx    context.Context
	cancel context.CancelFunc
	open   atomic.Int64 // flights that were not cancelled
	keeper *keeper      // of all leases

	legs []*leg[V]
}

// leg is one key of a batch.
type leg[V any] struct {
	job    *job[V]
	flight *flight[V]
	seat   seat
	busy   bool       // another instance is loading it
	lease  *heldLease // its lease, while that is renewed
	ended  bool
	end    landing[V]
	err    error
	done   chan struct{} // closed when the leg has its end, which need not be the batch's
}

func (l *leg[V]) finish(end landing[V], err error) {
	l.ended, l.end, l.err = true, end, err
	close(l.done)
}

// join joins the flight of the job's key, or makes its key a leg of the batch.
func (b *batch[V]) join(j *job[V]) (*flight[V], <-chan singleflight.Result) {
	s := b.cache.shared
	f, ch, led := s.flights.join(j.key, j.joinable, func() (*flight[V], func() (landing[V], error)) {
		if !s.client.start() {
			return nil, nil
		}
		f := j.newFlight()
		b.open.Add(1)
		f.cancel = sync.OnceFunc(func() {
			if b.open.Add(-1) == 0 {
				b.cancel()
			}
		})
		l := &leg[V]{job: j, flight: f, done: make(chan struct{})}
		b.legs = append(b.legs, l)
		return f, func() (landing[V], error) {
			defer s.client.running.Done()
			<-l.done
			return l.end, l.err
		}
	})
	if f != nil && !led {
		s.counts.joined.Add(1)
	}
	return f, ch
}

// begin runs the batch, if there is anything for it to do.
func (b *batch[V]) begin() {
	c := b.cache.client
	if len(b.legs) == 0 {
		b.cancel()
		return
	}
	if !c.start() {
		for _, l := range b.legs {
			l.finish(landing[V]{}, ErrClosed)
		}
		return
	}
	go func() {
		defer c.running.Done()
		defer b.cancel()
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
	for _, l := range waiting {
		wg.Go(func() {
			if end, err, served := l.job.claim(ctx, l.flight, &l.seat); served {
				l.finish(end, err)
				return
			}
			b.hold(l) // others may wait longer
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
	if err := b.cache.catchUp(ctx, s.client.co.allLanes()...); err != nil {
		b.legs[0].job.note(err)
		return
	}
	for _, l := range b.legs {
		l.flight.id = s.origin(l.job.hash).id
	}
	var legs []*leg[V]
	var keys []string
	for _, l := range b.legs {
		if err := s.client.co.pending.blocks(s.name, l.job.hash, l.flight.tags...); err != nil {
			l.job.note(err)
			continue
		}
		legs, keys = append(legs, l), append(keys, s.prefix+l.job.key)
	}
	if len(legs) == 0 {
		return
	}
	var claims []remote.Claim
	var claiming []*leg[V]
	tags, tagErr := s.tagsToCarry(ctx, &b.st)
	if tagErr != nil {
		legs[0].job.note(tagErr)
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
		l.job.note(err)
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
			claims = append(claims, remote.Claim{Key: keys[i], Token: remote.NewToken(), Stamp: l.flight.id, Tags: tags, Replaces: l.seat.replaces})
			claiming = append(claiming, l)
		}
		l.seat.tags = tags
	}
	if len(claims) == 0 {
		return
	}
	// Leases of the first keys are renewed while those of the last are taken.
	for len(claims) > 0 && ctx.Err() == nil {
		n := min(len(claims), leasesTogether)
		since := local.Monotonic()
		s.client.far.AcquireMany(context.WithoutCancel(ctx), claims[:n], leaseLife)
		for i, claim := range claims[:n] {
			l := claiming[i]
			l.seat.since = since
			how, end, err := l.job.claimed(ctx, l.flight, &l.seat, claim.Token, claim.Won, claim.Found, claim.Err)
			switch how {
			case loaded:
				l.finish(end, err)
			case busy, free:
				l.busy = true
			case seated:
				b.hold(l)
			}
		}
		claims, claiming = claims[n:], claiming[n:]
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
	b.note(errs)
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
		b.legs[0].job.note(b.cache.wakeOthers(ctx, woken))
	}
}

// note counts and logs what failed behind a batch.
func (b *batch[V]) note(errs []error) {
	for _, err := range errs {
		b.legs[0].job.note(err)
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
	s.counts.loads.Add(1)
	lctx, cancel := context.WithTimeout(ctx, b.st.hardTimeout)
	for _, l := range missing {
		b.hold(l)
	}
	began := local.Monotonic()
	values, err := runLoader(lctx, s.client, func(ctx context.Context) (map[string]V, error) { return b.load(ctx, keys) })
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
			l.end.value, rec = l.job.encode(l.flight, l.seat, &v, took)
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
	if len(fillings) == 0 {
		return
	}
	filled, errs := s.client.far.FillMany(context.WithoutCancel(ctx), fillings)
	hashes := make([]uint64, len(filling))
	for i, l := range filling {
		b.letGo(l)
		hashes[i] = l.job.hash
		l.job.filled(len(fillings[i].Seen) > 0, filled[i].Stored, errs[i])
	}
	b.wake(ctx, hashes, func(i int) bool { return filled[i].Awaited })
}
