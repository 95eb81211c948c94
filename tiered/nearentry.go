package tiered

import (
	"strings"
	"unsafe"

	"github.com/doppio-cache/doppio/local"
)

const (
	// shortKey is the longest key that is kept within its entry.
	shortKey = 24
	// smallValue is the largest value that is copied into its entry. What a larger one costs to read is not the way to it.
	smallValue = 512
)

// placed is an entry with its key and its value behind it, in one piece of memory. A hit on an entry that is in no
// processor cache then waits for neighbouring lines, which are fetched together, instead of for three places of which
// each is known only when the one before has arrived: that is a quarter of a hit's time with 100,000 entries.
type placed[V any] struct {
	local.Entry
	value V
	key   [shortKey]byte
}

// newEntry makes the entry of a key with a copy of its value, or of the knowledge that there is none. Of its fields Key
// and Value are set.
func newEntry[V any](key string, v *V) *local.Entry {
	if v == nil || unsafe.Sizeof(*v) > smallValue {
		return &local.Entry{Key: strings.Clone(key), Value: v}
	}
	p := &placed[V]{value: *v}
	p.Value = &p.value
	if len(key) > shortKey {
		p.Key = strings.Clone(key)
	} else {
		p.Key = unsafe.String(&p.key[0], copy(p.key[:], key)) // which nobody writes to again
	}
	return &p.Entry
}
