package coherence

import (
	"errors"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Manager implements invalidation.Handler. Of one lane it hears one thing at a time, of several at
// the same time.
var _ invalidation.Handler = (*Manager)(nil)

// dropReasons is how many reasons there are to drop all local copies.
const dropReasons = int(invalidation.DropUnreadable) + 1

// OnMessage implements invalidation.Handler.
func (m *Manager) OnMessage(index int, msg invalidation.Message) {
	if msg.Type == invalidation.TypeFilled {
		m.waiters.wake(msg.Hashes)
		return
	}
	defer m.received.Add(1) // when it has taken effect
	m.reached(index, msg.ID)
	if m.own.mine(msg.Publisher) {
		if m.own.hear(msg.Publisher) {
			return
		}
		m.retries.confirm(msg.Publisher)
	}
	switch msg.Type {
	case invalidation.TypeKeys:
		m.table.Raise(msg.Hashes...)
		m.waiters.wake(msg.Hashes)
	case invalidation.TypeCaches:
		for _, seed := range msg.Hashes {
			m.invalidateCache(seed)
		}
	case invalidation.TypeCleared:
		for _, seed := range msg.Hashes {
			m.raiseFloor(index, seed, msg.ID)
		}
	default:
		m.raiseAllFloors(index, msg.ID)
	}
}

// invalidateCache makes the local copies of a cache invalid. A cache that this instance does not
// have holds nothing.
func (m *Manager) invalidateCache(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.caches[seed]; c != nil {
		c.invalidateAllOfLocked()
	}
}

// reached notes that a lane has come as far as id.
func (m *Manager) reached(index int, id uint64) {
	m.lanes[index].last.raise(id)
	m.remote.ObserveID(id)
}

// OnDrop implements invalidation.Handler.
func (m *Manager) OnDrop(index int, why invalidation.DropReason, ended uint64) {
	m.drops[why].Add(1)
	if why == invalidation.DropHistoryLost {
		m.partLane(index, ended)
	}
	m.invalidateAll()
	if why != invalidation.DropFirstSync {
		m.opts.Logger.Warn("doppio: dropped the local tier", "lane", index, "reason", why.String())
	}
}

// OnFloors implements invalidation.Handler.
func (m *Manager) OnFloors(index int, last uint64, floors map[string]uint64) {
	m.reached(index, last)
	m.learnFloors(index, floors)
}

// OnTrust implements invalidation.Handler.
func (m *Manager) OnTrust(index int, sent time.Time) {
	at := local.Monotonic() - int64(time.Since(sent))
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.lanes[index]
	l.until, l.refused = max(l.until, local.After(at, m.opts.MaxStaleness)), nil
	if index == 0 {
		m.agreed.Store(true) // every number of lanes has the first one; on others an instance may be alone
	}
	l.floorsAt.Store(max(l.floorsAt.Load(), at))
	m.extendLocked()
	if m.Trusted() {
		m.wakeReadyLocked()
	}
}

// extendLocked sets trustedUntil to the earliest end of a lane's trust window.
func (m *Manager) extendLocked() {
	until := m.lanes[0].until
	for i := range m.lanes {
		until = min(until, m.lanes[i].until)
	}
	m.trustedUntil.Store(until)
}

// OnLost implements invalidation.Handler. Nothing is dropped: if the lane can be replayed, nothing
// was missed.
func (m *Manager) OnLost(index int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.lanes[index]
	l.until = min(l.until, local.Monotonic())
	m.extendLocked()
	switch {
	case errors.Is(err, invalidation.ErrLaneCount):
		l.refused = lanesFault(err)
		m.agreed.Store(false)
		m.wakeReadyLocked()
	case errors.Is(err, invalidation.ErrClient):
		l.refused = &remote.OptionError{Field: "rdb", Reason: err.Error()}
		m.wakeReadyLocked()
	}
	if l.state == invalidation.StateLive {
		// One loss, however often the attempts to subscribe again fail.
		m.lost.Add(1)
		m.opts.Logger.Warn("doppio: subscription to invalidations lost", "lane", index, "error", err)
		return
	}
	m.refused.Add(1)
	m.opts.Logger.Debug("doppio: no subscription to invalidations yet", "lane", index, "error", err)
}

var _ invalidation.ServerWatcher = (*Manager)(nil)

// OnSilence implements invalidation.ServerWatcher: what the receiver knows spares callers the wait
// for a server that does not answer.
func (m *Manager) OnSilence(index int, err error) {
	answered := m.opts.MaxStaleness / 4 // a call that was answered since says more than a probe that was not
	if errors.Is(err, syscall.ECONNREFUSED) {
		answered = 0
	}
	m.remote.ReportLaneSilence(index, err, answered)
}

// OnAnswer implements invalidation.ServerWatcher.
func (m *Manager) OnAnswer(index int) { m.remote.ReportLaneAnswer(index) }

// OnState implements invalidation.Handler.
func (m *Manager) OnState(change invalidation.StateChange) {
	m.mu.Lock()
	m.lanes[change.Lane].state = change.To
	m.mu.Unlock()
	if change.To == invalidation.StateLive {
		m.synced.Add(1)
		m.retries.retryNow() // Redis is there again
		m.opts.Logger.Info("doppio: the local tier is coherent", "lane", change.Lane, "reason", change.Reason)
	}
	if m.opts.OnState != nil {
		m.opts.OnState(change)
	}
}
