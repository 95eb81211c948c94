package tiered

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/flight"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// load is the loading of the keys that one call leads: of one key for GetOrSet, of many for
// GetOrSetMany. Other callers may wait for some of them; it is cancelled when no caller waits for
// any.
//
//	readRemote     ends the keys that the remote tier has, and sets what may be replaced of the others
//	acquireLeases  takes leases on keys that no instance loads
//	awaitOthers    waits for the loads of other instances
//	runLoader      callLoader for the keys that are left, and fill, which stores what it returned
type load[V any] struct {
	cache  *Cache[V]
	st     settings
	one    func(context.Context) (V, error)                                  // the loader of one key
	many   func(ctx context.Context, missing []string) (map[string]V, error) // the loader of many; nil with one
	keys   []*keyLoad[V]                                                     // of which first and single are the room for one
	first  [1]*keyLoad[V]
	single keyLoad[V]

	refresh bool // the values are live: load them anew unless another instance just did

	ctx    context.Context //nolint:containedctx // detached: the ends of its callers are not its own
	cancel context.CancelFunc
	opened bool              // it is counted as running
	open   atomic.Int64      // calls that were not cancelled
	until  time.Time         // from then on the load no longer waits for the remote tier before it calls the loader
	down   atomic.Bool       // the remote tier could not be asked
	keeper leaseKeeper       // of all leases
	waiter *coherence.Waiter // of the keys whose leases were asked for: wakes those that are busy; nil: there are none
}

// keyLoad is one key of a load.
type keyLoad[V any] struct {
	*request[V]                // of the caller that began it
	call        *call[V]       // what its callers wait for
	read        *prefetched[V] // what the caller has read; nil: nothing
	right       fillRight

	busy    bool       // another instance is loading it
	waits   bool       // its callers know that
	taken   int        // how many leases in a row it has taken from others
	lease   *heldLease // its lease, while that is renewed
	loading uint64     // the moment, as of coherence.View, when its loader was called
	ended   bool       // it has its result, which need not be the load's
	res     result[V]
	err     error
}

// result is what a call gives each caller that waits for it.
type result[V any] struct {
	value  *V
	source Source

	// overtaken: others have seen something newer while it was read or loaded, after since. A
	// caller that joined after that may be one of those, and is not given it.
	overtaken bool
	since     uint64
}

// callInfo is what is known of the load of one key.
type callInfo[V any] struct {
	coherence.Point                      // what was known when it began: a caller may join only if nothing newer is known about its key, or about its tags
	after           []coherence.Position // what its remote read must see: see Cache.After
	view            coherence.View       // what others see of the key meanwhile
	first           uint64               // the moment, as of view, when it began
	trusted         bool                 // it began while local copies were trusted
	busy            chan struct{}        // closed when it waits for another instance's load
	fallbacks       keptCopies[V]

	tags []uint64 // guarded by the flights' lock: hashes of the tags of what is being loaded, and of what the remote tier holds
}

type (
	call[V any]   = flight.Call[callInfo[V], result[V]]
	ticket[V any] = flight.Ticket[callInfo[V], result[V]]
)

func newLoad[V any](ctx context.Context, c *Cache[V], st *settings) *load[V] {
	l := &load[V]{cache: c, st: *st}
	l.keys = l.first[:0]
	l.ctx, l.cancel = context.WithCancel(detach(ctx))
	return l
}

// begin makes the call of a load of one key, which goes on with what the caller has read. It
// returns nil when the client is closed.
func (l *load[V]) begin(r *request[V], read *prefetched[V]) (*call[V], func() (result[V], error)) {
	if !l.cache.shared.client.start() {
		l.cancel()
		return nil, nil
	}
	k := l.add(r, read)
	k.call.Cancel = l.cancel
	return k.call, func() (result[V], error) {
		l.execute()
		return k.res, k.err
	}
}

// add adds a key.
func (l *load[V]) add(r *request[V], read *prefetched[V]) *keyLoad[V] {
	c := r.cache
	f := &call[V]{Info: callInfo[V]{Point: c.shared.point(r.hash), after: c.after, tags: c.shared.tagHashes(r.st.tags), busy: make(chan struct{})}}
	if read != nil && read.found.state != miss {
		f.Info.Point = read.Point // what was read then may be served yet
		f.Info.tags = append(f.Info.tags, c.shared.tagHashes(tagNames(read.rec.Tags))...)
	}
	f.Info.fallbacks.there = make(chan struct{})
	f.Info.fallbacks.add(r.fallback)
	f.Info.view = c.shared.view(r.hash)
	f.Info.first = f.Info.view.Since()
	if c.shared.validity != nil {
		f.Info.trusted = f.Info.Begun < c.shared.validity.TrustedUntil()
	}
	k := &l.single
	if len(l.keys) > 0 {
		k = new(keyLoad[V])
	}
	k.request, k.call, k.read = r, f, read
	l.keys = append(l.keys, k)
	return k
}

// execute runs the load to its end.
func (l *load[V]) execute() {
	c := l.cache.shared.client
	defer c.running.Done()
	defer l.cancel()
	defer func() {
		if r := recover(); r != nil {
			l.abort(c.caughtInLoad(r))
		}
	}()
	stop := context.AfterFunc(c.life, l.cancel)
	defer stop()
	ctx, span := c.spans.load(l.ctx, l.cache.shared.name)
	span.end(l.run(ctx))
}

// run is the path of every load. Keys that other instances load are waited for while the loader
// runs for the others.
func (l *load[V]) run(ctx context.Context) error {
	l.keeper.start(ctx, l.cache.shared.client, l)
	defer l.keeper.release()
	defer func() {
		if l.waiter != nil {
			l.waiter.Stop()
		}
	}()
	if !l.cache.shared.client.opts.Disabled {
		l.acquireLeases(ctx, l.readRemote(ctx))
	}
	missing, waiting := l.left(false), l.left(true)
	if len(waiting) == 0 {
		return l.runLoader(ctx, missing)
	}
	if len(missing) == 0 {
		l.awaitOthers(ctx, waiting)
		return l.runLoader(ctx, unended(waiting))
	}
	var others sync.WaitGroup
	loaded := false
	defer func() {
		if !loaded { // a panic: the keys that wait must not get a result from two goroutines
			l.cancel()
			others.Wait()
		}
	}()
	others.Go(func() {
		defer func() { l.cache.shared.client.panics.Caught(loadPart, recover()) }() // the keys are loaded below then
		l.awaitOthers(ctx, waiting)
	})
	err := l.runLoader(ctx, missing)
	others.Wait()
	loaded = true
	return errors.Join(err, l.runLoader(ctx, unended(waiting)))
}

// unended returns those of keys that have no result.
func unended[V any](keys []*keyLoad[V]) []*keyLoad[V] {
	return filter(keys, func(k *keyLoad[V]) bool { return !k.ended })
}

// left returns the keys without a result: those that wait for another instance's load, or the
// others.
func (l *load[V]) left(busy bool) []*keyLoad[V] {
	return filter(l.keys, func(k *keyLoad[V]) bool { return !k.ended && k.busy == busy })
}

// filter returns the elements of s for which ok reports true: s itself, if all are, which must not
// be changed.
func filter[T any](s []T, ok func(T) bool) []T {
	for i := range s {
		if ok(s[i]) {
			continue
		}
		var out []T
		out = append(out, s[:i]...)
		for _, v := range s[i+1:] {
			if ok(v) {
				out = append(out, v)
			}
		}
		return out
	}
	return s
}

// finish gives a key its result. The caller of one key gets it when the load has ended, those of
// many at once.
func (l *load[V]) finish(k *keyLoad[V], res result[V], err error) {
	if failed := (*LoadError)(nil); errors.As(err, &failed) {
		// Values past their life, which may serve in its place, are from before what others have
		// seen.
		res.overtaken, res.since = k.call.Info.view.FoundSince(k.call.Info.first), k.call.Info.first
	}
	k.ended, k.res, k.err = true, res, err
	if l.many != nil {
		l.cache.shared.flights.Finish(k.key, k.call, res, err)
	}
}

// finishAll gives keys the error of a load that failed.
func (l *load[V]) finishAll(keys []*keyLoad[V], err error) {
	for _, k := range keys {
		if !k.ended {
			l.finish(k, result[V]{}, l.failure(k, err))
		}
	}
}

// abort ends the keys without a result.
func (l *load[V]) abort(err error) { l.finishAll(l.keys, err) }

// failure is the error of a load that failed, as the callers of a key get it.
func (l *load[V]) failure(k *keyLoad[V], err error) error {
	if l.cache.shared.client.isClosed() {
		return ErrClosed
	}
	return &LoadError{Key: k.key, Err: failureOf(err)}
}

// readRemote ends the keys that the remote tier can serve, and sets what may be replaced of the
// others. It returns the keys that need a lease. Where both tiers may hold what this instance
// invalidated, neither is read.
func (l *load[V]) readRemote(ctx context.Context) (claiming []*keyLoad[V]) {
	s := l.cache.shared
	reading := l.limit(ctx)
	keys := filter(l.keys, func(k *keyLoad[V]) bool {
		err := s.validity.Blocked(ctx, l.until, k.hash, k.call.Info.tags...)
		l.note(ctx, err)
		return err == nil
	})
	if len(keys) == 0 {
		return nil
	}
	if slices.ContainsFunc(keys, func(k *keyLoad[V]) bool { return k.read == nil || errors.Is(k.read.err, ErrNotFound) }) {
		if err := l.catchUp(reading, keys); err != nil {
			l.note(ctx, err)
			return nil
		}
	}
	if l.leasesFirst() {
		keys[0].right.unread = true
		return keys
	}
	found := l.lookUp(reading, keys)
	need := false
	for i, k := range keys {
		r := &found[i]
		l.note(ctx, r.err)
		if res, served, err := l.serve(k, r); served {
			l.finish(k, res, err)
			continue
		}
		r.found, r.err = l.sweep(ctx, k, r.found, r.err)
		var lease bool
		if k.right, lease = fillRightFor(r.rec.Token, r.found, r.err); lease {
			claiming = append(claiming, k)
		}
		need = need || lease || len(k.right.expected) > 0
	}
	if !need {
		return claiming
	}
	tags, err := s.tagsToCarry(reading, &l.st)
	if err != nil {
		l.note(ctx, err)
		for _, k := range keys {
			k.right = fillRight{}
		}
		return nil
	}
	for _, k := range keys {
		k.right.tags = tags
	}
	return claiming
}

// limit returns the context of what a load asks the remote tier before it calls the loader: all of
// it ends RemoteReadTimeout after the caller, or the load, began to ask.
func (l *load[V]) limit(ctx context.Context) context.Context {
	l.until = l.cache.shared.client.patienceOfReads()
	if k := l.keys[0]; k.read != nil {
		l.until = l.until.Add(-time.Duration(local.Monotonic() - k.read.Begun))
	}
	return remote.Until(ctx, l.until)
}

// catchUp makes a remote read of keys see what was cleared.
func (l *load[V]) catchUp(ctx context.Context, keys []*keyLoad[V]) (err error) {
	s := l.cache.shared
	if len(keys) == 1 {
		err = s.validity.CatchUp(ctx, l.cache.after, s.validity.LaneOf(keys[0].hash))
	} else {
		err = s.validity.CatchUp(ctx, l.cache.after, s.validity.AllLanes()...)
	}
	for _, k := range keys {
		k.call.Info.ID = s.point(k.hash).ID // catching up may have told of more
	}
	return err
}

// lookUp returns what the remote tier has for keys.
func (l *load[V]) lookUp(ctx context.Context, keys []*keyLoad[V]) []prefetched[V] {
	s := l.cache.shared
	if len(keys) == 1 && keys[0].read != nil {
		return []prefetched[V]{*keys[0].read}
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = s.prefix + k.key
		k.call.Info.view.Restart()
	}
	// The callers of a load leave the load; it does not leave the remote tier.
	read := s.client.coalesced.readMany(remote.NoDetach(ctx), names)
	for i, k := range keys {
		s.addTags(k.call, read[i].Record.Tags)
	}
	var known *tagVersions // of all records; for a single one they are read where it has tags
	if len(keys) > 1 {
		known = s.versionsOf(ctx, read)
	}
	out := make([]prefetched[V], len(keys))
	now := time.Now()
	for i, k := range keys {
		out[i].rec, out[i].at = read[i].Record, now
		out[i].found, out[i].err = s.classifyRemote(ctx, now, k.hash, k.key, &out[i].rec, read[i].Err, known)
	}
	return out
}

// addTags adds to the tags that a call depends on. It is called before their versions are read: a
// caller that joins after one of them was invalidated is turned away, and one that joined before
// gets what those versions say.
func (s *shared[V]) addTags(f *call[V], tags []remote.Tag) {
	if len(tags) > 0 {
		hashes := s.tagHashes(tagNames(tags))
		s.flights.Update(func() { f.Info.tags = append(f.Info.tags, hashes...) })
	}
}

// serve returns the result of a key that the remote tier has, and counts the lookup.
func (l *load[V]) serve(k *keyLoad[V], r *prefetched[V]) (res result[V], served bool, err error) {
	s := l.cache.shared
	switch r.found.state {
	case hit:
		if l.refresh && l.stillDue(&r.rec) {
			return res, false, nil
		}
		s.countRemoteLookup(true)
		return l.found(k, r), true, nil
	case negativeHit:
		s.countRemoteLookup(true)
		return l.found(k, r), true, ErrNotFound
	case stale:
		l.keepFallback(k, r)
	}
	if r.found.state != miss || errors.Is(r.err, ErrNotFound) { // an outage is not a miss
		s.countRemoteLookup(false)
	}
	return res, false, nil
}

// keepFallback holds a record past its life, for callers of FailSafe.
func (l *load[V]) keepFallback(k *keyLoad[V], r *prefetched[V]) {
	k.call.Info.fallbacks.add(&kept[V]{value: r.found.value, from: k.call.Info.Point, tags: l.cache.shared.tagHashes(tagNames(r.rec.Tags))})
}

// found is the result of a key for which there is a value, or the record that there is none. It
// keeps a local copy.
func (l *load[V]) found(k *keyLoad[V], r *prefetched[V]) result[V] {
	f := k.call
	since := f.Info.view.Since()
	overtaken := l.cache.shared.keep(&f.Info.view, coherence.SeenAt(&r.rec), r.at, k.hash, k.key, r.found.value, f.Info.Point, &r.rec, &l.st)
	res := result[V]{value: r.found.value, overtaken: overtaken, since: since}
	if r.found.state == hit {
		res.source = SourceRemote
	}
	return res
}

// stillDue reports whether the remote value is the old one still, and not one that another instance
// has just refreshed.
func (l *load[V]) stillDue(rec *remote.Record) bool {
	left, forever := rec.Remaining(time.Now())
	return !forever && left <= min(l.st.refreshAhead, rec.TTL/2) // see localCopy: no copy is refreshed in the first half of its life
}

// sweep removes what is too short for a fill to recognize it again, a byte or none, so that a lease
// can take its place. It was no entry, so nothing is announced.
func (l *load[V]) sweep(ctx context.Context, k *keyLoad[V], found lookup[V], err error) (lookup[V], error) {
	var malformed *remote.MalformedError
	if !errors.As(err, &malformed) || len(malformed.Seen) > 0 {
		return found, err
	}
	if _, err = l.cache.shared.client.remote.DeleteIfEmpty(ctx, l.cache.shared.prefix+k.key); err != nil {
		l.note(ctx, err)
		return found, err
	}
	return lookup[V]{}, ErrNotFound // or a record that was stored meanwhile, which refuses the lease
}

// countRemoteLookup counts a hit or miss of the remote tier.
func (s *shared[V]) countRemoteLookup(hit bool) {
	if hit {
		s.counts.remoteHits.Add(1)
	} else {
		s.counts.remoteMisses.Add(1)
	}
	s.recent.record(hit)
}

// missRate remembers the last eight remote hits and misses. Two records at the same time may be
// one: it is a guess anyhow.
type missRate struct{ misses atomic.Uint32 }

func (m *missRate) record(hit bool) {
	last := m.misses.Load() << 1
	if !hit {
		last |= 1
	}
	m.misses.Store(last)
}

func (m *missRate) mostlyMisses() bool { return bits.OnesCount8(uint8(m.misses.Load())) > 5 }

// note counts and logs an error of the remote tier that no caller sees.
func (l *load[V]) note(ctx context.Context, err error) {
	if err == nil || errors.Is(err, ErrNotFound) {
		return
	}
	if coherence.ContextEnded(err) {
		return // the load was abandoned: nothing failed
	}
	if errors.Is(err, ErrRemoteUnavailable) {
		l.down.Store(true)
	}
	if isRemoteFailure(err) {
		l.cache.shared.counts.remoteErrors.Add(1)
	}
	l.warn(ctx, err)
}

// warn logs an error of the remote tier that no caller sees.
func (l *load[V]) warn(ctx context.Context, err error) {
	l.cache.shared.failures.warn(ctx, "doppio: remote tier failed behind a load", l.cache.shared.name, err)
}
