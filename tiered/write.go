package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/remote"
)

// Set stores value in both tiers, with one round trip (two with tags), and tells the other
// instances. After it returned, this instance reads the new value, or a later one.
// ErrRemoteUnavailable says that nothing was stored, unless ErrUnknownOutcome is there too.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, opts ...EntryOption) error {
	st, err := c.defaults.with(opts)
	if err != nil {
		return err
	}
	return c.shared.fault("Set", c.set(ctx, key, &value, &st))
}

func (c *Cache[V]) set(ctx context.Context, key string, value *V, st *settings) error {
	if err := c.shared.checkKey(key); err != nil {
		return err
	}
	if c.shared.client.opts.Disabled {
		return nil
	}
	hash := c.shared.hash(key)
	w := c.shared.view(hash)
	defer w.End()
	var m write
	var err error
	if m.Change, err = c.shared.validity.Begin(ctx, coherence.Replace, c.shared.prefix+key, hash); err == nil {
		m.record, value, err = c.prepare(ctx, key, value, st)
	}
	if err == nil {
		m.record.Stamp = m.NewestID()
		err = c.shared.client.coalesced.set(ctx, &m)
	}
	own, clean := c.shared.finish(ctx, &m.Change, st, err)
	if err != nil {
		return err
	}
	c.shared.counts.sets.Add(1)
	if clean {
		c.shared.keep(&w, coherence.StoredAs(m.record, nil), time.Now(), hash, key, value, own, m.record, st)
	}
	return nil
}

// begin begins a change, of a kind whose Begin waits for nothing, that is made alone: it has its
// announcement.
func (s *shared[V]) begin(ctx context.Context, kind coherence.Kind, key string, hash uint64) *coherence.Change {
	ch, _ := s.validity.Begin(ctx, kind, s.prefix+key, hash)
	coherence.Announce(&ch)
	return &ch
}

// finish ends a change: see coherence.Change.Finish. The tags of st are watched.
func (s *shared[V]) finish(ctx context.Context, ch *coherence.Change, st *settings, err error) (own coherence.Point, unchanged bool) {
	if err != nil {
		s.countRemoteError(err)
	}
	return finish(ctx, ch, err, s.tagHashes(st.tags)...)
}

// finish ends a change, and adds it to the Token of ctx.
func finish(ctx context.Context, ch *coherence.Change, err error, watched ...uint64) (own coherence.Point, unchanged bool) {
	if errors.Is(err, ErrEncode) { // it was not sent, and the entry is as it was
		ch.Cancel()
		return own, false
	}
	own, unchanged = ch.Finish(err, watched...)
	if err == nil {
		acknowledgedAt(ctx, ch.Lane, own.ID)
	}
	return own, unchanged
}

// prepare gives the record of a value, with the versions of its tags, and the value as reads will
// give it.
func (c *Cache[V]) prepare(ctx context.Context, key string, value *V, st *settings) (*remote.Record, *V, error) {
	if err := c.shared.client.co.CheckLanes(ctx); err != nil {
		return nil, nil, err
	}
	tags, err := c.shared.tagsToCarry(ctx, st)
	if err != nil {
		return nil, nil, err
	}
	return c.shared.encode(key, value, st, tags)
}

// SetIfAbsent stores value if there is no entry, and tells whether it did. A loser's value is kept
// nowhere. If the reply was lost, the error matches ErrUnknownOutcome.
func (c *Cache[V]) SetIfAbsent(ctx context.Context, key string, value V, opts ...EntryOption) (bool, error) {
	hash := c.shared.hash(key)
	w := c.shared.view(hash)
	defer w.End()
	won, err := c.setIfAbsent(ctx, &w, key, &value, opts)
	if won.lost {
		c.saw(&w, coherence.Sighting{Found: true, Token: won.found.Token}, hash, key)
		return false, nil // there is an entry; that it cannot be read is for readers to report
	}
	return won.stored != nil, c.shared.fault("SetIfAbsent", err)
}

// GetOrSetValue gives the value under key, or stores this one, atomically: of several callers with
// different values, all get the same one. It asks the remote tier unless the local tier has a
// value. What is there but does not decode is a *DecodeError.
func (c *Cache[V]) GetOrSetValue(ctx context.Context, key string, value V, opts ...EntryOption) (V, error) {
	hash := c.shared.hash(key)
	if n := c.lookupLocal(ctx, hash, key); n.state.served() {
		return *n.value, nil
	}
	var none V
	w := c.shared.view(hash)
	defer w.End()
	for try := 1; ; try++ {
		won, err := c.setIfAbsent(ctx, &w, key, &value, opts)
		if err != nil {
			return none, c.shared.fault("GetOrSetValue", err)
		}
		if won.stored != nil {
			setSource(ctx, SourceRemote)
			return *won.stored, nil
		}
		v, err := c.serveRemote(ctx, &w, time.Now(), key, won.from, &won.found, nil, nil)
		switch {
		case err == nil:
			setSource(ctx, SourceRemote)
			return *v, nil
		case !errors.Is(err, ErrNotFound) || try == maxContests:
			return none, c.shared.fault("GetOrSetValue", err)
		}
		// Its life ended on the way here.
	}
}

// maxContests bounds how often SetIfAbsent begins again because the entry that it lost to turned
// out to be over.
const maxContests = 8

// contest is how a SetIfAbsent ended.
type contest[V any] struct {
	stored *V   // the value as reads will give it, where it was stored
	lost   bool // there was an entry: found, or what cannot be read
	found  remote.Record
	from   coherence.Point // of a copy of found
}

func (c *Cache[V]) setIfAbsent(ctx context.Context, w *coherence.View, key string, value *V, opts []EntryOption) (contest[V], error) {
	var won contest[V]
	st, err := c.defaults.with(opts)
	if err == nil {
		err = c.shared.checkKey(key)
	}
	if err != nil {
		return won, err
	}
	if c.shared.client.opts.Disabled {
		won.stored = value
		return won, nil
	}
	for try := 1; ; try++ {
		won, err = c.contend(ctx, w, key, value, &st)
		if err != nil || won.stored != nil || try == maxContests {
			return won, err
		}
		// The script knows nothing of tags: what one of them has invalidated is no entry, and has
		// to make room.
		intact, err := c.shared.tagsIntact(ctx, won.found.Tags, nil)
		if err == nil && !intact {
			_, err = c.shared.client.remote.Release(ctx, c.shared.prefix+key, won.found.Token[:])
		}
		if err != nil {
			c.shared.countRemoteError(err)
			won.lost = false
			return won, err
		}
		if intact {
			return won, nil
		}
	}
}

// contend is one attempt to store value where there is no entry.
func (c *Cache[V]) contend(ctx context.Context, w *coherence.View, key string, value *V, st *settings) (won contest[V], err error) {
	hash := c.shared.hash(key)
	if won.from, err = c.beginRemoteRead(ctx, hash); err != nil {
		return won, err
	}
	w.Restart()
	m := c.shared.begin(ctx, coherence.Modify, key, hash)
	won.from.Stamp = m.Begun()
	stored := false
	rec, value, err := c.prepare(ctx, key, value, st)
	if err == nil {
		rec.Stamp = m.NewestID()
		stored, won.found, err = c.shared.client.remote.SetIfAbsent(ctx, c.shared.prefix+key, rec, c.shared.validity.MinID(hash), m.Announcement())
	}
	if !stored && (err == nil || unreadableRecord(err)) {
		m.Cancel()
		won.lost = true
		if err != nil {
			c.shared.counts.decodeErrors.Add(1)
			err = &DecodeError{Key: key, Codec: c.shared.codec.Name(), Err: err}
		}
		return won, err
	}
	own, clean := c.shared.finish(ctx, m, st, err)
	if err != nil {
		return won, err
	}
	c.shared.counts.sets.Add(1)
	won.stored = value
	if clean {
		c.shared.keep(w, coherence.StoredAs(rec, nil), time.Now(), hash, key, value, own, rec, st)
	}
	return won, nil
}

// unreadableRecord tells that an entry was there which cannot be read.
func unreadableRecord(err error) bool {
	var version *remote.UnknownVersionError
	return errors.Is(err, remote.ErrMalformed) || errors.As(err, &version)
}

// Delete removes the entry under key from both tiers and tells the other instances, whether it was
// there or not. It tells whether the remote tier had it, whatever became of its tags. After it
// returned, this instance does not read it any more.
func (c *Cache[V]) Delete(ctx context.Context, key string) (bool, error) {
	existed, err := c.delete(ctx, key)
	return existed, c.shared.fault("Delete", err)
}

func (c *Cache[V]) delete(ctx context.Context, key string) (bool, error) {
	if err := c.shared.checkKey(key); err != nil {
		return false, err
	}
	if c.shared.client.opts.Disabled {
		return false, nil
	}
	hash := c.shared.hash(key)
	var m write
	m.Change, _ = c.shared.validity.Begin(ctx, coherence.Remove, c.shared.prefix+key, hash)
	err := c.shared.client.co.CheckLanes(ctx)
	existed := false
	if err == nil {
		m.floor = c.shared.validity.MinID(hash)
		existed, err = c.shared.client.coalesced.delete(ctx, &m)
	}
	c.shared.finish(ctx, &m.Change, &c.defaults, err)
	if err != nil {
		return false, err
	}
	c.shared.counts.deletes.Add(1)
	return existed, nil
}

// Expire gives the entry under key another life, counted from now; NoExpiration is for ever. It
// tells whether there was one. To end an entry at once, Delete it: ttl must be positive.
func (c *Cache[V]) Expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	found, err := c.expire(ctx, key, ttl)
	return found, c.shared.fault("Expire", err)
}

func (c *Cache[V]) expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if err := c.shared.checkKey(key); err != nil {
		return false, err
	}
	if ttl <= 0 {
		return false, &OptionError{Field: "ttl", Reason: "is " + ttl.String() + ", must be positive or NoExpiration; Delete ends an entry"}
	}
	if c.shared.client.opts.Disabled {
		return false, nil
	}
	hash := c.shared.hash(key)
	if _, err := c.beginRemoteRead(ctx, hash); err != nil {
		return false, err
	}
	w := c.shared.view(hash)
	defer w.End()
	m := c.shared.begin(ctx, coherence.Modify, key, hash)
	found, err := remote.EntryAbsent, c.shared.client.co.CheckLanes(ctx)
	if err == nil {
		found, err = c.shared.client.remote.SetTTL(ctx, c.shared.prefix+key, remoteLife(ttl, 0), c.shared.validity.MinID(hash), m.Announcement())
	}
	if err == nil && found == remote.EntryAbsent {
		m.Cancel() // nothing was announced
		c.saw(&w, coherence.Sighting{}, hash, key)
		return false, nil
	}
	c.shared.finish(ctx, m, &c.defaults, err)
	if err != nil || found != remote.EntryTagged {
		return found == remote.EntryPresent, err
	}
	existed, err := c.extendTags(ctx, key, ttl)
	if err != nil {
		c.shared.countRemoteError(err)
	}
	return existed, err
}

// Increment adds delta to the integer under key, exactly, and gives the sum. A missing entry counts
// as 0 and gets the cache's TTL; one that is there keeps its life. ErrNotNumeric if the entry is
// not an integer, or V is no integer type and not an interface, or the cache is encrypted;
// ErrOverflow past int64, or past what V holds. It is sent once: if the reply is lost, the error
// matches ErrUnknownOutcome.
func (c *Cache[V]) Increment(ctx context.Context, key string, delta int64) (int64, error) {
	sum, err := c.increment(ctx, key, delta)
	return sum, c.shared.fault("Increment", err)
}

func (c *Cache[V]) increment(ctx context.Context, key string, delta int64) (int64, error) {
	if err := c.shared.checkKey(key); err != nil {
		return 0, err
	}
	if !c.shared.numeric {
		return 0, ErrNotNumeric
	}
	if c.shared.client.opts.Disabled {
		return delta, nil
	}
	hash := c.shared.hash(key)
	if _, err := c.beginRemoteRead(ctx, hash); err != nil {
		return 0, err
	}
	m := c.shared.begin(ctx, coherence.Modify, key, hash)
	begin := remote.Record{
		Kind: remote.KindValue, Token: remote.NewToken(), Stamp: m.NewestID(), Created: time.Now(), TTL: remoteLife(c.defaults.ttl, c.defaults.jitter), Grace: min(c.defaults.failSafe, maxGrace),
	}
	var sum int64
	err := c.shared.client.co.CheckLanes(ctx)
	if err == nil {
		sum, err = c.incrementTagged(ctx, key, hash, delta, &begin, m.Announcement())
	}
	c.shared.finish(ctx, m, &c.defaults, err)
	if err != nil {
		return 0, err
	}
	c.shared.counts.sets.Add(1)
	return sum, nil
}

// incrementTagged asks for the tags of an entry that has some before it is added to: one of them
// invalidated, it counts as missing. An entry without tags costs one round trip, as it would
// otherwise.
func (c *Cache[V]) incrementTagged(ctx context.Context, key string, hash uint64, delta int64, begin *remote.Record, told *remote.Announcement) (int64, error) {
	r := remote.IncrementRequest{
		Key: c.shared.prefix + key, Delta: delta, Missing: begin, Bounds: c.shared.bounds, Floor: c.shared.validity.MinID(hash), Announcement: told,
	}
	for {
		sum, err := c.shared.client.remote.Increment(ctx, r)
		if !errors.Is(err, remote.ErrTagged) {
			return sum, err
		}
		// Nothing was changed: the entry has tags, or other ones than those that were asked for.
		rec, err := c.shared.client.remote.Get(ctx, c.shared.prefix+key)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return 0, err
		}
		intact, err := c.shared.tagsIntact(ctx, rec.Tags, nil)
		if err != nil {
			return 0, err
		}
		r.Tags = &remote.TagState{Token: rec.Token, Invalidated: !intact}
	}
}
