package replay

import (
	"math"
	"slices"
)

const (
	smallestShare = 0.001 // of the distinct keys
	largestShare  = 0.5
	defaultSteps  = 8
	fineSteps     = 100 // of a miss-ratio curve
)

// DefaultSizes are geometric steps from a thousandth of the distinct keys to half of them, rounded to two digits.
func DefaultSizes(keys int) []int {
	return geometric(smallestShare*float64(keys), largestShare*float64(keys), defaultSteps, func(f float64) int {
		unit := math.Pow(10, max(0, math.Floor(math.Log10(max(f, 1)))-1))
		return int(math.Round(f/unit) * unit)
	})
}

// steps are the fine ones of a curve from a thousandth of the keys to all of them, and the sizes asked for.
func steps(keys int, sizes []int) []int {
	fine := geometric(smallestShare*float64(keys), float64(keys), fineSteps, func(f float64) int { return int(math.Round(f)) })
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
