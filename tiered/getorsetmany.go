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
		case !errors.Is(err, ErrNotFound):
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

	legs []*leg[V]
}

// leg is one key of a batch.
type leg[V any] struct {
	job    *job[V]
	flight *flight[V]
	seat   seat
	busy   bool // another instance is loading it
	// release ends the renewal of its lease.
	release func()
	ended   bool
	end     landing[V]
	err     error
	done    chan struct{} // closed when the leg has its end, which need not be the batch's
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
			l.release = l.job.hold(ctx, l.seat) // others may wait longer
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
	s.client.far.AcquireMany(ctx, claims, leaseLife)
	for i, claim := range claims {
		l := claiming[i]
		how, end, err := l.job.claimed(ctx, l.flight, &l.seat, claim.Token, claim.Won, claim.Found, claim.Err)
		switch how {
		case loaded:
			l.finish(end, err)
		case busy, free:
			l.busy = true
		}
	}
}

// hold keeps the leases of all legs alive until release is called.
func (b *batch[V]) hold(ctx context.Context, legs []*leg[V]) (release func()) {
	for _, l := range legs {
		if l.release == nil {
			l.release = l.job.hold(ctx, l.seat)
		}
	}
	return func() {
		for _, l := range legs {
			l.release()
		}
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
		for _, l := range missing {
			l.finish(landing[V]{}, l.job.failed(ctx, l.seat, err))
		}
		return err
	}
	s.counts.loads.Add(1)
	lctx, cancel := context.WithTimeout(ctx, b.st.hardTimeout)
	release := b.hold(ctx, missing)
	began := local.Monotonic()
	values, err := runLoader(lctx, s.client, func(ctx context.Context) (map[string]V, error) { return b.load(ctx, keys) })
	release()
	cancel()
	took := time.Duration(local.Monotonic() - began)
	if errors.Is(err, ErrNotFound) {
		values, err = nil, nil // none of them exists
	}
	if err != nil {
		s.counts.loadErrors.Add(1)
	}
	// What was loaded is stored before anybody is told: who was told may look for it.
	var fillings []remote.Filling
	var filling []*leg[V]
	ends := make([]func(), 0, len(missing))
	for _, l := range missing {
		v, found := values[l.job.key]
		var end landing[V]
		var rec *remote.Record
		legErr := err
		switch {
		case err != nil:
			legErr = l.job.failed(ctx, l.seat, err)
		case !found:
			legErr = ErrNotFound
			rec = l.job.negative(l.flight, l.seat, took)
		default:
			end.answer = AnsweredLoad
			end.value, rec = l.job.encode(l.flight, l.seat, &v, took)
		}
		if rec != nil {
			fillings = append(fillings, remote.Filling{Key: s.prefix + l.job.key, Seen: l.seat.witness, Record: rec})
			filling = append(filling, l)
		} else if err == nil {
			l.job.release(ctx, l.seat)
		}
		ends = append(ends, func() { l.finish(end, legErr) })
	}
	if len(fillings) > 0 {
		filled, errs := s.client.far.FillMany(context.WithoutCancel(ctx), fillings)
		for i := range fillings {
			missing[0].job.filled(len(fillings[i].Seen) > 0, filled[i].Stored, errs[i])
			if filled[i].Awaited {
				filling[i].job.wakeOthers(ctx)
			}
		}
	}
	for _, end := range ends {
		end()
	}
	return err
}
