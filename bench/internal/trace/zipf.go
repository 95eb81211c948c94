package trace

import (
	"fmt"
	"io"
	"math/rand/v2"
)

// ZipfConfig describes a synthetic trace: the k-th most popular of Keys keys is asked for in proportion to 1/k^Exponent.
type ZipfConfig struct {
	Requests int     // how many
	Keys     uint64  // how many distinct keys there may be; they are 0 … Keys−1, the most popular first
	Exponent float64 // over 1
	Seed     uint64  // the same seed gives the same trace
}

// Zipf generates a trace.
type Zipf struct {
	zipf *rand.Zipf
	left int
}

// NewZipf returns a generator of the trace that cfg describes.
func NewZipf(cfg ZipfConfig) (*Zipf, error) {
	if cfg.Requests < 0 || cfg.Keys == 0 || !(cfg.Exponent > 1) {
		return nil, fmt.Errorf("trace: zipf wants requests ≥ 0, keys > 0 and an exponent > 1, has %d, %d and %g",
			cfg.Requests, cfg.Keys, cfg.Exponent)
	}
	r := rand.New(rand.NewPCG(cfg.Seed, cfg.Seed^0x9e3779b97f4a7c15))
	return &Zipf{zipf: rand.NewZipf(r, cfg.Exponent, 1, cfg.Keys-1), left: cfg.Requests}, nil
}

// Next returns the next key; io.EOF after the last.
func (z *Zipf) Next() (uint64, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	z.left--
	return z.zipf.Uint64(), nil
}

// Close does nothing: there is nothing to release.
func (z *Zipf) Close() error { return nil }
