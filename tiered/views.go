package tiered

import (
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
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
// meanwhile. rec says how long the remote copy has to live, and from is what was known when the value
// was read. overtaken is as for coherence.Cache.Keep.
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
	c.validity.Note(v, x)
	if len(c.after) == 0 && c.contradicted(x.Found, hash, key) {
		c.validity.Invalidate(hash)
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
