package replay

import (
	"math"
	"slices"
)

const (
	leastDefault = 1000 // entries
	leastShare   = 0.01 // of the distinct keys, where that is less
	largestShare = 0.5
	defaultSteps = 8
	fineSteps    = 100 // of a miss-ratio curve
)

// DefaultSizes are geometric steps from 1,000 entries, or a hundredth of the distinct keys where that is less, to half of
// the keys, rounded to two digits. Smaller caches that apply evictions in batches hold much more than their bound, so
// that their hit ratios would be those of another size.
func DefaultSizes(keys int) []int {
	return geometric(min(leastDefault, leastShare*float64(keys)), largestShare*float64(keys), defaultSteps, func(f float64) int {
		unit := math.Pow(10, max(0, math.Floor(math.Log10(max(f, 1)))-1))
		return int(math.Round(f/unit) * unit)
	})
}

// steps are the fine ones of a curve from the smallest of the sizes asked for to all keys, and those sizes.
func steps(keys int, sizes []int) []int {
	fine := geometric(float64(slices.Min(sizes)), float64(keys), fineSteps, func(f float64) int { return int(math.Round(f)) })
	return slices.Compact(slices.Sorted(slices.Values(append(fine, sizes...))))
}

func geometric(from, to float64, n int, round func(float64) int) []int {
	from = max(from, 1)
	to = max(to, from)
	var out []int
	for i := range n {
		out = append(out, max(1, round(from*math.Pow(to/from, float64(i)/float64(n-1)))))
	}
	return slices.Compact(out)
}
