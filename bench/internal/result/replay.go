package result

// Replay is what caches of several sizes made of traces.
type Replay struct {
	Traces []ReplayedTrace `json:"traces"`
}

// ReplayedTrace is one trace, and how each policy fared with it.
type ReplayedTrace struct {
	Name     string  `json:"name"`
	Format   string  `json:"format"`
	Requests int64   `json:"requests"`
	Keys     int64   `json:"keys"`            // distinct
	Sizes    []int64 `json:"sizes,omitempty"` // that every policy was asked for; the curve of LRU has more
	Curves   []Curve `json:"curves"`
}

// Curve is one policy's hit ratio by size.
type Curve struct {
	Policy string  `json:"policy"` // "LRU", "optimum", "doppio/ristretto", …
	About  string  `json:"about,omitempty"`
	Points []Point `json:"points"` // by size, ascending
}

// Point is one size's.
type Point struct {
	Size     int64   `json:"size"`           // entries
	HitRatio float64 `json:"hitRatio"`       // 0 … 1
	Seconds  float64 `json:"seconds"`        // that the replay took
	Held     float64 `json:"held,omitempty"` // entries, on average over the last half of the trace, where the cache tells
}
