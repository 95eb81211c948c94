package demo

import (
	"fmt"
	"time"

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

func (b *ByTier) add(t tier) {
	switch t {
	case near:
		b.Near++
	case far:
		b.Far++
	default:
		b.Load++
	}
}

type acknowledgement struct {
	entry
	instance int
}

// judge reads the logs of all instances, of acknowledged invalidations and of stale reads, in the order of the instances.
func judge(acks, stale []string) (Staleness, error) {
	var s Staleness
	bySlot := map[uint32][]acknowledgement{}
	for instance, path := range acks {
		err := readLog(path, func(e entry) error {
			bySlot[e.slot] = append(bySlot[e.slot], acknowledgement{e, instance})
			return nil
		})
		if err != nil {
			return s, err
		}
	}
	ages := newHistogram()
	for instance, path := range stale {
		err := readLog(path, func(read entry) error {
			age, own, err := trail(read, instance, bySlot[read.slot])
			if err != nil {
				return err
			}
			s.Reads++
			if own {
				s.Own++
			}
			s.By.add(read.tier)
			switch {
			case age <= oneHop:
				s.WithinHop++
			case age <= bound:
				s.Later++
			default:
				s.Beyond++
			}
			record(ages, age)
			return nil
		})
		if err != nil {
			return s, err
		}
	}
	s.P50 = milliseconds(time.Duration(ages.ValueAtQuantile(50)))
	s.Max = milliseconds(time.Duration(ages.Max()))
	return s, nil
}

// trail tells how long before a stale read began the first invalidation that it missed was acknowledged, and whether it
// missed one of its own instance. That it is stale is settled, by the order of what happened in shared memory: times,
// which two processes may read a little differently, only tell by how much.
func trail(read entry, instance int, acks []acknowledgement) (age time.Duration, own bool, err error) {
	first, found := int64(0), false
	for _, a := range acks {
		if a.version <= read.version {
			continue
		}
		own = own || a.instance == instance && a.at <= read.at // one process: the times are exact
		if !found || a.at < first {
			first, found = a.at, true
		}
	}
	if !found {
		return 0, false, fmt.Errorf("demo: a stale read of version %d of slot %d, but no newer one is logged", read.version, read.slot)
	}
	return time.Duration(max(0, read.at-first)), own, nil
}
