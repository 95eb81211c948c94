package fleet

import (
	"context"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

const (
	// probeEvery is how often the writer changes a key that nobody reads, to see how long it takes until others know. The
	// moments are multiples of it on the machine's clock, so that listeners need not be told.
	probeEvery = 200 * time.Millisecond
	// answerEvery is how often the writer looks whether it is asked for a probe.
	answerEvery = 2 * time.Millisecond
	// listenEarly is how long before a probe a listener begins to look, and look how often it does.
	listenEarly = 2 * time.Millisecond
	look        = 50 * time.Microsecond
)

// probeKey is no key of the source.
const probeKey = "probe"

// sleepUntil tells false when ctx ends.
func (m *member) sleepUntil(ctx context.Context, at int64) bool {
	return harness.Sleep(ctx, time.Until(history.Time(at)))
}

// probe changes the probe's key at each multiple of probeEvery, and notes the id of the change and when it was acknowledged.
func (m *member) probe(ctx context.Context) {
	for n := history.Now()/int64(probeEvery) + 1; m.sleepUntil(ctx, n*int64(probeEvery)); n = max(n+1, history.Now()/int64(probeEvery)) {
		m.Shared.Note(uint64(n), 0, 0)
		id, err := m.cache.change(ctx, Delete, probeKey, Item{})
		if now := history.Now(); err == nil && id > 0 {
			m.Shared.Note(uint64(n), id, now)
		}
	}
}

// answer makes a probe whenever the parent asks for one, and tells it the id. It tries until it succeeds: the parent may ask while Redis
// cannot be reached yet.
func (m *member) answer(ctx context.Context) {
	ticker := time.NewTicker(answerEvery)
	defer ticker.Stop()
	answered := uint64(0)
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		asked := m.Shared.Count(m.cfg.Index, Asked)
		if asked == answered {
			continue
		}
		if id, err := m.cache.change(ctx, Delete, probeKey, Item{}); err == nil && id > 0 {
			m.Shared.Set(m.cfg.Index, Answered, id)
			answered = asked
		}
	}
}
