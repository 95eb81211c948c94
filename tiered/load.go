package tiered

import (
	"context"
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// run is the flight: far tier, lease, load, fill.
func (j *job[V]) run(ctx context.Context, f *flight[V]) (landing[V], error) {
	s := j.cache.shared
	if s.client.opts.Disabled {
		return j.runLoad(ctx, f, seat{})
	}
	l := j.looked
	reading := j.within(ctx)
	if err := s.validity.Blocked(ctx, j.until, j.hash, f.tags...); err != nil {
		j.note(ctx, err)
		return j.runLoad(ctx, f, seat{}) // both tiers may hold what this instance invalidated
	}
	if l == nil || errors.Is(l.err, ErrNotFound) {
		if err := s.validity.CatchUp(reading, j.cache.after, s.validity.LaneOf(j.hash)); err != nil {
			j.note(ctx, err)
			return j.runLoad(ctx, f, seat{})
		}
		f.ID = s.point(j.hash).ID // catching up may have told of more
	}
	if l == nil {
		if j.claimsFirst() {
			st := seat{unread: true}
			if end, err, served := j.claim(ctx, f, &st); served {
				return end, err
			}
			return j.runLoad(ctx, f, st)
		}
		// A flight's callers leave the flight; it does not leave the far tier.
		l = &looked[V]{}
		f.view.Restart()
		rec, err := s.client.calls.read(remote.Stay(reading), s.prefix+j.key)
		s.flights.carries(f, s.tagHashes(tagNames(rec.Tags)))
		l.rec = rec
		l.seen, l.err = s.examine(ctx, time.Now(), j.hash, j.key, rec, err, nil)
	}
	j.note(ctx, l.err)
	if end, err, served := j.served(f, &l.rec, l.seen, l.err); served {
		return end, err
	}
	seen, err := j.sweep(ctx, l.seen, l.err)
	st, need := seatOf(l.rec.Token, seen, err)
	if need || st.witness != nil {
		if st.tags, err = s.tagsToCarry(reading, &j.st); err != nil {
			j.note(ctx, err)
			return j.runLoad(ctx, f, seat{})
		}
	}
	if need {
		if end, err, served := j.claim(ctx, f, &st); served {
			return end, err
		}
	}
	return j.runLoad(ctx, f, st)
}

// sweep removes what is too short for a fill to recognize it again, a byte or none, so that a lease can take its place.
// It was no entry, so nothing is announced.
func (j *job[V]) sweep(ctx context.Context, seen farCopy[V], err error) (farCopy[V], error) {
	var malformed *remote.MalformedError
	if !errors.As(err, &malformed) || len(malformed.Seen) > 0 {
		return seen, err
	}
	if _, err = j.cache.client.far.Sweep(ctx, j.cache.prefix+j.key); err != nil {
		j.note(ctx, err)
		return seen, err
	}
	return farCopy[V]{}, ErrNotFound // or what somebody has stored meanwhile, which refuses the lease
}

// served ends the flight with what the far tier holds, if that can be served.
func (j *job[V]) served(f *flight[V], rec *remote.Record, seen farCopy[V], err error) (landing[V], error, bool) {
	s := j.cache.shared
	switch seen.state {
	case live:
		if j.refresh && j.dueAgain(rec) {
			return landing[V]{}, nil, false
		}
		s.metFar(true)
		return j.found(f, rec, seen), nil, true
	case negative:
		s.metFar(true)
		return j.found(f, rec, seen), ErrNotFound, true
	case stale:
		f.stale.add(&kept[V]{value: seen.value, from: f.Point, tags: s.tagHashes(tagNames(rec.Tags))})
	}
	if seen.state != nothing || errors.Is(err, ErrNotFound) { // an outage is not a miss
		s.metFar(false)
	}
	return landing[V]{}, nil, false
}

// found is the landing of a flight that found a value, or the record that there is none, and keeps a local copy.
func (j *job[V]) found(f *flight[V], rec *remote.Record, seen farCopy[V]) landing[V] {
	since := f.view.Since()
	overtaken := j.cache.keep(&f.view, coherence.SeenAt(rec), seen.at, j.hash, j.key, seen.value, f.Point, rec, &j.st)
	end := landing[V]{value: seen.value, overtaken: overtaken, since: since}
	if seen.state == live {
		end.answer = AnsweredFar
	}
	return end
}

// metFar counts a far hit or miss of a flight.
func (s *shared[V]) metFar(hit bool) {
	if hit {
		s.counts.farHits.Add(1)
	} else {
		s.counts.farMisses.Add(1)
	}
	s.recent.note(hit)
}

// claimsFirst tells whether a flight begins with asking for the lease, which is refused with whatever is there: a round trip less
// than a read before it where most keys are missing, as when a cache is cold. A lease shows the tags of what is being loaded, and
// their versions take a round trip that a far hit can do without; and a refresh wants what is there replaced.
func (j *job[V]) claimsFirst() bool {
	return !j.refresh && len(j.st.tags) == 0 && j.cache.recent.mostlyMisses()
}

// recency remembers the last eight far hits and misses. Two notes at the same time may be one: it is a guess anyhow.
type recency struct{ misses atomic.Uint32 }

func (r *recency) note(hit bool) {
	last := r.misses.Load() << 1
	if !hit {
		last |= 1
	}
	r.misses.Store(last)
}

func (r *recency) mostlyMisses() bool { return bits.OnesCount8(uint8(r.misses.Load())) > 5 }

// dueAgain tells a refresh whether the far value is the old one still, or one that another instance has just refreshed.
func (j *job[V]) dueAgain(rec *remote.Record) bool {
	left, forever := rec.Remaining(time.Now())
	return !forever && left <= min(j.st.refreshAhead, rec.TTL/2) // see keep: no copy is refreshed in the first half of its life
}

// seat is a load's right to fill: what must still be in place then. Without a witness the load still runs, and fills
// only the near tier.
type seat struct {
	witness []byte // the token of a lease, or what stands in the place of the token of the record that is to be replaced
	leased  bool   // the lease is this load's own
	// replaces is the token of a record that was invalidated, in whose place a lease may be taken.
	replaces []byte
	tags     []remote.Tag
	unread   bool // nobody has looked yet what is there
	// since is when the lease was asked for, a reading of local.Monotonic: its life is counted from then at the earliest.
	since int64
}

// seatOf gives the right to replace what was seen, or says that a lease is needed because nothing was there, or somebody
// else's. A record of a later version and another Redis type are left alone; a far tier that could not be read is not
// written either.
func seatOf[V any](token remote.Token, seen farCopy[V], err error) (st seat, needLease bool) {
	var malformed *remote.MalformedError
	switch {
	case errors.As(err, &malformed):
		return seat{witness: malformed.Seen}, false
	case seen.state == stale && seen.value == nil:
		return seat{replaces: token[:]}, true
	case seen.state == live || seen.state == stale || seen.state == unreadable:
		return seat{witness: token[:]}, false
	}
	return seat{}, seen.state == leased || seen.state == overtaken || seen.state == nothing && errors.Is(err, ErrNotFound)
}

// runLoad runs the loader and stores what it gives.
func (j *job[V]) runLoad(ctx context.Context, f *flight[V], st seat) (landing[V], error) {
	s := j.cache.shared
	if ctx.Err() != nil {
		// Nobody waits any more, or the client is closing.
		return landing[V]{}, j.failed(ctx, st, ctx.Err())
	}
	if (len(st.witness) == 0 || j.looked != nil && !st.leased) && !j.refresh {
		// A caller that looked near just before another's load ended comes here after it. Nobody else's fill stands
		// between it and the source, so it looks again.
		switch n := j.cache.near(ctx, j.hash, j.key); n.state {
		case usable, refreshable:
			return landing[V]{value: n.value, answer: AnsweredLoad}, nil
		case absent:
			return landing[V]{}, ErrNotFound
		}
	}
	if j.down.Load() && len(st.witness) == 0 {
		leave, err := s.client.enterLoad(ctx, j.st.hardTimeout)
		if err != nil {
			return landing[V]{}, j.failed(ctx, st, err)
		}
		defer leave()
	}
	s.counts.loads.Add(1)
	lctx, cancel := context.WithTimeout(ctx, j.st.hardTimeout)
	release := j.hold(ctx, st)
	loading := f.view.Restart()
	began := local.Monotonic()
	lctx, own := withLoad(lctx, s, j.key)
	v, err := runLoader(lctx, s.client, j.load)
	own.leave()
	release()
	cancel()
	took := time.Duration(local.Monotonic() - began)
	var rec *remote.Record
	end := landing[V]{answer: AnsweredLoad}
	switch {
	case saysNotFound(err):
		err = ErrNotFound
		if rec = j.negative(f, st, took); rec == nil {
			j.release(ctx, st)
			s.retire(ctx, contradicted[V]{j, f, st})
			j.lands(f, &end, nil, seat{}, false, loading)
			return end, err
		}
	case err != nil:
		s.counts.loadErrors.Add(1)
		return landing[V]{}, j.failed(ctx, st, err)
	default:
		end.value, rec = j.encode(ctx, f, st, &v, took)
	}
	if rec == nil {
		j.release(ctx, st)
		j.lands(f, &end, nil, seat{}, false, loading)
		return end, err
	}
	f.view.Restart()
	filled, fillErr := s.client.calls.fill(ctx, remote.Filling{Key: s.prefix + j.key, Seen: st.witness, Record: rec})
	j.filled(ctx, len(st.witness) > 0, filled.Stored, fillErr)
	if filled.Awaited {
		j.wakeOthers(ctx)
	}
	j.lands(f, &end, rec, st, filled.Stored && fillErr == nil, loading)
	return end, err
}

// lands keeps a local copy of what a load gave, if rec is its record, and completes its landing.
// What was stored is newer than what was there when it was; of any other value nobody knows more
// than that it is as new as the beginning of its load.
func (j *job[V]) lands(f *flight[V], end *landing[V], rec *remote.Record, st seat, stored bool, loading uint64) {
	s := j.cache.shared
	if s.client.opts.Disabled {
		return
	}
	x := coherence.Sighting{Found: end.value != nil, Loaded: true}
	if rec != nil {
		x = coherence.StoredAs(rec, st.witness)
		x.Loaded = !stored
	}
	if x.Loaded {
		f.view.Reach(loading)
	}
	end.since = f.view.Since()
	switch {
	case rec != nil:
		end.overtaken = s.keep(&f.view, x, time.Now(), j.hash, j.key, end.value, f.Point, rec, &j.st)
	case x.Found:
		end.overtaken = s.keepCopy(&f.view, x, j.key, nil)
	default:
		s.validity.Note(&f.view, x)
	}
}

// failed ends a flight whose loader failed.
func (j *job[V]) failed(ctx context.Context, st seat, err error) error {
	j.release(ctx, st)
	return j.failure(err)
}

// failure is the error of a load that failed, as its callers get it.
func (j *job[V]) failure(err error) error {
	if j.cache.client.isClosed() {
		return ErrClosed
	}
	return &LoadError{Key: j.key, Err: failureOf(err)}
}

// encode gives the record of a loaded value, and the value as later reads will give it.
// A value that cannot be encoded has no record: that is counted and logged, and the caller has its value.
func (j *job[V]) encode(ctx context.Context, f *flight[V], st seat, v *V, took time.Duration) (*V, *remote.Record) {
	s := j.cache.shared
	if s.client.opts.Disabled {
		return v, nil
	}
	rec, err := s.record(j.key, v, &j.st, j.tags(st))
	if err == nil {
		var read *V
		if read, err = s.asRead(j.key, rec, v); err == nil {
			v = read
		}
	}
	if err != nil {
		s.counts.storeErrors.Add(1)
		s.failures.warn(ctx, "doppio: a loaded value cannot be stored", s.name, err)
		return v, nil
	}
	rec.Stamp, rec.Load = f.ID, took
	return v, rec
}

// tags are those of the record that a load leaves. Where there is no far copy, whose tags' versions would matter, they
// have none: a near copy checks its tags by what this instance hears.
func (j *job[V]) tags(st seat) []remote.Tag {
	if len(st.witness) > 0 || len(st.tags) > 0 {
		return st.tags
	}
	var tags []remote.Tag
	for _, t := range j.st.tags {
		tags = append(tags, remote.Tag{Name: t})
	}
	return tags
}

// negative gives the record of a loader's word that there is no such thing; nil if that is not to be kept.
func (j *job[V]) negative(f *flight[V], st seat, took time.Duration) *remote.Record {
	s := j.cache.shared
	if j.st.negative <= 0 || s.client.opts.Disabled {
		return nil
	}
	return &remote.Record{
		Kind: remote.KindNegative, Token: remote.NewToken(), Stamp: f.ID, Created: time.Now(),
		TTL: farLife(j.st.negative, j.st.jitter), Load: took, Tags: j.tags(st),
	}
}

// filled counts how a fill went.
func (j *job[V]) filled(ctx context.Context, tried, stored bool, err error) {
	s := j.cache.shared
	switch {
	case !tried:
		s.counts.fillsSkipped.Add(1)
	case err != nil:
		if !coherence.ContextEnded(err) {
			s.counts.storeErrors.Add(1)
			j.warn(ctx, err)
		}
	case stored:
		s.counts.fills.Add(1)
	default:
		s.counts.fillsRefused.Add(1)
	}
}

// release gives a lease back, so that the next caller need not load without one.
func (j *job[V]) release(ctx context.Context, st seat) {
	if !st.leased {
		return
	}
	awaited, err := j.cache.client.far.Release(context.WithoutCancel(ctx), j.cache.prefix+j.key, st.witness)
	j.note(ctx, err)
	if awaited {
		j.wakeOthers(ctx)
	}
}

// note counts and logs an error of the far tier that no caller sees.
func (j *job[V]) note(ctx context.Context, err error) {
	if err == nil || errors.Is(err, ErrNotFound) {
		return
	}
	s := j.cache.shared
	if coherence.ContextEnded(err) {
		return // the load was abandoned: nothing failed
	}
	if errors.Is(err, ErrRemoteUnavailable) {
		j.down.Store(true)
	}
	if farFailure(err) {
		s.counts.farErrors.Add(1)
	}
	j.warn(ctx, err)
}

// warn logs an error of the remote tier that no caller sees.
func (j *job[V]) warn(ctx context.Context, err error) {
	s := j.cache.shared
	s.failures.warn(ctx, "doppio: remote tier failed behind a load", s.name, err)
}
