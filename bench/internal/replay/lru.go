package replay

import "context"

// stackDistances counts, for every size, the requests that an LRU cache of that size answers and one smaller by an entry
// does not: Mattson's stack distances, all sizes in one pass. Element d counts distance d; element 0 is unused.
//
// The distance of a request is the number of distinct keys since the last request of its key, that key included. A
// Fenwick tree over the positions of the trace holds a 1 at each key's last request so far; the distance is the sum from
// there on.
func stackDistances(ctx context.Context, keys []uint32, count int, tick func(int)) ([]int64, error) {
	const never = -1
	last := make([]int32, count)
	for i := range last {
		last[i] = never
	}
	distances := make([]int64, count+1)
	tree := newFenwick(len(keys))
	seen := 0
	for i, key := range keys {
		if i%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			tick(min(checkEvery, len(keys)-i))
		}
		if before := last[key]; before == never {
			seen++
		} else {
			distances[seen-tree.sum(int(before))+1]++ // those last asked for after it, and itself
			tree.add(int(before), -1)
		}
		tree.add(i, 1)
		last[key] = int32(i)
	}
	return distances, nil
}

// fenwick sums prefixes.
type fenwick []int32

func newFenwick(n int) fenwick { return make(fenwick, n+1) }

func (f fenwick) add(i int, n int32) {
	for i++; i < len(f); i += i & -i {
		f[i] += n
	}
}

// sum is that of elements 0 … i.
func (f fenwick) sum(i int) (n int) {
	for i++; i > 0; i -= i & -i {
		n += int(f[i])
	}
	return n
}
