package tiered

import (
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
)

var _ invalidation.CopyInspector = (*coherence)(nil)

// InspectCopy implements invalidation.CopyInspector.
func (c *coherence) InspectCopy(q invalidation.CopyQuery) invalidation.CopyStatus {
	c.mu.Lock()
	var held func(string) invalidation.CopyStatus
	if f := c.caches[q.Seed]; f != nil {
		held = f.held
	}
	c.mu.Unlock()
	if held == nil {
		return invalidation.CopyStatus{}
	}
	return held(q.Key)
}

// answers lets a cache that has been made be asked.
func (c *coherence) answers(f *cacheFloors, held func(key string) invalidation.CopyStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.held = held
}

// held tells what the near tier has for a key, without counting as a read.
func (s *shared[V]) held(key string) invalidation.CopyStatus {
	hash := s.hash(key)
	e := s.scope.Peek(hash, key)
	if e == nil {
		return invalidation.CopyStatus{}
	}
	live, now := s.client.co.liveUntil.Load(), local.Monotonic()
	h := invalidation.CopyStatus{Present: true, TTL: -1}
	if e.Expires != local.Never {
		h.TTL = time.Duration(max(0, e.Expires-now))
	}
	state := s.judge(hash, e, live, now).state
	h.Valid = state != unusable && state != expired
	return h
}
