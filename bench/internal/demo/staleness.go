package demo

import (
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/tiered"
)

// oneHop is how far reads of one instance may trail the invalidations of another: the message is on its way.
const oneHop = 50 * time.Millisecond

// bound is how far they may trail whatever happens: past it an instance no longer trusts a near tier that hears nothing.
const bound = tiered.DefaultMaxStaleness

// Staleness counts the stale reads, by how far they trailed the first acknowledged invalidation that they missed.
type Staleness struct {
	Reads     int64   `json:"reads"`          // all of them
	WithinHop int64   `json:"within_one_hop"` // trailed by at most one hop
	Later     int64   `json:"later"`          // trailed by more, and by at most the bound
	Beyond    int64   `json:"beyond_bound"`   // trailed by more than that
	Own       int64   `json:"own"`            // of all: missed an invalidation that their own instance had made
	P50       float64 `json:"p50_ms"`
	Max       float64 `json:"max_ms"`

	// By says which tiers answered them.
	By ByTier `json:"by"`
}

// ByTier counts by tier.
type ByTier struct {
	Near int64 `json:"near"`
	Far  int64 `json:"far"`
	Load int64 `json:"load"`
}

func (b *ByTier) add(t instance.Tier) {
	switch t {
	case instance.Near:
		b.Near++
	case instance.Far:
		b.Far++
	default:
		b.Load++
	}
}

// judge reads the logs of all instances.
func judge(logs []instance.Logs) (Staleness, error) {
	var s Staleness
	ages := instance.NewHistogram()
	err := instance.Judge(logs, func(read instance.StaleRead) {
		s.Reads++
		if read.Own {
			s.Own++
		}
		s.By.add(read.Tier)
		switch {
		case read.Age <= oneHop:
			s.WithinHop++
		case read.Age <= bound:
			s.Later++
		default:
			s.Beyond++
		}
		ages.Record(read.Age)
	})
	s.P50 = instance.Milliseconds(ages.At(50))
	s.Max = instance.Milliseconds(ages.At(100))
	return s, err
}
