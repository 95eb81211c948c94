package result

import (
	"math"
	"slices"
)

// Spread is how repeated measurements of one thing lie.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// SpreadOf returns the spread of samples; of none, the zero Spread. The median of an even number is the mean of the two
// in the middle.
func SpreadOf(samples []float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return Spread{Median: (s[(n-1)/2] + s[n/2]) / 2, Min: s[0], Max: s[n-1], N: n}
}

// Ratios divides sample by sample, which makes each a comparison of what ran beside each other. Pairs that are not two
// positive numbers are left out.
func Ratios(samples, base []float64) []float64 {
	var out []float64
	for i := range min(len(samples), len(base)) {
		if r := samples[i] / base[i]; samples[i] > 0 && base[i] > 0 && !math.IsInf(r, 0) {
			out = append(out, r)
		}
	}
	return out
}

// Percentiles describe a distribution.
type Percentiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
	Mean  float64 `json:"mean"`
}
