package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Get gives the value under key: local tier, then remote tier. ErrNotFound when there is none;
// *DecodeError when what is there cannot be read; ErrRemoteUnavailable when the remote tier could
// not be asked. A local hit does not look at ctx, and allocates nothing.
func (c *Cache[V]) Get(ctx context.Context, key string) (V, error) {
	hash := c.shared.hash(key)
	found := c.lookupLocal(ctx, hash, key)
	if found.state == hit {
		return *found.value, nil
	}
	v, err := c.getRemote(ctx, hash, key, found)
	if err != nil {
		return *new(V), c.shared.fault("Get", err)
	}
	return *v, nil
}

// lookupLocal looks a key up in the local tier. A handle of After whose reads must see more than
// this instance has heard of finds nothing there.
func (c *Cache[V]) lookupLocal(ctx context.Context, hash uint64, key string) lookup[V] {
	if len(c.after) > 0 && c.lagging() {
		return lookup[V]{}
	}
	return c.shared.lookupCopy(ctx, hash, key)
}

// lookupCopy is the hot path. An entry that is plain, fresh, and newer than all that is known about
// its key is served; every other one is classified.
func (s *shared[V]) lookupCopy(ctx context.Context, hash uint64, key string) lookup[V] {
	if s.scope == nil {
		return lookup[V]{}
	}
	e := s.scope.Lookup(hash, key)
	if e == nil {
		return lookup[V]{}
	}
	until := s.validity.TrustedUntil() // before Valid: see coherence.Manager
	settled := s.validity.Settled()
	now := local.Monotonic()
	stamp := e.Stamp.Load()
	var found lookup[V]
	if now < until && now < e.Fresh && e.Meta == nil && s.validity.Valid(hash, stamp) {
		found.value, found.state = local.ValueOf[V](e), hit
		renewStamp(e, stamp, settled)
	} else {
		found = s.classifyLocal(hash, e, until, now)
	}
	if found.state == miss || found.state == stale {
		s.scope.Stale(hash)
		return found
	}
	s.scope.Hit(hash)
	if s.client.spans.localHits {
		s.client.spans.localHit(ctx, s.name)
	}
	return found
}

// renewStamp gives an entry that was found valid a newer stamp, so that it does not look old among
// newer invalidations of its bucket's other keys: one in a thousand reads instead of one in ten
// takes an entry for invalid that is not, at 1,000 invalidations a second
// (BenchmarkFalseInvalidations). Not on every read: a hot entry's cache line would be written to by
// all.
func renewStamp(e *local.Entry, stamp, settled uint64) {
	if settled > stamp+renewAfterPositions {
		e.Stamp.Store(settled) // another reader's may be newer; either will do
	}
}

const renewAfterPositions = 4096

// classifyLocal returns what a local copy is that lookupCopy cannot serve at once: one that has tags,
// is negative, is due for a refresh or past its life, was kept while local copies were not trusted,
// or is invalid.
func (s *shared[V]) classifyLocal(hash uint64, e *local.Entry, trustedUntil, now int64) lookup[V] {
	m, _ := e.Meta.(*meta)
	all, gutterOnly := s.policy.servable(trustedUntil, now)
	if !all && (!gutterOnly || m == nil || !m.provisional) {
		return lookup[V]{}
	}
	settled, stamp := s.validity.Settled(), e.Stamp.Load()
	if !s.validity.Valid(hash, stamp) || now >= e.Expires {
		return lookup[V]{}
	}
	value, _ := e.Value.(*V)
	until := e.Fresh
	if m != nil {
		if !s.validity.TagsValid(m.tags, stamp) {
			return lookup[V]{}
		}
		renewStamp(e, stamp, settled)
		until = m.until
		if m.negative {
			if now < until {
				return lookup[V]{state: negativeHit}
			}
			return lookup[V]{}
		}
	}
	switch {
	case now >= until:
		return lookup[V]{state: stale, value: value, entry: e}
	case now >= e.Fresh && m != nil && now >= m.refreshAt.Load():
		return lookup[V]{state: dueHit, value: value, entry: e}
	}
	return lookup[V]{state: hit, value: value}
}

// getRemote goes on where the local tier has no plain value.
func (c *Cache[V]) getRemote(ctx context.Context, hash uint64, key string, found lookup[V]) (*V, error) {
	if err := c.shared.checkKey(key); err != nil {
		return nil, err
	}
	if c.shared.client.opts.Disabled {
		return nil, ErrNotFound
	}
	switch found.state {
	case dueHit:
		return found.value, nil
	case negativeHit:
		return nil, ErrNotFound
	}
	from, err := c.beginRemoteRead(ctx, hash)
	if err != nil {
		return nil, err
	}
	w := c.shared.view(hash)
	defer w.End()
	rec, err := c.shared.client.coalesced.read(ctx, c.shared.prefix+key)
	v, err := c.serveRemote(ctx, &w, time.Now(), key, from, &rec, err, nil)
	if err == nil {
		setSource(ctx, SourceRemote)
	}
	return v, err
}

// beginRemoteRead returns what is known when a remote read of a key with this hash begins, or why
// the remote tier must not be read.
func (c *Cache[V]) beginRemoteRead(ctx context.Context, hash uint64) (coherence.Point, error) {
	if err := c.shared.validity.Blocked(ctx, c.shared.client.patienceOfReads(), hash); err != nil {
		c.shared.countRemoteError(err)
		return coherence.Point{}, err
	}
	err := c.shared.validity.CatchUp(ctx, c.after, c.shared.validity.LaneOf(hash))
	if err != nil {
		c.shared.countRemoteError(err)
	}
	return c.shared.point(hash), err
}

// serveRemote returns what a remote read means to a user, and keeps a copy of what can be served.
func (c *Cache[V]) serveRemote(ctx context.Context, w *coherence.View, now time.Time, key string, from coherence.Point, rec *remote.Record, err error, known *tagVersions) (*V, error) {
	hash := w.Hash()
	found, err := c.shared.classifyRemote(ctx, now, hash, key, rec, err, known)
	switch {
	case err != nil:
		if errors.Is(err, ErrNotFound) {
			c.saw(w, coherence.MissedAt(rec), hash, key)
		}
		c.shared.countRemoteError(err)
		return nil, err
	case found.state != hit && found.state != negativeHit:
		c.saw(w, coherence.MissedAt(rec), hash, key)
		c.shared.counts.remoteMisses.Add(1)
		return nil, ErrNotFound
	}
	c.shared.counts.remoteHits.Add(1)
	c.shared.keep(w, coherence.SeenAt(rec), now, hash, key, found.value, from, rec, &c.defaults)
	if found.state == negativeHit {
		return nil, ErrNotFound
	}
	return found.value, nil
}

// countRemoteError counts a call that the remote tier ended with err. It is called once for a
// failure: by the function that ends the call, and not by those that it has called.
func (s *shared[V]) countRemoteError(err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		s.counts.remoteMisses.Add(1)
	case isRemoteFailure(err):
		s.counts.remoteErrors.Add(1)
	}
}

// isRemoteFailure reports whether err is a failure of the remote tier that no other counter has. A
// caller's own mistake and the end of its context are none, nor is the end of the client.
func isRemoteFailure(err error) bool {
	for _, own := range []error{ErrNotFound, ErrNotNumeric, ErrOverflow, ErrEncode, ErrClosed, ErrInvalidKey, remote.ErrTooLarge} {
		if errors.Is(err, own) {
			return false
		}
	}
	if errors.Is(err, ErrInvalidOptions) && !errors.Is(err, ErrRemoteUnavailable) {
		return false // an option is wrong: Redis has answered
	}
	decode := (*DecodeError)(nil) // counted where it was met
	return err != nil && !coherence.ContextEnded(err) && !errors.As(err, &decode)
}

// Exists tells whether there is an entry under key.
func (c *Cache[V]) Exists(ctx context.Context, key string) (bool, error) {
	found, err := c.presence(ctx, key)
	return found, c.shared.fault("Exists", err)
}

func (c *Cache[V]) presence(ctx context.Context, key string) (bool, error) {
	if err := c.shared.checkKey(key); err != nil {
		return false, err
	}
	if c.shared.client.opts.Disabled {
		return false, nil
	}
	hash := c.shared.hash(key)
	switch c.lookupLocal(ctx, hash, key).state {
	case hit, dueHit:
		return true, nil
	case negativeHit:
		return false, nil
	}
	if _, err := c.beginRemoteRead(ctx, hash); err != nil {
		return false, err
	}
	w := c.shared.view(hash)
	defer w.End()
	p, err := c.shared.client.remote.Stat(ctx, c.shared.prefix+key, c.shared.validity.MinID(hash))
	found := false
	if err == nil {
		found, err = c.exists(ctx, key, p)
	}
	if err != nil {
		c.shared.countRemoteError(err)
		return found, err
	}
	c.saw(&w, coherence.Sighting{Found: found}, hash, key)
	return found, err
}

// TTL gives the life left of the entry under key, NoExpiration for one without end, or ErrNotFound.
// It asks the remote tier.
func (c *Cache[V]) TTL(ctx context.Context, key string) (time.Duration, error) {
	left, err := c.lifeLeft(ctx, key)
	return left, c.shared.fault("TTL", err)
}

func (c *Cache[V]) lifeLeft(ctx context.Context, key string) (time.Duration, error) {
	if err := c.shared.checkKey(key); err != nil {
		return 0, err
	}
	if c.shared.client.opts.Disabled {
		return 0, ErrNotFound
	}
	hash := c.shared.hash(key)
	if _, err := c.beginRemoteRead(ctx, hash); err != nil {
		return 0, err
	}
	w := c.shared.view(hash)
	defer w.End()
	life, err := c.shared.client.remote.TTL(ctx, c.shared.prefix+key, c.shared.validity.MinID(hash))
	if err == nil && life.Tagged {
		var found bool
		if found, err = c.exists(ctx, key, remote.EntryTagged); err == nil && !found {
			err = ErrNotFound
		}
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		c.saw(&w, coherence.Sighting{Found: err == nil}, hash, key)
	}
	switch {
	case err != nil:
		c.shared.countRemoteError(err)
		return 0, err
	case life.Forever:
		return NoExpiration, nil
	}
	return life.TTL, nil
}

// exists completes what the remote tier says of an entry: one with tags is there if they are
// intact, which takes two more round trips.
func (c *Cache[V]) exists(ctx context.Context, key string, p remote.EntryState) (bool, error) {
	if p != remote.EntryTagged {
		return p == remote.EntryPresent, nil
	}
	_, found, err := c.taggedRecord(ctx, key)
	return found, err
}

// taggedRecord reads an entry that was said to have tags, and tells whether there is one: its tags
// are intact.
func (c *Cache[V]) taggedRecord(ctx context.Context, key string) (rec remote.Record, found bool, err error) {
	rec, err = c.shared.client.remote.Get(ctx, c.shared.prefix+key)
	found, err = c.taggedEntry(ctx, key, rec, err, nil)
	return rec, found, err
}

// taggedEntry tells whether what reading an entry with tags gave is one. known has the versions of
// tags, where they were asked for already.
func (c *Cache[V]) taggedEntry(ctx context.Context, key string, rec remote.Record, err error, known *tagVersions) (bool, error) {
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case unreadableRecord(err):
		return true, nil
	case err != nil:
		return false, err
	case rec.Kind != remote.KindValue || rec.Expired(time.Now()) || rec.Stamp < c.shared.validity.MinID(c.shared.hash(key)):
		return false, nil
	}
	return c.shared.tagsIntact(ctx, rec.Tags, known)
}

// state is what a tier has for a key.
type state uint8

const (
	miss        state = iota // nothing, or what must not be used
	hit                      // a value to serve
	dueHit                   // a value to serve, due to be refreshed; of the local tier only
	negativeHit              // the record that there is no such entry, to serve
	stale                    // a value past its life, which may serve when a load fails; or a remote record that is to be replaced

	// Of the remote tier only:

	leased           // a load is under way elsewhere
	leaseInvalidated // likewise, and what it loads was invalidated since
	corrupt          // a record that does not decode; it may be replaced
	unknownFormat    // a record of a later version, or another Redis type: it is left alone
)

// served reports whether a caller is given a value, and loads nothing for itself.
func (s state) served() bool { return s == hit || s == dueHit }

// lookup is what a tier has for a key.
type lookup[V any] struct {
	state state
	value *V           // of a hit, and of a stale record that may serve when a load fails
	entry *local.Entry // of a local copy that is due or stale
}

// kept returns a stale local copy, to be held until a load has failed; nil for any other.
func (l lookup[V]) kept() *kept[V] {
	if l.state != stale {
		return nil
	}
	return &kept[V]{value: l.value, entry: l.entry}
}

// classifyRemote returns what a remote read gave. Its error is the user's: ErrNotFound where there
// is no entry that can be read, a *DecodeError, or why the remote tier could not be read. known has
// the versions of tags, where they were read already.
func (s *shared[V]) classifyRemote(ctx context.Context, now time.Time, hash uint64, key string, rec *remote.Record, err error, known *tagVersions) (lookup[V], error) {
	if err != nil {
		return s.classifyRemoteError(key, err)
	}
	lease := rec.Kind == remote.KindLease
	if rec.Stamp < s.validity.MinID(hash) {
		if lease {
			return lookup[V]{state: leaseInvalidated}, nil
		}
		return lookup[V]{state: stale}, nil
	}
	intact, err := s.tagsIntact(ctx, rec.Tags, known)
	switch {
	case err != nil:
		return lookup[V]{}, err
	case lease && intact:
		return lookup[V]{state: leased}, nil
	case lease:
		return lookup[V]{state: leaseInvalidated}, nil
	case len(rec.Tags) > 0 && rec.Stamp < s.validity.MinID(hash):
		intact = false // a floor was raised while the tags were read, perhaps in the place of one of them
	}
	if !intact || (rec.Kind == remote.KindNegative && rec.Expired(now)) {
		return lookup[V]{state: stale}, nil
	}
	if rec.Kind == remote.KindNegative {
		return lookup[V]{state: negativeHit}, nil
	}
	v, err := s.decode(key, rec)
	if err != nil {
		return lookup[V]{state: corrupt}, err
	}
	if rec.Expired(now) {
		return lookup[V]{state: stale, value: v}, nil
	}
	return lookup[V]{state: hit, value: v}, nil
}

func (s *shared[V]) classifyRemoteError(key string, err error) (lookup[V], error) {
	var version *remote.UnknownVersionError
	switch {
	case errors.Is(err, ErrNotFound):
		return lookup[V]{}, ErrNotFound
	case errors.As(err, &version):
		s.counts.foreign.Add(1)
		return lookup[V]{state: unknownFormat}, ErrNotFound
	case errors.Is(err, remote.ErrMalformed):
		s.counts.decodeErrors.Add(1)
		return lookup[V]{state: corrupt}, &DecodeError{Key: key, Codec: s.codec.Name(), Err: err}
	case errors.Is(err, ErrWrongType):
		return lookup[V]{state: unknownFormat}, err
	}
	return lookup[V]{}, err
}
