package local

import (
	"math"
	"strings"
	"sync/atomic"
	"unsafe"
)

const (
	// maxInlineKey is the longest key that is stored in its entry: the rest of the first cache
	// line.
	maxInlineKey = 23
	// keyElsewhere is the keyLength of a longer key.
	keyElsewhere = math.MaxUint8
	// maxInlineValue is the largest value that is copied into its entry. The read of a larger one
	// takes longer than following a pointer to it.
	maxInlineValue = 512
)

// Entry is a tier's entry of one key; [NewEntry] makes one. It is passed to [Scope.Set] once.
// Readers share it, so it is not changed after that, except its Stamp.
//
// A hit on an entry that is in no processor cache mostly waits for memory. A hit reads only the
// first 64 bytes, which include the key, and a small value behind the entry (see [ValueOf]). Their
// addresses are known as soon as the entry's is, so the processor fetches them together instead of
// one after the other.
type Entry struct {
	// scope is the scope of the entry; nil once the entry is dead.
	scope     atomic.Pointer[Scope]
	Stamp     atomic.Uint64 // opaque to the tier: the newest invalidation that is known not to concern it
	Fresh     int64         // opaque to the tier: the clock reading after which the caller refreshes it
	Meta      any           // opaque to the tier
	keyLength uint8         // of the key in inlineKey, or keyElsewhere
	inlineKey [maxInlineKey]byte
	// A hit does not read the fields below.

	Expires int64   // the clock reading at which it expires; Never for no expiry
	Value   any     // opaque to the tier. NewEntry sets it to a *V, which may be nil
	longKey *string // the key if it is not in inlineKey

	Cost int64 // the bytes of key and value, if MaxBytes bounds the tier; 0: Options.Cost says

	hash       uint64 // mixed with the scope's salt, as the engine knows it
	charge     int64  // its part of the engine's bound
	prev, next *Entry // in a bucket of the expirer, guarded by the lock of its shard; nil: in none
}

// inlineEntry is an entry with its value behind it, in one piece of memory.
type inlineEntry[V any] struct {
	Entry
	value V
}

// fitsInline reports whether [NewEntry] copies a value of this type into its entry.
func fitsInline[V any]() bool { return unsafe.Sizeof(*new(V)) <= maxInlineValue }

// NewEntry returns the entry of a key. It copies *v into the entry if that has at most 512 bytes;
// otherwise the entry refers to v, which must not be changed any more. v may be nil. The entry
// never expires, unless the caller sets its fields before [Scope.Set].
func NewEntry[V any](key string, v *V) *Entry {
	var e *Entry
	if v != nil && fitsInline[V]() {
		p := &inlineEntry[V]{value: *v}
		e, v = &p.Entry, &p.value
	} else {
		e = new(Entry)
	}
	e.Value, e.Fresh, e.Expires = v, Never, Never
	if len(key) <= maxInlineKey {
		e.keyLength = uint8(copy(e.inlineKey[:], key))
	} else {
		key = strings.Clone(key)
		e.keyLength, e.longKey = keyElsewhere, &key
	}
	return e
}

// ValueOf returns the value of an entry that NewEntry made with this very V and a v that was not
// nil. For any other entry the result is undefined, since the entry is not read to find the value.
// Entry.Value says what an entry has.
func ValueOf[V any](e *Entry) *V {
	if fitsInline[V]() {
		return &(*inlineEntry[V])(unsafe.Pointer(e)).value // the Entry is the first field of an inlineEntry
	}
	v, _ := e.Value.(*V)
	return v
}

// Key returns the key of the entry.
func (e *Entry) Key() string {
	if e.keyLength == keyElsewhere {
		return *e.longKey
	}
	return unsafe.String(&e.inlineKey[0], int(e.keyLength)) // no code writes to it again
}

// alive reports whether e was not overwritten, deleted, evicted, rejected or cleared. Once the
// write of a newer entry has returned, no older entry of its hash is alive. That makes a stale read
// impossible.
func (e *Entry) alive() bool { return e.scope.Load() != nil }

// matches reports whether e is alive and the entry of this key in this scope.
func (e *Entry) matches(s *Scope, key string) bool { return e.scope.Load() == s && e.Key() == key }

// markDead ends the life of e. It returns true for the first call.
func (e *Entry) markDead() bool {
	s := e.scope.Load()
	return s != nil && e.scope.CompareAndSwap(s, nil)
}
