package coherence

import (
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/invalidation"
)

// Stats is a snapshot of a Manager.
type Stats struct {
	Synced, Lost, Refused uint64 // subscriptions that became Live, that were lost, that could not be made
	Received, Tracked     uint64 // messages, and keys that Redis itself reported
	Drops                 map[string]uint64
	Lanes                 []LaneStats

	Retries          int           // invalidations that wait in the retry queue
	RetryAge         time.Duration // of the oldest of them
	Retried          uint64        // delivered by a retry
	RetriesOverflown uint64
}

// LaneStats is a snapshot of a lane.
type LaneStats struct {
	State           invalidation.State
	Applied, Newest string // ids
}

// Stats returns a snapshot.
func (m *Manager) Stats() Stats {
	s := Stats{
		Synced: m.synced.Load(), Lost: m.lost.Load(), Refused: m.refused.Load(),
		Received: m.received.Load(), Tracked: m.tracked.Load(), Drops: make(map[string]uint64),
	}
	for why := range m.drops {
		if n := m.drops[why].Load(); n > 0 {
			s.Drops[invalidation.DropReason(why).String()] = n
		}
	}
	if n := m.trackingDrops.Load(); n > 0 {
		s.Drops["tracking"] = n
	}
	for i := range m.lanes {
		l := &m.lanes[i]
		s.Lanes = append(s.Lanes, LaneStats{
			State: l.receiver.State(), Applied: lane.ID(l.receiver.Applied()).String(), Newest: lane.ID(l.last.Load()).String(),
		})
	}
	s.Retries, s.RetryAge = m.retries.stats(time.Now())
	s.Retried, s.RetriesOverflown = m.retries.delivered.Load(), m.retries.overflows.Load()
	return s
}
