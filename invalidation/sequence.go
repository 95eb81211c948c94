package invalidation

import "github.com/doppio-cache/doppio/internal/lane"

// sequence follows the ids of one lane and notices gaps. It does no I/O and holds no messages. It
// judges by the ids of messages, probes and replayed entries, in the order in which they arrive.
//
// While it is syncing, messages come over the subscription before the replay is complete. They are
// kept as a run, (runFrom, runTo], in which each message continued the one before. A message that
// does not continue the run begins a new one. So a replay that reaches runFrom has closed every
// gap, also those before the run.
type sequence struct {
	hasPosition bool    // applied is set
	applied     lane.ID // every message up to here was delivered or dropped

	syncing        bool
	hasRun         bool // runFrom and runTo are set
	restarted      bool // a message showed that the lane has lost its history
	runFrom, runTo lane.ID

	// historyEnd is the newest id that is known of the history that was lost last. Every entry that
	// the lost history has left in the server has an id of at most historyEnd; the next higher id
	// belongs to the new history.
	historyEnd lane.ID
}

// startSync starts a replay: for a new subscription, and after a gap on a live one. A gap alone
// does not show whether the lane still has its history; the replay does.
func (c *sequence) startSync() {
	c.syncing, c.hasRun, c.restarted, c.runFrom, c.runTo = true, false, false, 0, 0
}

// onMessage handles a message of the subscription. minID is an id that the lane has unless it lost
// it. A reason other than 0 means that every local copy must be dropped.
func (c *sequence) onMessage(previous, id, minID lane.ID) DropReason {
	if c.syncing {
		c.collect(previous, id)
		return 0
	}
	switch {
	case id <= c.applied: // a repetition
		return 0
	case previous > c.applied:
		c.startSync()
		c.collect(previous, id)
		return DropGap
	case previous < c.applied: // the lane no longer has the message before this one
		c.historyEnd, c.applied = c.applied, id
		return DropHistoryLost
	case previous < minID && minID < id: // the lane no longer has a message that was acknowledged
		c.historyEnd, c.applied = minID, id
		return DropHistoryLost
	}
	c.applied = id
	return 0
}

func (c *sequence) collect(previous, id lane.ID) {
	if c.hasRun && id <= c.runTo || c.hasPosition && id <= c.applied {
		return
	}
	if !c.restarted && (c.hasRun && previous < c.runTo || c.hasPosition && previous < c.applied) {
		c.restarted, c.historyEnd = true, max(c.applied, c.runTo)
	}
	if !c.hasRun || previous != c.runTo {
		c.hasRun, c.runFrom = true, previous
	}
	c.runTo = id
}

// onReplayed records that every message up to id was delivered, when newest was the lane's newest.
// It reports whether the messages after id came over the subscription, or will.
func (c *sequence) onReplayed(id, newest lane.ID) (complete bool) {
	c.applied = id
	if c.hasRun {
		return c.runFrom <= id
	}
	return id == newest
}

// endSync ends the replay: every message up to id was delivered or dropped. If the replay showed
// that the lane has lost its history, historyEnd is the newest id that was known of it; else it is
// 0.
func (c *sequence) endSync(id, historyEnd lane.ID) DropReason {
	var why DropReason
	switch {
	case c.restarted:
		why, c.historyEnd = DropHistoryLost, max(c.historyEnd, historyEnd)
	case historyEnd > 0:
		why, c.historyEnd = DropHistoryLost, historyEnd
	case c.hasRun && c.runFrom > id:
		why = DropGap
	}
	c.applied = id
	if c.hasRun {
		c.applied = max(id, c.runTo)
	}
	c.hasPosition, c.syncing = true, false
	return why
}

// onEcho handles the echo of a probe. newest was the lane's newest id when the server published the
// echo; minID is an id that the lane had before, unless it lost it.
func (c *sequence) onEcho(newest, minID lane.ID) DropReason {
	switch {
	case newest < minID: // a message that was acknowledged is lost, whether it arrived here or not
		c.historyEnd, c.applied = max(c.applied, minID), newest
		return DropHistoryLost
	case newest > c.applied:
		c.startSync()
		return DropTailLost
	case newest < c.applied:
		c.historyEnd, c.applied = c.applied, newest
		return DropHistoryLost
	}
	return 0
}
