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

// ledger follows every entry from admit to bury, so that the tier's numbers are exact whatever an engine
// reports, and hands those that expire to the reclaimer.
type ledger struct {
	entries, charge atomic.Int64

	sets, evicted, rejected, expired, dropped atomic.Uint64

	reclaim *reclaimer
	front   *front // nil: there is none
}

// admit is called once for an entry, before anybody else can see it.
func (l *ledger) admit(e *Entry) {
	l.sets.Add(1)
	l.entries.Add(1)
	l.charge.Add(e.charge)
	l.reclaim.link(e)
}

// admitWithin is admit if the charge of all entries is at most limit then.
func (l *ledger) admitWithin(e *Entry, limit int64) bool {
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
	l.reclaim.link(e)
	return true
}

// bury marks e dead. The first call counts its cause and reports true.
func (l *ledger) bury(e *Entry, why cause) bool {
	if !e.kill() {
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
	l.reclaim.unlink(e)
	if l.front != nil {
		l.front.forget(e)
	}
	return true
}

// refuse counts a Set that was not even tried: the entry is larger than the tier.
func (l *ledger) refuse() { l.sets.Add(1); l.rejected.Add(1) }

// lose counts a Set that was given up because the engine did not keep pace.
func (l *ledger) lose() { l.sets.Add(1); l.dropped.Add(1) }
