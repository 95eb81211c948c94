package fleet

import (
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
)

// population is the keys of a source and how often each is asked for: the k-th in proportion to 1/k^skew. The generator
// of the standard library wants an exponent over 1; this one takes any, for 8 bytes a key.
type population struct {
	names []string
	upTo  []float64 // upTo[k] is the probability of a key up to k; nil if all are alike
}

func newPopulation(keys int, skew float64) *population {
	p := &population{names: make([]string, keys)}
	for k := range p.names {
		p.names[k] = strconv.Itoa(k)
	}
	if skew == 0 {
		return p
	}
	p.upTo = make([]float64, keys)
	sum := 0.0
	for k := range p.upTo {
		sum += math.Pow(float64(k+1), -skew)
		p.upTo[k] = sum
	}
	for k := range p.upTo {
		p.upTo[k] /= sum
	}
	return p
}

func (p *population) pick(r *rand.Rand) int {
	if p.upTo == nil {
		return r.IntN(len(p.names))
	}
	return min(sort.SearchFloat64s(p.upTo, r.Float64()), len(p.names)-1)
}

// owned gives the key nearest to k that belongs to this one of several writers.
func owned(k, keys, writer, writers int) int {
	k += writer - k%writers
	if k >= keys {
		k -= writers
	}
	return k
}
