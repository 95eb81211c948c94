package tiered

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// view opens a view of a key's hash.
func (s *shared[V]) view(hash uint64) coherence.View {
	if s.validity == nil {
		return coherence.View{}
	}
	return s.validity.View(hash)
}

// views opens views of many.
func (s *shared[V]) views(hashes []uint64) []coherence.View {
	out := make([]coherence.View, len(hashes))
	for i, h := range hashes {
		out[i] = s.view(h)
	}
	return out
}

func endAll(views []coherence.View) {
	for i := range views {
		views[i].End()
	}
}

// keep stores a local copy, as of at, of what a view saw, unless another read has seen a newer one
// meanwhile. rec says how long the remote copy has to live, and from is what was known when the
// value was read. overtaken is as for coherence.Cache.Keep.
func (s *shared[V]) keep(w *coherence.View, x coherence.Sighting, at time.Time, hash uint64, key string, v *V, from coherence.Point, rec *remote.Record, st *settings) (overtaken bool) {
	return s.keepCopy(w, x, key, s.localCopy(at, hash, key, v, from, rec, st))
}

// keepCopy makes e the local copy of what a view saw, or none if e is nil.
func (s *shared[V]) keepCopy(w *coherence.View, x coherence.Sighting, key string, e *local.Entry) (overtaken bool) {
	var tags []uint64
	if e != nil {
		if m, _ := e.Meta.(*meta); m != nil {
			tags = m.tags
		}
	}
	return s.validity.Keep(w, x, s.scope, key, e, tags)
}

// saw notes what a view saw of which no local copy is made, and drops a local copy that says
// otherwise. A handle of After is ahead of the others of its instance: what it does not find, they
// may have until they hear of it.
func (c *Cache[V]) saw(v *coherence.View, x coherence.Sighting, hash uint64, key string) {
	c.shared.validity.Note(v, x)
	if len(c.after) == 0 && c.shared.contradicted(x.Found, hash, key) {
		c.shared.validity.Invalidate(hash)
	}
}

// contradicted reports whether there is a valid local copy within its life that says that there is
// something where nothing was found, or the other way round.
func (s *shared[V]) contradicted(found bool, hash uint64, key string) bool {
	e := s.scope.Peek(hash, key)
	if e == nil || !s.validity.Valid(hash, e.Stamp.Load()) {
		return false
	}
	until, negative := e.Fresh, false
	if m, _ := e.Meta.(*meta); m != nil {
		until, negative = m.until, m.negative
	}
	return negative == found && local.Monotonic() < until
}

// kept is a value past its life that is held to be served when a load fails or is slow. What
// decides whether it may still be served comes with it, wherever it is held: an invalidation that
// follows its reading is found whoever asks, and however late.
type kept[V any] struct {
	value *V
	// entry is the local copy that it is, whose stamp and tags are its own; nil for what was read
	// from the remote tier.
	entry *local.Entry
	// Of what was read from the remote tier: what was known when the read began, and the hashes of
	// the record's tags.
	from coherence.Point
	tags []uint64
}

// servable reports whether the value may be served now: nothing is known to have invalidated the key,
// its own tags or its cache since its reading, and either what is known can be trusted, or the
// reading is younger than MaxStaleness.
func (k *kept[V]) servable(s *shared[V], hash uint64) bool {
	until, now := s.validity.TrustedUntil(), local.Monotonic() // before Valid: see coherence.Manager
	all, gutterOnly := s.policy.servable(until, now)
	stamp, tags, begun, counts := k.from.Stamp, k.tags, k.from.Begun, true
	if k.entry != nil {
		m, _ := k.entry.Meta.(*meta)
		stamp, tags, counts = k.entry.Stamp.Load(), nil, gutterOnly && m != nil && m.provisional
		if m != nil {
			tags, begun = m.tags, m.until-gutterTTL(s.client.opts.MaxStaleness) // its load began no earlier: see localCopy
		}
	}
	if !all && (!counts || now-begun >= int64(s.client.opts.MaxStaleness)) {
		return false
	}
	return s.validity.Valid(hash, stamp) && s.validity.TagsValid(tags, stamp)
}

// keptCopies are the values past their life that a load came across, the newest first, for those of
// its callers who want one.
type keptCopies[V any] struct {
	there chan struct{} // closed when there is a value
	once  sync.Once

	mu     sync.Mutex
	copies []*kept[V]
}

func (c *keptCopies[V]) add(k *kept[V]) {
	if k == nil || k.value == nil {
		return
	}
	c.mu.Lock()
	c.copies = append([]*kept[V]{k}, c.copies...)
	c.mu.Unlock()
	c.once.Do(func() { close(c.there) })
}

// any reports whether the load came across a value past its life.
func (c *keptCopies[V]) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.copies) > 0
}

// newestServable returns the newest value that may be served now, or nil.
func (c *keptCopies[V]) newestServable(s *shared[V], hash uint64) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.copies {
		if k.servable(s, hash) {
			return k.value
		}
	}
	return nil
}

// inspect returns what the local tier holds for a key, without counting as a read.
func (s *shared[V]) inspect(key string) invalidation.CopyStatus {
	hash := s.hash(key)
	e := s.scope.Peek(hash, key)
	if e == nil {
		return invalidation.CopyStatus{}
	}
	until, now := s.validity.TrustedUntil(), local.Monotonic()
	h := invalidation.CopyStatus{Present: true, TTL: -1}
	if e.Expires != local.Never {
		h.TTL = time.Duration(max(0, e.Expires-now))
	}
	state := s.classifyLocal(hash, e, until, now).state
	h.Valid = state != miss && state != stale
	return h
}

// weigh gives the bytes that a local copy counts for when Local.MaxBytes bounds the local tier:
// what Local.Cost says of the key and the value, of type V, or else what the value is found to
// hold. What it takes in the remote tier is no measure: that may be compressed.
func weigh[V any](o local.Options, key string, v *V) int64 {
	switch {
	case o.MaxBytes == 0:
		return 0
	case v == nil:
		return int64(len(key))
	case o.Cost != nil:
		return max(1, o.Cost(key, *v))
	}
	w := weigher{left: maxWeighed}
	t := reflect.ValueOf(v).Elem()
	return int64(len(key)) + int64(t.Type().Size()) + w.beyond(t)
}

// maxWeighed bounds how many parts of a value are looked at; a larger value is extrapolated by
// nobody, and a cycle ends.
const maxWeighed = 1 << 16

type weigher struct{ left int }

// beyond gives the bytes that a value refers to, besides its own.
func (w *weigher) beyond(v reflect.Value) int64 {
	if w.left--; w.left < 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Slice:
		if v.IsNil() {
			return 0
		}
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + w.elements(v)
	case reflect.Array:
		return w.elements(v)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int64(v.Elem().Type().Size()) + w.beyond(v.Elem())
	case reflect.Map:
		if v.IsNil() {
			return 0
		}
		// A map's groups are at most 7/8 full, and half full on average after growing; a control
		// byte each.
		slot := int64(v.Type().Key().Size()) + int64(v.Type().Elem().Size()) + 1
		sum := 48 + int64(v.Len())*slot*3/2
		for it := v.MapRange(); it.Next() && w.left > 0; {
			sum += w.beyond(it.Key()) + w.beyond(it.Value())
		}
		return sum
	case reflect.Struct:
		var sum int64
		for i := range v.NumField() {
			sum += w.beyond(v.Field(i))
		}
		return sum
	}
	return 0
}

func (w *weigher) elements(v reflect.Value) int64 {
	switch v.Type().Elem().Kind() {
	case reflect.String, reflect.Slice, reflect.Array, reflect.Pointer, reflect.Interface, reflect.Map, reflect.Struct:
	default:
		return 0 // numbers refer to nothing
	}
	var sum int64
	for i := 0; i < v.Len() && w.left > 0; i++ {
		sum += w.beyond(v.Index(i))
	}
	return sum
}

// meta is kept beside a local entry that has more to it than a value and an end.
type meta struct {
	tags        []uint64
	until       int64 // when its life is over, as users see it; its entry may be refreshed before, or serve as a stale value after
	negative    bool
	provisional bool         // kept for want of coherence
	refreshAt   atomic.Int64 // when the next refresh may begin; the first one when the entry is no longer fresh
}

// point is what is known when a read or a load of a key with this hash begins.
func (s *shared[V]) point(hash uint64) coherence.Point {
	if s.validity == nil {
		return coherence.Point{Begun: local.Monotonic()}
	}
	return s.validity.Point(hash)
}

// leastLife is what a local copy must have to live for it to be worth the keeping.
const leastLife = time.Millisecond

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

// localLife gives when a local copy's life is over, and until when it may serve as a stale value,
// by the clock that reads now at the time at.
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
