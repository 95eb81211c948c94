package fleet

import (
	"context"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

const (
	// probeEvery is how often the writer changes a key that nobody reads, to see how long it takes until others know. The
	// moments are multiples of it on the machine's clock, so that listeners need not be told.
	probeEvery = 200 * time.Millisecond
	// listenEarly is how long before a probe a listener begins to look, and look how often it does.
	listenEarly = 2 * time.Millisecond
	look        = 50 * time.Microsecond
)

// probeKey is no key of the source.
const probeKey = "probe"

// sleepUntil tells false when ctx ends.
func (m *member) sleepUntil(ctx context.Context, at int64) bool {
	timer := time.NewTimer(time.Until(m.clock.Time(at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// probe changes the probe's key at each multiple of probeEvery, and notes the id of the change and when it was acknowledged.
func (m *member) probe(ctx context.Context) {
	for n := m.clock.Now()/int64(probeEvery) + 1; m.sleepUntil(ctx, n*int64(probeEvery)); n = max(n+1, m.clock.Now()/int64(probeEvery)) {
		m.shared.Note(uint64(n), 0, 0)
		id, err := m.cache.change(ctx, Delete, probeKey, instance.Item{})
		if now := m.clock.Now(); err == nil && id > 0 {
			m.shared.Note(uint64(n), id, now)
		}
	}
}

// sighting is when a listener first saw that it knew all changes up to an id.
type sighting struct {
	id uint64
	at int64
}

// listen measures the lag of the probes: from the acknowledgement in the writer to the moment at which this instance knows
// the change. It looks at how far the cache's lane has been applied, which costs Redis nothing, every 50 µs or so around the
// moment of a probe. A change that is known here before it is acknowledged there has a lag of nothing.
func (m *member) listen(ctx context.Context, lag *instance.Histogram) {
	for n := m.clock.Now()/int64(probeEvery) + 1; m.sleepUntil(ctx, n*int64(probeEvery)-int64(listenEarly)); n = max(n+1, m.clock.Now()/int64(probeEvery)) {
		if took, ok := m.await(ctx, n); ok && m.shared.Raised(instance.Measure) {
			lag.Record(took)
		}
	}
}

// await waits for the probe n. It gives up if the probe was not acknowledged by the time of the next; one that was is waited
// for as long as it takes.
func (m *member) await(ctx context.Context, n int64) (took time.Duration, ok bool) {
	var seen []sighting
	next := (n + 1) * int64(probeEvery)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		applied, now := m.cache.applied(), m.clock.Now()
		if len(seen) == 0 || seen[len(seen)-1].id != applied {
			seen = append(seen, sighting{applied, now})
		}
		id, acked := m.shared.Noted(uint64(n))
		if id > 0 && acked >= (n-1)*int64(probeEvery) {
			for _, s := range seen {
				if s.id >= id {
					return time.Duration(max(0, s.at-acked)), true
				}
			}
		} else if now > next {
			return 0, false
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, false
		}
	}
}
