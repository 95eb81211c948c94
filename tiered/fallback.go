package tiered

import (
	"sync"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
)

// kept is a value past its life that is held to be served when a load fails or is slow. What decides whether it may still be served
// comes with it, wherever it is held: an invalidation that follows its reading is found whoever asks, and however late.
type kept[V any] struct {
	value *V
	// entry is the local copy that it is, whose stamp and tags are its own; nil for what was read from the remote tier.
	entry *local.Entry
	// Of what was read from the remote tier: what was known when the read began, and the hashes of the record's tags.
	from coherence.Point
	tags []uint64
}

// fresh reports whether the value may be served now: nothing is known to have invalidated the key, its own tags or its cache since
// its reading, and either what is known can be trusted, or the reading is younger than MaxStaleness.
func (k *kept[V]) fresh(s *shared[V], hash uint64) bool {
	until, now := s.validity.TrustedUntil(), local.Monotonic() // before Valid: see coherence.Manager
	all, gutterOnly := s.policy.servable(until, now)
	stamp, tags, begun, counts := k.from.Stamp, k.tags, k.from.Begun, true
	if k.entry != nil {
		m, _ := k.entry.Meta.(*meta)
		stamp, tags, counts = k.entry.Stamp.Load(), nil, gutterOnly && m != nil && m.provisional
		if m != nil {
			tags, begun = m.tags, m.until-gutterTTL(s.client.opts.MaxStaleness) // its load began no earlier: see keep
		}
	}
	if !all && (!counts || now-begun >= int64(s.client.opts.MaxStaleness)) {
		return false
	}
	return s.validity.Valid(hash, stamp) && s.validity.TagsValid(tags, stamp)
}

// keptCopies are the values past their life that a load came across, the newest first, for those of its callers who want one.
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

// fresh returns the newest value that may be served now, or nil.
func (c *keptCopies[V]) fresh(s *shared[V], hash uint64) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.copies {
		if k.fresh(s, hash) {
			return k.value
		}
	}
	return nil
}
