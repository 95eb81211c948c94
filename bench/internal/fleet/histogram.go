package fleet

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

const (
	maxDuration = time.Minute // longer ones count as this
	precision   = 3           // significant digits
)

// Histogram is a distribution of durations. Those of several processes can be merged without loss, which percentiles cannot.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram returns an empty one.
func NewHistogram() *Histogram {
	return &Histogram{hdrhistogram.New(1, int64(maxDuration), precision)}
}

// Record adds a duration. Negative ones count as 0, those over a minute as a minute.
func (h *Histogram) Record(d time.Duration) {
	_ = h.h.RecordValue(int64(min(max(d, 0), maxDuration))) // fails out of bounds only
}

// Merge adds what another holds.
func (h *Histogram) Merge(from *Histogram) { h.h.Merge(from.h) } // of the same bounds: nothing is dropped

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// At is the duration at a quantile, 0 … 100.
func (h *Histogram) At(quantile float64) time.Duration {
	return time.Duration(h.h.ValueAtQuantile(quantile))
}

// Percentiles describes the distribution, in the given unit.
func (h *Histogram) Percentiles(unit time.Duration) result.Percentiles {
	if h.Count() == 0 {
		return result.Percentiles{}
	}
	in := func(ns float64) float64 { return ns / float64(unit) }
	at := func(q float64) float64 { return in(float64(h.h.ValueAtQuantile(q))) }
	return result.Percentiles{
		Count: h.Count(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: at(100), Mean: in(h.h.Mean()),
	}
}

// Encode gives the bytes that [Histogram.MergeEncoded] takes.
func (h *Histogram) Encode() ([]byte, error) {
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("fleet: histogram: %w", err)
	}
	return b, nil
}

// MergeEncoded adds what another process recorded.
func (h *Histogram) MergeEncoded(b []byte) error {
	from, err := hdrhistogram.Decode(b)
	if err != nil {
		return fmt.Errorf("fleet: histogram: %w", err)
	}
	if dropped := h.h.Merge(from); dropped > 0 {
		return fmt.Errorf("fleet: histogram: %d values out of bounds", dropped)
	}
	return nil
}

// Milliseconds is a duration as reports have it.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
