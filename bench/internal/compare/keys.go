package compare

import (
	"fmt"
	"math/rand/v2"
)

// picks is how many keys a pattern names before it begins again: a power of two, so that a mask wraps it, and enough to name
// nearly all of 100,000 keys when all are alike.
const picks = 1 << 18

// zipfExponent is close to 1, as popularity of web objects is; Go's generator wants it above.
const zipfExponent = 1.01

// Patterns of keys.
const (
	zipf    = "zipf"
	uniform = "uniform"
	hot     = "hot"
)

// pattern returns a sequence of indices into keys: of those that are allowed, in the order of their popularity.
func pattern(kind string, allowed []uint32, hotKeys int, seed uint64) []uint32 {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	n := uint64(len(allowed))
	next := func() uint64 { return r.Uint64N(n) }
	switch kind {
	case zipf:
		z := rand.NewZipf(r, zipfExponent, 1, n-1)
		next = z.Uint64
	case hot:
		n = min(n, uint64(hotKeys))
	}
	out := make([]uint32, picks)
	for i := range out {
		out[i] = allowed[next()]
	}
	return out
}

// begin is where in a pattern a caller begins in a round: the same for every subject, and apart from its neighbours.
func begin(round, caller int) int { return (round+1)*7919 + caller*15013 }

// keysOf are n keys, ten digits behind a prefix.
func keysOf(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s:%010d", prefix, i)
	}
	return keys
}

// allOf are the indices below n.
func allOf(n int) []uint32 {
	all := make([]uint32, n)
	for i := range all {
		all[i] = uint32(i)
	}
	return all
}
