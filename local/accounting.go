package local

import "sync/atomic"

// cause says why an entry died.
type cause uint8

const (
	causeReplaced cause = iota
	causeDeleted
	causeEvicted
	causeRejected
	causeExpired
	causeCleared
)

// accounting counts entries from add to remove, so that the numbers of a tier are exact whatever
// its engine reports. It passes the entries that expire to the expirer.
type accounting struct {
	entries, charge atomic.Int64

	sets, evicted, rejected, expired, dropped atomic.Uint64

	expirer   *expirer
	readCache *readCache // nil for an engine without one
}

// add is called once for an entry, before any reader can see it.
func (l *accounting) add(e *Entry) {
	l.sets.Add(1)
	l.entries.Add(1)
	l.charge.Add(e.charge)
	l.expirer.add(e)
}

// addWithin is add, provided that the charge of all entries is at most limit after it.
func (l *accounting) addWithin(e *Entry, limit int64) bool {
	for {
		held := l.charge.Load()
		if held+e.charge > limit {
			return false
		}
		if l.charge.CompareAndSwap(held, held+e.charge) {
			break
		}
	}
	l.sets.Add(1)
	l.entries.Add(1)
	l.expirer.add(e)
	return true
}

// remove marks e dead. The first call counts the cause and returns true.
func (l *accounting) remove(e *Entry, why cause) bool {
	if !e.markDead() {
		return false
	}
	l.entries.Add(-1)
	l.charge.Add(-e.charge)
	switch why {
	case causeEvicted:
		l.evicted.Add(1)
	case causeRejected:
		l.rejected.Add(1)
	case causeExpired:
		l.expired.Add(1)
	}
	l.expirer.forget(e)
	if l.readCache != nil {
		l.readCache.forget(e)
	}
	return true
}

// countRejected counts a Set that was not tried: the entry is larger than the tier.
func (l *accounting) countRejected() { l.sets.Add(1); l.rejected.Add(1) }

// countDropped counts a Set that was given up because the engine did not keep pace.
func (l *accounting) countDropped() { l.sets.Add(1); l.dropped.Add(1) }
