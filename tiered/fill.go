package tiered

import (
	"context"
	"slices"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// runLoader calls the loader for keys, stores what it returns, and gives the keys their results.
func (l *load[V]) runLoader(ctx context.Context, keys []*keyLoad[V]) error {
	keys = l.lookAgain(ctx, keys)
	if len(keys) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		// No caller waits any more, or the client is closing.
		return l.fail(ctx, keys, err)
	}
	if l.down.Load() && slices.ContainsFunc(keys, func(k *keyLoad[V]) bool { return len(k.right.expected) == 0 }) {
		leave, err := l.cache.shared.client.enterLoad(ctx, l.st.hardTimeout)
		if err != nil {
			return l.fail(ctx, keys, err)
		}
		defer leave()
	}
	loaded := l.callLoader(ctx, keys)
	// What was loaded is stored before any caller is told: it may look for it. Leases are renewed
	// until then.
	for part := range slices.Chunk(keys, leasesTogether) {
		l.fill(ctx, part, &loaded)
	}
	for _, k := range keys {
		l.finish(k, k.res, k.err)
	}
	return loaded.err
}

// fail ends keys whose loader was not called.
func (l *load[V]) fail(ctx context.Context, keys []*keyLoad[V], err error) error {
	l.giveBack(ctx, keys)
	l.finishAll(keys, err)
	return err
}

// lookAgain ends the keys that the local tier has by now, and returns the others. A caller that
// looked just before another's load ended comes here after it. Where no other load's fill stands
// between a key and the source, it looks again.
func (l *load[V]) lookAgain(ctx context.Context, keys []*keyLoad[V]) []*keyLoad[V] {
	if l.refresh || ctx.Err() != nil {
		return keys
	}
	return filter(keys, func(k *keyLoad[V]) bool {
		if len(k.right.expected) > 0 && (k.read == nil || k.right.ownsLease) {
			return true
		}
		switch found := l.cache.lookupLocal(ctx, k.hash, k.key); found.state {
		case hit, dueHit:
			l.finish(k, result[V]{value: found.value, source: SourceLoader}, nil)
		case negativeHit:
			l.finish(k, result[V]{}, ErrNotFound)
		default:
			return true
		}
		return false
	})
}

// loaded is what a loader returned.
type loaded[V any] struct {
	outcomes
	one  *V           // of the loader of one key; nil: none
	many map[string]V // of the loader of many
	took time.Duration
	err  error
}

// of returns the value of a key, and reports whether there is one.
func (d *loaded[V]) of(key string) (*V, bool) {
	if d.one != nil {
		return d.one, true
	}
	v, found := d.many[key]
	return &v, found
}

// callLoader calls the loader for keys.
func (l *load[V]) callLoader(ctx context.Context, keys []*keyLoad[V]) loaded[V] {
	for _, k := range keys {
		k.loading = k.call.Info.view.Restart()
	}
	l.cache.shared.counts.loads.Add(1)
	ctx, cancel := context.WithTimeout(ctx, l.st.hardTimeout)
	defer cancel()
	began := local.Monotonic()
	var d loaded[V]
	if l.many != nil {
		d = l.callMany(ctx, keys)
	} else {
		d = l.callOne(ctx, keys[0].key)
	}
	d.took = time.Duration(local.Monotonic() - began)
	return d
}

func (l *load[V]) callOne(ctx context.Context, key string) (d loaded[V]) {
	ctx, loading := withLoad(ctx, l.cache.shared, key)
	defer loading.leave()
	v, err := guardLoader(ctx, l.cache.shared.client, l.one)
	if err == nil {
		d.one = &v
	} else if !saysNotFound(err) {
		d.rest = err
		l.cache.shared.counts.loadErrors.Add(1)
	}
	d.err = err
	return d
}

func (l *load[V]) callMany(ctx context.Context, keys []*keyLoad[V]) (d loaded[V]) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.key
	}
	ctx, loading := withLoad(ctx, l.cache.shared, names...)
	defer loading.leave()
	d.many, d.err = guardLoader(ctx, l.cache.shared.client, func(ctx context.Context) (map[string]V, error) { return l.many(ctx, names) })
	d.outcomes = partial(d.err)
	if d.failed(names, func(key string) bool { _, found := d.many[key]; return found }) {
		l.cache.shared.counts.loadErrors.Add(1)
	}
	return d
}

// fill stores what a loader returned for some keys, where what was expected is still in place, and
// notes their results.
func (l *load[V]) fill(ctx context.Context, keys []*keyLoad[V], d *loaded[V]) {
	s := l.cache.shared
	fills := make([]fillRequest, 0, len(keys))
	var idle []*keyLoad[V]   // of which no record is stored
	var absent []*keyLoad[V] // of those, the keys whose loader said that there is no such entry, where that is not kept
	for at, k := range keys {
		v, found := d.of(k.key)
		var rec *remote.Record
		var none bool
		switch none, k.err = d.outcomes.of(k.key, found); {
		case none:
			k.err = ErrNotFound
			if rec = l.negative(k, d.took); rec == nil {
				absent = append(absent, k)
			}
		case k.err != nil:
			k.err = l.failure(k, k.err)
		default:
			k.res.source = SourceLoader
			k.res.value, rec = l.encode(ctx, k, v, d.took)
		}
		if rec == nil {
			idle = append(idle, k)
			continue
		}
		fills = append(fills, fillRequest{at: at, FillRequest: remote.FillRequest{Key: s.prefix + k.key, Seen: k.right.expected, Record: rec}})
	}
	l.giveBack(ctx, idle)
	l.retire(ctx, absent)
	for _, k := range idle {
		if k.err == nil || saysNotFound(k.err) {
			l.keepLoaded(k, nil, false)
		}
	}
	if len(fills) == 0 {
		return
	}
	for i := range fills {
		keys[fills[i].at].call.Info.view.Restart()
	}
	s.client.coalesced.fillMany(ctx, fills)
	var awaited []uint64
	for i := range fills {
		f := &fills[i]
		k := keys[f.at]
		l.letGo(k)
		l.countFill(ctx, len(f.Seen) > 0, f.filled.Stored, f.err)
		if f.filled.Awaited {
			awaited = append(awaited, k.hash)
		}
		l.keepLoaded(k, f.Record, f.filled.Stored && f.err == nil)
	}
	l.wakeOthers(ctx, awaited)
}

// keepLoaded keeps a local copy of what a load gave, if rec is its record, and completes its
// result. What was stored is newer than what was there when it was; of any other value nothing more
// is known than that it is as new as the call of its loader.
func (l *load[V]) keepLoaded(k *keyLoad[V], rec *remote.Record, stored bool) {
	s := l.cache.shared
	if s.client.opts.Disabled {
		return
	}
	view := &k.call.Info.view
	x := coherence.Sighting{Found: k.res.value != nil, Loaded: true}
	if rec != nil {
		x = coherence.StoredAs(rec, k.right.expected)
		x.Loaded = !stored
	}
	if x.Loaded {
		view.Reach(k.loading)
	}
	k.res.since = view.Since()
	switch {
	case rec != nil:
		k.res.overtaken = s.keep(view, x, time.Now(), k.hash, k.key, k.res.value, k.call.Info.Point, rec, &l.st)
	case x.Found:
		k.res.overtaken = s.keepCopy(view, x, k.key, nil)
	default:
		s.validity.Note(view, x)
	}
}

// encode returns the record of a loaded value, and the value as later reads will give it. A value
// that cannot be encoded has no record: that is counted and logged, and the caller has its value.
func (l *load[V]) encode(ctx context.Context, k *keyLoad[V], v *V, took time.Duration) (*V, *remote.Record) {
	s := l.cache.shared
	if s.client.opts.Disabled {
		return v, nil
	}
	rec, read, err := s.encode(k.key, v, &l.st, l.tags(k))
	if err != nil {
		s.counts.storeErrors.Add(1)
		s.failures.warn(ctx, "doppio: a loaded value cannot be stored", s.name, err)
		return v, nil
	}
	rec.Stamp, rec.LoadTime = k.call.Info.ID, took
	return read, rec
}

// tags are those of the record that a load leaves. Where there is no remote record, whose tags'
// versions would matter, they have none: a local copy checks its tags by what this instance hears.
func (l *load[V]) tags(k *keyLoad[V]) []remote.Tag {
	if len(k.right.expected) > 0 || len(k.right.tags) > 0 {
		return k.right.tags
	}
	var tags []remote.Tag
	for _, t := range l.st.tags {
		tags = append(tags, remote.Tag{Name: t})
	}
	return tags
}

// negative returns the record of a loader's answer that there is no such entry; nil if that is not
// to be kept.
func (l *load[V]) negative(k *keyLoad[V], took time.Duration) *remote.Record {
	if l.st.negative <= 0 || l.cache.shared.client.opts.Disabled {
		return nil
	}
	return &remote.Record{
		Kind: remote.KindNegative, Token: remote.NewToken(), Stamp: k.call.Info.ID, Created: time.Now(),
		TTL: remoteLife(l.st.negative, l.st.jitter), LoadTime: took, Tags: l.tags(k),
	}
}

// countFill counts how a fill went.
func (l *load[V]) countFill(ctx context.Context, tried, stored bool, err error) {
	counts := &l.cache.shared.counts
	switch {
	case !tried:
		counts.fillsSkipped.Add(1)
	case err != nil:
		if !coherence.ContextEnded(err) {
			counts.storeErrors.Add(1)
			l.warn(ctx, err)
		}
	case stored:
		counts.fills.Add(1)
	default:
		counts.fillsRefused.Add(1)
	}
}

// giveBack gives the leases of keys back, so that the next callers need not load without one.
func (l *load[V]) giveBack(ctx context.Context, keys []*keyLoad[V]) {
	s := l.cache.shared
	var leases []remote.Lease
	var hashes []uint64
	for _, k := range keys {
		l.letGo(k)
		if k.right.ownsLease {
			leases = append(leases, remote.Lease{Key: s.prefix + k.key, Token: k.right.expected})
			hashes = append(hashes, k.hash)
		}
	}
	if len(leases) == 0 {
		return
	}
	awaited, errs := s.client.remote.ReleaseMany(context.WithoutCancel(ctx), leases)
	woken := hashes[:0]
	for i, h := range hashes {
		l.note(ctx, errs[i])
		if awaited[i] {
			woken = append(woken, h)
		}
	}
	l.wakeOthers(ctx, woken)
}

// wakeOthers announces the end of loads of keys with these hashes to the instances that wait for
// them.
func (l *load[V]) wakeOthers(ctx context.Context, hashes []uint64) {
	if len(hashes) > 0 {
		l.note(ctx, l.cache.shared.client.co.AnnounceFilled(ctx, hashes))
	}
}

// retire removes what contradicts a loader that has said of keys that there is no such entry: the
// remote records that the load has seen, by their tokens, and this instance's copies, so that
// neither a later failure nor a refresh brings them back. Other instances may hold copies of such a
// record, so its removal is announced. A record that was stored meanwhile stays. Leases are given
// back by the caller.
func (l *load[V]) retire(ctx context.Context, keys []*keyLoad[V]) {
	s := l.cache.shared
	if s.client.opts.Disabled {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var seen []*keyLoad[V]
	for _, k := range keys {
		if len(k.right.expected) > 0 && !k.right.ownsLease {
			seen = append(seen, k)
			continue
		}
		l.forget(k)
	}
	if len(seen) == 0 {
		return
	}
	if err := s.validity.CheckLanes(ctx); err != nil {
		l.note(ctx, err)
		for _, k := range seen {
			l.forget(k)
		}
		return
	}
	changes := make([]*coherence.Change, len(seen))
	removals := make([]remote.Removal, len(seen))
	for i, k := range seen {
		changes[i] = s.begin(ctx, coherence.Remove, k.key, k.hash)
		removals[i] = remote.Removal{Key: changes[i].Key, Seen: k.right.expected, Announcement: changes[i].Announcement()}
	}
	gone, errs := s.client.remote.CompareAndDelete(ctx, removals)
	for i, k := range seen {
		if errs[i] == nil && !gone[i] {
			changes[i].Cancel()
			l.forget(k)
			continue
		}
		l.note(ctx, errs[i])
		finish(ctx, changes[i], errs[i])
	}
}

// forget makes this instance's copies of a key invalid, if it has any.
func (l *load[V]) forget(k *keyLoad[V]) {
	if k.fallback != nil || k.call.Info.fallbacks.any() || l.cache.shared.scope.Peek(k.hash, k.key) != nil {
		l.cache.shared.validity.Invalidate(k.hash)
	}
}
