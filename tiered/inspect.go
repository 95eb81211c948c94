package tiered

import (
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
)

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
