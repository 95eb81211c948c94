package local

import (
	"math"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Never is the reading of Entry.Fresh and Entry.Expires that the clock does not reach.
const Never int64 = math.MaxInt64

const (
	// shortKey is the longest key that is kept within its entry: what is left of the first cache line.
	shortKey = 23
	// longKey is the length of a key that is kept elsewhere.
	longKey = math.MaxUint8
	// smallValue is the largest value that is copied into its entry. What a larger one costs to read is not the way to it.
	smallValue = 512
)

// Entry is what a tier holds for one key; [NewEntry] makes one. It is given to [Scope.Set] once and not changed
// afterwards, but for its Stamp: readers share it.
//
// A hit on an entry that is in no processor cache waits for memory and for little else. So what a hit reads are the first 64
// bytes, the key included, and a small value behind the entry (see [ValueOf]): all addresses are known as soon as
// the entry's is, and are waited for together instead of one after the other.
type Entry struct {
	// scope is whose the entry is; nil once the entry is dead.
	scope  atomic.Pointer[Scope]
	Stamp  atomic.Uint64 // opaque to the tier: an invalidation that was known when the entry was read, and did not concern it
	Fresh  int64         // clock reading after which the caller refreshes it; opaque to the tier
	Meta   any           // opaque to the tier
	length uint8         // of the key in short, or longKey
	short  [shortKey]byte
	// Here ends what a hit reads.

	Expires int64   // clock reading from which it must not be served; Never for no expiry. 0 has expired long ago
	Value   any     // opaque to the tier. NewEntry sets it to a *V, which may be nil
	long    *string // the key, where it is not short

	Cost int64 // bytes of key and value, when MaxBytes bounds the tier; 0: ask Options.Cost

	hash       uint64 // as the engine knows it: mixed with the scope's salt
	charge     int64  // what counts against the engine's bound
	prev, next *Entry // in a bucket of the reclaimer; guarded by its shard's lock. nil: in none
}

// placed is an entry with its value behind it, in one piece of memory.
type placed[V any] struct {
	Entry
	value V
}

// small tells where the value of an entry that [NewEntry] made is.
func small[V any]() bool { return unsafe.Sizeof(*new(V)) <= smallValue }

// NewEntry returns the entry of a key with a copy of *v if that has at most 512 bytes, else with v itself, which must not be changed
// any more, or with a nil *V. It never expires, and what is set otherwise is the caller's to set before [Scope.Set].
func NewEntry[V any](key string, v *V) *Entry {
	var e *Entry
	if v != nil && small[V]() {
		p := &placed[V]{value: *v}
		e, v = &p.Entry, &p.value
	} else {
		e = new(Entry)
	}
	e.Value, e.Fresh, e.Expires = v, Never, Never
	if len(key) <= shortKey {
		e.length = uint8(copy(e.short[:], key))
	} else {
		key = strings.Clone(key)
		e.length, e.long = longKey, &key
	}
	return e
}

// ValueOf is the value of an entry that NewEntry made with this very V and a v that was not nil; of any other the result is undefined, for
// the entry is not read to find it. Entry.Value tells what an entry holds.
func ValueOf[V any](e *Entry) *V {
	if small[V]() {
		return &(*placed[V])(unsafe.Pointer(e)).value // an Entry with a small V is the first field of a placed
	}
	v, _ := e.Value.(*V)
	return v
}

// Key is the entry's key.
func (e *Entry) Key() string {
	if e.length == longKey {
		return *e.long
	}
	return unsafe.String(&e.short[0], int(e.length)) // which nobody writes to again
}

// alive reports that e has not been overwritten, deleted, evicted, refused or cleared. Once the write of a
// newer entry has returned, no older entry of its hash is alive; that is what makes a stale read impossible.
func (e *Entry) alive() bool { return e.scope.Load() != nil }

// is reports that e is alive and the entry of this key in this scope.
func (e *Entry) is(s *Scope, key string) bool { return e.scope.Load() == s && e.Key() == key }

// kill ends e's life. It is true for the first call.
func (e *Entry) kill() bool {
	s := e.scope.Load()
	return s != nil && e.scope.CompareAndSwap(s, nil)
}
