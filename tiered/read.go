package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Get gives the value under key: near tier, then far tier. ErrNotFound when there is none; *DecodeError when what is
// there cannot be read; ErrRemoteUnavailable when the far tier could not be asked. A local hit does not look at ctx,
// and allocates nothing.
func (c *Cache[V]) Get(ctx context.Context, key string) (V, error) {
	hash := c.hash(key)
	n := c.near(ctx, hash, key)
	if n.state == usable {
		return *n.value, nil
	}
	v, err := c.getSlowly(ctx, hash, key, n)
	if err != nil {
		return *new(V), c.fault("Get", err)
	}
	return *v, nil
}

// copyState says what a near entry is good for.
type copyState uint8

const (
	unusable    copyState = iota
	usable                // a value to serve
	refreshable           // a value to serve, due to be loaded anew
	absent                // the knowledge that there is no such thing, to serve
	expired               // a value past its life, which may serve when a load fails
)

// nearCopy is what the near tier has for a key.
type nearCopy[V any] struct {
	state copyState
	value *V
	entry *local.Entry // of a refreshable or expired copy
}

// kept gives an expired copy to be held until a load has failed; nil for any other.
func (n nearCopy[V]) kept() *kept[V] {
	if n.state != expired {
		return nil
	}
	return &kept[V]{value: n.value, entry: n.entry}
}

// near is nearest, for a handle whose reads may have to see more than this instance has heard of.
func (c *Cache[V]) near(ctx context.Context, hash uint64, key string) nearCopy[V] {
	if len(c.after) > 0 && c.lagging() {
		return nearCopy[V]{}
	}
	return c.nearest(ctx, hash, key)
}

// nearest is the hot path. An entry that is plain, fresh, and newer than all that is known about its key is served;
// anything else is judged.
func (s *shared[V]) nearest(ctx context.Context, hash uint64, key string) nearCopy[V] {
	if s.scope == nil {
		return nearCopy[V]{}
	}
	e := s.scope.Lookup(hash, key)
	if e == nil {
		return nearCopy[V]{}
	}
	until := s.validity.TrustedUntil() // before Valid: see coherence.Manager
	settled := s.validity.Settled()
	now := local.Monotonic()
	stamp := e.Stamp.Load()
	var n nearCopy[V]
	if now < until && now < e.Fresh && e.Meta == nil && s.validity.Valid(hash, stamp) {
		n.value, n.state = local.ValueOf[V](e), usable
		confirm(e, stamp, settled)
	} else {
		n = s.judge(hash, e, until, now)
	}
	if n.state == unusable || n.state == expired {
		s.scope.Stale(hash)
		return n
	}
	s.scope.Hit(hash)
	if s.client.spans.localHits {
		s.client.spans.localHit(ctx, s.name)
	}
	return n
}

// confirm gives an entry that was found valid a newer stamp, so that it does not look old among newer invalidations of
// its bucket's other keys: one in a thousand reads instead of one in ten takes an entry for invalid that is not, at 1,000
// invalidations a second (BenchmarkFalseInvalidations). Not on every read: a hot entry's cache line would be written to by all.
func confirm(e *local.Entry, stamp, settled uint64) {
	if settled > stamp+confirmAfter {
		e.Stamp.Store(settled) // another reader's may be newer; either will do
	}
}

const confirmAfter = 4096

// judge looks at entries that have tags, stand for nothing, are due for a refresh or past their life, were kept for
// want of coherence, or are invalid.
func (s *shared[V]) judge(hash uint64, e *local.Entry, trustedUntil, now int64) nearCopy[V] {
	m, _ := e.Meta.(*meta)
	all, gutterOnly := s.policy.servable(trustedUntil, now)
	if !all && (!gutterOnly || m == nil || !m.provisional) {
		return nearCopy[V]{}
	}
	settled, stamp := s.validity.Settled(), e.Stamp.Load()
	if !s.validity.Valid(hash, stamp) || now >= e.Expires {
		return nearCopy[V]{}
	}
	value, _ := e.Value.(*V)
	until := e.Fresh
	if m != nil {
		if !s.validity.TagsValid(m.tags, stamp) {
			return nearCopy[V]{}
		}
		confirm(e, stamp, settled)
		until = m.until
		if m.negative {
			if now < until {
				return nearCopy[V]{state: absent}
			}
			return nearCopy[V]{}
		}
	}
	switch {
	case now >= until:
		return nearCopy[V]{state: expired, value: value, entry: e}
	case now >= e.Fresh && m != nil && now >= m.refreshAt.Load():
		return nearCopy[V]{state: refreshable, value: value, entry: e}
	}
	return nearCopy[V]{state: usable, value: value}
}

// getSlowly goes on where the near tier has no plain value.
func (c *Cache[V]) getSlowly(ctx context.Context, hash uint64, key string, n nearCopy[V]) (*V, error) {
	if err := c.usable(key); err != nil {
		return nil, err
	}
	if c.client.opts.Disabled {
		return nil, ErrNotFound
	}
	switch n.state {
	case refreshable:
		return n.value, nil
	case absent:
		return nil, ErrNotFound
	}
	from, err := c.askFar(ctx, hash)
	if err != nil {
		return nil, err
	}
	w := c.view(hash)
	defer w.End()
	rec, err := c.client.calls.read(ctx, c.prefix+key)
	v, err := c.accept(ctx, &w, time.Now(), hash, key, from, rec, err, nil)
	if err == nil {
		answered(ctx, AnsweredFar)
	}
	return v, err
}

// askFar begins a far read of a key with this hash, or says why the far tier must not be asked.
func (c *Cache[V]) askFar(ctx context.Context, hash uint64) (coherence.Point, error) {
	if err := c.validity.Blocked(ctx, c.client.patienceOfReads(), hash); err != nil {
		c.countFar(err)
		return coherence.Point{}, err
	}
	err := c.validity.CatchUp(ctx, c.after, c.validity.LaneOf(hash))
	if err != nil {
		c.countFar(err)
	}
	return c.point(hash), err
}

// accept decides what a far read means to a user, and keeps a copy of what can be served.
func (c *Cache[V]) accept(ctx context.Context, w *coherence.View, now time.Time, hash uint64, key string, from coherence.Point, rec remote.Record, err error, known *tagVersions) (*V, error) {
	seen, err := c.examine(ctx, now, hash, key, rec, err, known)
	switch {
	case err != nil:
		if errors.Is(err, ErrNotFound) {
			c.saw(w, coherence.MissedAt(&rec), hash, key)
		}
		c.countFar(err)
		return nil, err
	case seen.state == negative:
		c.counts.farHits.Add(1)
		c.keep(w, coherence.SeenAt(&rec), now, hash, key, nil, from, &rec, &c.defaults)
		return nil, ErrNotFound
	case seen.state != live:
		c.saw(w, coherence.MissedAt(&rec), hash, key)
		c.counts.farMisses.Add(1)
		return nil, ErrNotFound
	}
	c.counts.farHits.Add(1)
	c.keep(w, coherence.SeenAt(&rec), now, hash, key, seen.value, from, &rec, &c.defaults)
	return seen.value, nil
}

// countFar counts a call that the remote tier ended with err. It is called once for a failure: by the function that
// ends the call, and not by those that it has called.
func (s *shared[V]) countFar(err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		s.counts.farMisses.Add(1)
	case farFailure(err):
		s.counts.farErrors.Add(1)
	}
}

// farFailure reports whether err is a failure of the remote tier that no other counter has. A caller's own mistake and
// the end of its context are none, nor is the end of the client.
func farFailure(err error) bool {
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

// farState says what the far tier holds.
type farState uint8

const (
	nothing    farState = iota
	live                // a value that may be served
	negative            // the knowledge that there is no such thing
	leased              // somebody is loading it
	overtaken           // somebody is loading what was invalidated since the load began
	stale               // a value past its life, or one of whose tags was invalidated: not servable, but it may be replaced
	unreadable          // what does not decode; it may be replaced
	foreign             // a record of a later version, or another Redis type: it is left alone
)

// farCopy is what the far tier has for a key.
type farCopy[V any] struct {
	state farState
	value *V        // of live, and of stale where it may serve when a load fails
	at    time.Time // when it was looked at
}

// examine looks at what a far read gave. Its error is the user's: ErrNotFound for foreign records, *DecodeError, or why
// the far tier could not be asked. known has the versions of tags, where they were asked for already.
func (s *shared[V]) examine(ctx context.Context, now time.Time, hash uint64, key string, rec remote.Record, err error, known *tagVersions) (farCopy[V], error) {
	if err != nil {
		return s.examineFailure(key, err)
	}
	lease := rec.Kind == remote.KindLease
	if rec.Stamp < s.validity.MinID(hash) {
		if lease {
			return farCopy[V]{state: overtaken}, nil
		}
		return farCopy[V]{state: stale}, nil
	}
	intact, err := s.tagsIntact(ctx, rec.Tags, known)
	switch {
	case err != nil:
		return farCopy[V]{}, err
	case lease && intact:
		return farCopy[V]{state: leased}, nil
	case lease:
		return farCopy[V]{state: overtaken}, nil
	case len(rec.Tags) > 0 && rec.Stamp < s.validity.MinID(hash):
		intact = false // a floor was raised while the tags were asked for, perhaps in the place of one of them
	}
	if !intact || (rec.Kind == remote.KindNegative && rec.Expired(now)) {
		return farCopy[V]{state: stale}, nil
	}
	if rec.Kind == remote.KindNegative {
		return farCopy[V]{state: negative, at: now}, nil
	}
	v, err := s.decode(key, &rec)
	if err != nil {
		return farCopy[V]{state: unreadable}, err
	}
	if rec.Expired(now) {
		return farCopy[V]{state: stale, value: v, at: now}, nil
	}
	return farCopy[V]{state: live, value: v, at: now}, nil
}

func (s *shared[V]) examineFailure(key string, err error) (farCopy[V], error) {
	var version *remote.UnknownVersionError
	switch {
	case errors.Is(err, ErrNotFound):
		return farCopy[V]{}, ErrNotFound
	case errors.As(err, &version):
		s.counts.foreign.Add(1)
		return farCopy[V]{state: foreign}, ErrNotFound
	case errors.Is(err, remote.ErrMalformed):
		s.counts.decodeErrors.Add(1)
		return farCopy[V]{state: unreadable}, &DecodeError{Key: key, Codec: s.codec.Name(), Err: err}
	case errors.Is(err, ErrWrongType):
		return farCopy[V]{state: foreign}, err
	}
	return farCopy[V]{}, err
}

// Exists tells whether there is an entry under key.
func (c *Cache[V]) Exists(ctx context.Context, key string) (bool, error) {
	found, err := c.presence(ctx, key)
	return found, c.fault("Exists", err)
}

func (c *Cache[V]) presence(ctx context.Context, key string) (bool, error) {
	if err := c.usable(key); err != nil {
		return false, err
	}
	if c.client.opts.Disabled {
		return false, nil
	}
	hash := c.hash(key)
	switch c.near(ctx, hash, key).state {
	case usable, refreshable:
		return true, nil
	case absent:
		return false, nil
	}
	if _, err := c.askFar(ctx, hash); err != nil {
		return false, err
	}
	w := c.view(hash)
	defer w.End()
	p, err := c.client.far.Presence(ctx, c.prefix+key, c.validity.MinID(hash))
	found := false
	if err == nil {
		found, err = c.exists(ctx, key, p)
	}
	if err != nil {
		c.countFar(err)
		return found, err
	}
	c.saw(&w, coherence.Sighting{Found: found}, hash, key)
	return found, err
}

// TTL gives the life left of the entry under key, NoExpiration for one without end, or ErrNotFound. It asks the far tier.
func (c *Cache[V]) TTL(ctx context.Context, key string) (time.Duration, error) {
	left, err := c.lifeLeft(ctx, key)
	return left, c.fault("TTL", err)
}

func (c *Cache[V]) lifeLeft(ctx context.Context, key string) (time.Duration, error) {
	if err := c.usable(key); err != nil {
		return 0, err
	}
	if c.client.opts.Disabled {
		return 0, ErrNotFound
	}
	hash := c.hash(key)
	if _, err := c.askFar(ctx, hash); err != nil {
		return 0, err
	}
	w := c.view(hash)
	defer w.End()
	life, err := c.client.far.Life(ctx, c.prefix+key, c.validity.MinID(hash))
	if err == nil && life.Tagged {
		var found bool
		if found, err = c.exists(ctx, key, remote.Tagged); err == nil && !found {
			err = ErrNotFound
		}
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		c.saw(&w, coherence.Sighting{Found: err == nil}, hash, key)
	}
	switch {
	case err != nil:
		c.countFar(err)
		return 0, err
	case life.Forever:
		return NoExpiration, nil
	}
	return life.Left, nil
}

// exists completes what the far tier says of an entry: one with tags is there if they are intact, which takes two more
// round trips.
func (c *Cache[V]) exists(ctx context.Context, key string, p remote.Presence) (bool, error) {
	if p != remote.Tagged {
		return p == remote.Present, nil
	}
	_, found, err := c.taggedRecord(ctx, key)
	return found, err
}

// taggedRecord reads an entry that was said to have tags, and tells whether there is one: its tags are intact.
func (c *Cache[V]) taggedRecord(ctx context.Context, key string) (rec remote.Record, found bool, err error) {
	rec, err = c.client.far.Get(ctx, c.prefix+key)
	found, err = c.taggedEntry(ctx, key, rec, err, nil)
	return rec, found, err
}

// taggedEntry tells whether what reading an entry with tags gave is one. known has the versions of tags, where they were
// asked for already.
func (c *Cache[V]) taggedEntry(ctx context.Context, key string, rec remote.Record, err error, known *tagVersions) (bool, error) {
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case unreadableRecord(err):
		return true, nil
	case err != nil:
		return false, err
	case rec.Kind != remote.KindValue || rec.Expired(time.Now()) || rec.Stamp < c.validity.MinID(c.hash(key)):
		return false, nil
	}
	return c.tagsIntact(ctx, rec.Tags, known)
}
