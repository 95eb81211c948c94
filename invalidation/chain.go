package invalidation

import "github.com/doppio-cache/doppio/internal/lane"

// chain knows up to where a lane has been followed without a gap. It does no I/O and holds no messages: it judges by the
// places of messages, of echoes and of what was replayed, in the order in which they come.
//
// While it is syncing, messages come over the subscription before what is being replayed is complete. They are kept as a
// run, (from, to], of messages of which each continued the one before: a replay that reaches from has closed all holes,
// those before the run included.
type chain struct {
	known bool    // w means something
	w     lane.ID // all messages up to here were handed on, or what they meant was dropped

	syncing   bool
	heard     bool // there is a run
	restarted bool // a message showed that the lane is not the one it was
	from, to  lane.ID

	// ended is the newest id that is known of the history that was lost last. What it has left in the server has an id of
	// at most that; the first id above is where the new history begins.
	ended lane.ID
}

// sync begins with a new subscription, and after messages were lost on one that lives: the replay then tells whether the
// lane still is the one it was, which what came after the loss cannot.
func (c *chain) sync() { c.syncing, c.heard, c.restarted, c.from, c.to = true, false, false, 0, 0 }

// message takes one that came over the subscription. An id that the lane has, or has lost, is
// known. The reason, if there is one, is why everything is to be dropped.
func (c *chain) message(previous, id, known lane.ID) DropReason {
	if c.syncing {
		c.collect(previous, id)
		return 0
	}
	switch {
	case id <= c.w: // a second time
		return 0
	case previous > c.w:
		c.sync()
		c.collect(previous, id)
		return DropGap
	case previous < c.w: // the one at w, which this one should have followed, is no longer in the lane
		c.ended, c.w = c.w, id
		return DropHistoryLost
	case previous < known && known < id: // what was acknowledged should have come in between
		c.ended, c.w = known, id
		return DropHistoryLost
	}
	c.w = id
	return 0
}

func (c *chain) collect(previous, id lane.ID) {
	if c.heard && id <= c.to || c.known && id <= c.w {
		return
	}
	if !c.restarted && (c.heard && previous < c.to || c.known && previous < c.w) {
		c.restarted, c.ended = true, max(c.w, c.to)
	}
	if !c.heard || previous != c.to {
		c.heard, c.from = true, previous
	}
	c.to = id
}

// replayed takes that everything up to id has been handed on, where the lane ended at last. It tells whether the rest has
// come over the subscription, or will.
func (c *chain) replayed(id, last lane.ID) (complete bool) {
	c.w = id
	if c.heard {
		return c.from <= id
	}
	return id == last
}

// join ends syncing: everything up to id was handed on or dropped. Where what was replayed shows
// that the lane has lost its history, ended is the newest id that was known of it; else 0.
func (c *chain) join(id, ended lane.ID) DropReason {
	var why DropReason
	switch {
	case c.restarted:
		why, c.ended = DropHistoryLost, max(c.ended, ended)
	case ended > 0:
		why, c.ended = DropHistoryLost, ended
	case c.heard && c.from > id:
		why = DropGap
	}
	c.w = id
	if c.heard {
		c.w = max(id, c.to)
	}
	c.known, c.syncing = true, false
	return why
}

// echo takes an echo that came over the subscription: last was the newest id when the server published it, known one that the
// lane had before.
func (c *chain) echo(last, known lane.ID) DropReason {
	switch {
	case last < known: // what was acknowledged is gone, whether its message came or not
		c.ended, c.w = max(c.w, known), last
		return DropHistoryLost
	case last > c.w:
		c.sync()
		return DropTailLost
	case last < c.w:
		c.ended, c.w = c.w, last
		return DropHistoryLost
	}
	return 0
}
