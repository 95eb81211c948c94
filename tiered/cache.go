package tiered

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/codec"
	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/flight"
	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Cache is a typed view of a client's two tiers under a name of its own. It may be used by any number of goroutines.
type Cache[V any] struct {
	*shared[V]
	defaults settings
	after    []coherence.Position // what reads must see: see After
}

// shared is what all handles of one cache name have in common.
type shared[V any] struct {
	client    *Client
	name      string
	prefix    string // namespace:name:, before each key in the remote tier
	tagPrefix string // before each tag in the remote tier; no entry's key begins with it
	seed      uint64 // of the hashes of keys
	tagSeed   uint64
	scope     *local.Scope
	validity  *coherence.Cache // of its local copies; nil with Options.Disabled
	policy    Incoherence
	codec     *codec.Typed[V]
	bounds    *remote.Bounds // of numbers, where V is narrower than int64
	numeric   bool
	flights   flight.Group[callInfo[V], result[V]]
	recent    missRate
	counts    counters
	failures  failureLog
}

// NewCache gives the cache of that name. A name may be used again with the same type and codec, and other defaults;
// with another type or codec it is an error. A name may not hold any of : { } * ? [ ] \ and is at most MaxNameBytes
// long.
func NewCache[V any](c *Client, name string, opts CacheOptions) (cache *Cache[V], err error) {
	if opts.Codec != nil {
		defer func() {
			if recover() != nil { // of its ID or its Name
				cache, err = nil, &OptionError{Field: "Codec", Reason: "panicked"}
			}
		}()
	}
	opts = opts.withDefaults(c.defaultTTL, c.opts.WhenIncoherent)
	var f faults
	f.name("name", name)
	f.check(name != coherence.NewestFloor, "name", "%q is the library's own", name)
	if err := opts.validate(); err != nil {
		f = append(f, err)
	}
	values, err := codec.New[V](opts.codecOptions())
	if err != nil {
		f = append(f, codecFaults(err))
	}
	if err := f.err(); err != nil {
		return nil, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, ErrClosed
	}
	valueType := reflect.TypeFor[V]()
	if r := c.caches[name]; r != nil {
		s, same := r.shared.(*shared[V])
		if !same || r.codec != values.Name() {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with type %v and codec %s, not %v and %s",
				name, r.valueType, r.codec, valueType, values.Name())}
		}
		if !sameEncoding(r.encoding, opts.codecOptions()) {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with another Codec, Compression, CompressAbove, Keyring or MaxValueBytes", name)}
		}
		if s.policy != opts.WhenIncoherent {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with another WhenIncoherent, %v", name, s.policy)}
		}
		return &Cache[V]{shared: s, defaults: opts.settings()}, nil
	}
	s := newShared(c, name, values)
	s.policy = opts.WhenIncoherent
	c.caches[name] = &registration{valueType: valueType, codec: values.Name(), encoding: opts.codecOptions(), shared: s, stats: s.stats}
	return &Cache[V]{shared: s, defaults: opts.settings()}, nil
}

func newShared[V any](c *Client, name string, values *codec.Typed[V]) *shared[V] {
	ns := c.opts.Namespace
	s := &shared[V]{
		client: c, name: name, prefix: ns + ":" + name + ":", tagPrefix: ns + "::tag:" + name + ":",
		codec: values,
	}
	s.failures.log = c.opts.Logger
	s.seed, s.tagSeed = coherence.Seed(ns, name), keyhash.Seed(s.tagPrefix)
	s.flights.Ended = func(f *call[V]) { f.Info.view.End() }
	numeric, lowest, highest, bounded := values.Numeric()
	s.numeric = numeric
	if bounded {
		s.bounds = &remote.Bounds{Min: lowest, Max: highest}
	}
	if !c.opts.Disabled {
		s.scope = c.local.NewScope()
		s.validity = c.co.Cache(name)
		s.validity.InspectBy(s.inspect)
	}
	return s
}

// Name is the cache's name.
func (c *Cache[V]) Name() string { return c.name }

func (s *shared[V]) hash(key string) uint64 { return keyhash.Sum(s.seed, key) }

// checkKey refuses bad keys and closed clients. It is asked off the hot path only: such a key is never stored, so it never hits.
func (s *shared[V]) checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: has %d bytes, must have 1 to %d", ErrInvalidKey, len(key), MaxKeyBytes)
	}
	if s.client.isClosed() {
		return ErrClosed
	}
	return nil
}

// hash values of tags, with which the local tier checks them.
func (s *shared[V]) tagHashes(tags []string) []uint64 {
	if len(tags) == 0 {
		return nil
	}
	out := make([]uint64, len(tags))
	for i, t := range tags {
		out[i] = keyhash.Sum(s.tagSeed, t)
	}
	return out
}

// record encodes a value for the remote tier.
func (s *shared[V]) record(key string, v *V, st *settings, tags []remote.Tag) (*remote.Record, error) {
	payload, form, err := s.codec.EncodeBound(nil, s.prefix+key, s.bound(tags), v)
	if err != nil {
		return nil, s.encodeFault(key, err)
	}
	r := &remote.Record{
		Kind: remote.KindValue, Token: remote.NewToken(), Created: time.Now(), TTL: remoteLife(st.ttl, st.jitter), Grace: min(st.failSafe, maxGrace),
		Number: form == codec.Number, Tags: tags, Payload: payload,
	}
	return r, nil
}

// remoteLife is a TTL as records have it (0 is for ever), shortened by jitter.
func remoteLife(ttl, jitter time.Duration) time.Duration {
	if ttl > remote.MaxTTL {
		return 0
	}
	if most := min(jitter, ttl/2); most > 0 {
		ttl -= rand.N(most + 1)
	}
	return max(ttl, time.Millisecond)
}

// decode reads the value of a record that was found.
func (s *shared[V]) decode(key string, r *remote.Record) (*V, error) {
	v, err := s.read(key, r)
	if err != nil {
		s.counts.decodeErrors.Add(1)
		return nil, &DecodeError{Key: key, Codec: s.codec.Name(), Err: err}
	}
	return v, nil
}

func (s *shared[V]) read(key string, r *remote.Record) (*V, error) {
	form := codec.Enveloped
	if r.Number {
		form = codec.Number
	}
	v := new(V)
	if err := s.codec.DecodeBound(s.prefix+key, s.bound(r.Tags), r.Payload, form, v); err != nil {
		return nil, err
	}
	return v, nil
}

// asRead gives what a read of r, the record of v, would give, in memory that the caller of Set or the loader does not
// have: v itself where the two cannot be told apart, else the decoded value. What could be written and not read back is
// found out here, before it is stored.
func (s *shared[V]) asRead(key string, r *remote.Record, v *V) (*V, error) {
	if s.codec.Exact() {
		return v, nil
	}
	read, err := s.read(key, r)
	if err != nil {
		return nil, s.encodeFault(key, fmt.Errorf("it does not decode back: %w", err))
	}
	return read, nil
}

// bound are the tags of a record as an encrypted value is bound to them: names and versions.
func (s *shared[V]) bound(tags []remote.Tag) []byte {
	if len(tags) == 0 || !s.codec.Sealed() {
		return nil
	}
	var b []byte
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Name)))
		b = append(b, t.Name...)
		b = append(b, t.Version[:]...)
	}
	return b
}

// meta is kept beside a local entry that has more to it than a value and an end.
type meta struct {
	tags        []uint64
	until       int64 // when its life is over, as users see it; its entry may be refreshed before, or serve as a stale value after
	negative    bool
	provisional bool         // kept for want of coherence
	refreshAt   atomic.Int64 // when the next refresh may begin; the first one when the entry is no longer fresh
}

// leastLife is what a local copy must have to live for it to be worth the keeping.
const leastLife = time.Millisecond

// point is what is known when a read or a load of a key with this hash begins.
func (s *shared[V]) point(hash uint64) coherence.Point {
	if s.validity == nil {
		return coherence.Point{Begun: local.Monotonic()}
	}
	return s.validity.Point(hash)
}

// localCopy makes the local copy of a value, or nil where none is to be kept.
func (s *shared[V]) localCopy(at time.Time, hash uint64, key string, v *V, from coherence.Point, rec *remote.Record, st *settings) *local.Entry {
	now := local.Reading(at)
	until, expires := localLife(at, now, rec, st)
	all, gutterOnly := s.policy.servable(s.validity.TrustedUntil(), now)
	if !all {
		until = min(until, from.Begun+gutterTTL(s.client.opts.MaxStaleness))
		expires = min(expires, local.After(until, rec.Grace))
	}
	if until < local.After(now, leastLife) || (!all && !gutterOnly) || s.validity.RetryingKey(hash) {
		return nil
	}
	fresh := until
	if st.refreshAhead > 0 && until != local.Never {
		// Somewhere in the span, and never before half of the life is over.
		if span := min(int64(st.refreshAhead), (until-now)/2); span > 0 {
			fresh -= span/2 + rand.N(span/2+1)
		}
	}
	e := local.NewEntry(key, v)
	e.Fresh, e.Expires, e.Cost = fresh, expires, weigh(s.client.opts.Local, key, v)
	e.Stamp.Store(from.Stamp)
	if negative := rec.Kind == remote.KindNegative; negative || !all || fresh != until || len(rec.Tags) > 0 {
		m := &meta{tags: s.tagHashes(tagNames(rec.Tags)), until: until, negative: negative, provisional: !all}
		m.refreshAt.Store(fresh)
		e.Meta = m
	}
	return e
}

// localLife gives when a local copy's life is over, and until when it may serve as a stale value, by the clock that reads
// now at the time at.
func localLife(at time.Time, now int64, rec *remote.Record, st *settings) (until, expires int64) {
	until, expires = local.Never, local.Never
	if left, forever := rec.Remaining(at); !forever {
		until = local.After(now, left)
		expires = local.After(until, rec.Grace)
	}
	if st.localTTL > 0 && local.After(now, st.localTTL) < until {
		until = local.After(now, st.localTTL)
		switch {
		case rec.Grace == 0:
			expires = until
		case expires == local.Never:
			expires = local.After(until, rec.Grace)
		}
	}
	return until, expires
}

func tagNames(tags []remote.Tag) []string {
	if len(tags) == 0 {
		return nil
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = t.Name
	}
	return names
}
