package demo

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	maxLatency = time.Minute // longer ones count as this
	precision  = 3           // significant digits
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(maxLatency), precision)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	if err := h.RecordValue(int64(min(max(d, 0), maxLatency))); err != nil {
		panic(err) // within the bounds by construction
	}
}

func encodeHistogram(h *hdrhistogram.Histogram) ([]byte, error) {
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("demo: histogram: %w", err)
	}
	return b, nil
}

func mergeEncoded(into *hdrhistogram.Histogram, b []byte) error {
	h, err := hdrhistogram.Decode(b)
	if err != nil {
		return fmt.Errorf("demo: histogram: %w", err)
	}
	if dropped := into.Merge(h); dropped > 0 {
		return fmt.Errorf("demo: histogram: %d values out of bounds", dropped)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
