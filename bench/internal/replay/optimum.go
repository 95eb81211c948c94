package replay

import (
	"context"
	"math"
	"math/bits"
)

// never is the position of a request that does not come.
const never = math.MaxUint32

// nextUses is, for each request, the position of the next one of the same key.
func nextUses(keys []uint32, count int) []uint32 {
	next := make([]uint32, len(keys))
	upcoming := make([]uint32, count)
	for i := range upcoming {
		upcoming[i] = never
	}
	for i := len(keys) - 1; i >= 0; i-- {
		next[i] = upcoming[keys[i]]
		upcoming[keys[i]] = uint32(i)
	}
	return next
}

// optimalHits is how many requests the best of all caches of a size answers: Belady's MIN, which keeps what is asked for
// soonest, and which need not keep what it was just asked for, since real caches may refuse a key too.
//
// No cache is needed for it, only the positions at which what it holds is asked for next: a request hits if its
// position is among them, and the farthest of them is the one to give up.
func optimalHits(ctx context.Context, next []uint32, size int, tick func(int)) (hits int64, err error) {
	held := newPositions(len(next))
	n := 0
	for i, following := range next {
		if i%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return 0, err
			}
			tick(min(checkEvery, len(next)-i))
		}
		if held.remove(i) {
			hits++
			n--
		}
		if following == never {
			continue
		}
		if n == size {
			farthest := held.max()
			if farthest < int(following) {
				continue
			}
			held.remove(farthest)
			n--
		}
		held.add(int(following))
		n++
	}
	return hits, nil
}

// positions is a set of integers below a bound that knows its highest: bits, and above each level of words one that
// says which words are not zero.
type positions [][]uint64

func newPositions(bound int) positions {
	var p positions
	for n := max(bound, 1); ; {
		n = (n + 63) / 64
		p = append(p, make([]uint64, n))
		if n == 1 {
			return p
		}
	}
}

func (p positions) add(i int) {
	for level := range p {
		p[level][i/64] |= 1 << (i % 64)
		i /= 64
	}
}

func (p positions) remove(i int) bool {
	if p[0][i/64]&(1<<(i%64)) == 0 {
		return false
	}
	for level := range p {
		p[level][i/64] &^= 1 << (i % 64)
		if p[level][i/64] != 0 {
			break
		}
		i /= 64
	}
	return true
}

// max is called of sets that are not empty.
func (p positions) max() (i int) {
	for level := len(p) - 1; level >= 0; level-- {
		i = i*64 + bits.Len64(p[level][i]) - 1
	}
	return i
}
