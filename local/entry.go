package local

import (
	"math"
	"sync/atomic"
)

// Never is the reading of Entry.Fresh and Entry.Expires that the clock does not reach.
const Never int64 = math.MaxInt64

// Entry is what a tier holds for one key. It is given to [Scope.Set] once and not changed afterwards, but for its Stamp:
// readers share it.
type Entry struct {
	Key     string
	Value   any           // opaque to the tier
	Stamp   atomic.Uint64 // opaque to the tier: an invalidation that was known when the entry was read, and did not concern it
	Fresh   int64         // clock reading after which the caller refreshes it; opaque to the tier
	Expires int64         // clock reading from which it must not be served; Never for no expiry. 0 has expired long ago

	// scope is whose the entry is; nil once the entry is dead. With it ends the cache line that a hit reads.
	scope atomic.Pointer[Scope]

	Cost int64 // bytes of key and value, when MaxBytes bounds the tier; 0: ask Options.Cost
	Meta any   // opaque to the tier

	hash       uint64 // as the engine knows it: mixed with the scope's salt
	charge     int64  // what counts against the engine's bound
	prev, next *Entry // in a bucket of the reclaimer; guarded by its shard's lock
	linked     bool   // guarded by the same
}

// alive reports that e has not been overwritten, deleted, evicted, refused or cleared. Once the write of a
// newer entry has returned, no older entry of its hash is alive; that is what makes a stale read impossible.
func (e *Entry) alive() bool { return e.scope.Load() != nil }

// is reports that e is alive and the entry of this key in this scope.
func (e *Entry) is(s *Scope, key string) bool { return e.scope.Load() == s && e.Key == key }

// kill ends e's life. It is true for the first call.
func (e *Entry) kill() bool {
	s := e.scope.Load()
	return s != nil && e.scope.CompareAndSwap(s, nil)
}
