package model

// apply is what an announcement means to an instance, live or replayed.
func (w *world) apply(s *state, i, id uint8) {
	n := &s.inst[i]
	n.known = max(n.known, id)
	by := s.by[id]
	if by == flushed {
		w.drop(n)
		n.floor, n.star = max(n.floor, id), max(n.star, id)
		return
	}
	if by == opened {
		return
	}
	first, last := made(by)
	own := by&retried == 0 && w.changes[first].instance == i
	skipped := own && w.recognized(s.calls[first:last])
	for c := first; c < last; c++ {
		if ch := w.changes[c]; !skipped && (c == first || !w.firstNamed) {
			w.learn(n, ch)
			if ch.kind == clearing {
				n.floor, n.star = max(n.floor, id), max(n.star, id)
			}
		}
		switch call := &s.calls[c]; {
		case !own:
		case call.phase == running:
			call.heard = true
		case call.phase == failed && !call.over && !w.ownSkippedAlways:
			w.happened(s, n, w.changes[c], call)
		}
	}
}

// recognized tells whether an instance leaves out its own message: while the change is in flight or
// was acknowledged, for it raises the table itself. One that failed may be executed at any time.
// Where one of several that were made together has failed, the message counts for all.
func (w *world) recognized(calls []call) bool {
	failures := 0
	for c := range calls {
		failures += int(bit(calls[c].phase == failed))
	}
	return !w.ownApplied && (failures == 0 || w.ownSkippedAlways || w.leftSkipped && failures < len(calls))
}

// receive hands over what waits first on the subscription.
func (w *world) receive(s *state, a int) bool {
	n := &s.inst[a]
	it := n.queue[0]
	if it.kind == noItem || n.owesDrop || n.owesTrust != 0 {
		return false
	}
	copy(n.queue[:], n.queue[1:])
	n.queue[maxQueue-1] = item{}
	if it.kind == echo {
		w.echoed(s, n, it)
		w.say("%d hears its echo, last id %d", uint8(a), it.prev)
		return true
	}
	w.apply(s, uint8(a), it.id)
	if n.link == syncing {
		chainLive(n, it)
	} else {
		w.chain(n, it)
	}
	w.say("%d hears of id %d after %d", uint8(a), it.id, it.prev)
	return true
}

// lose is what a pub/sub connection or a Cluster's bus may do to any message: whoever would have
// been next to hand it over has nothing.
func (w *world) lose(s *state, a int) bool {
	n := &s.inst[a]
	it := n.queue[0]
	if s.left.losses == 0 || it.kind != message || n.owesDrop || n.owesTrust != 0 {
		return false
	}
	s.left.losses--
	copy(n.queue[:], n.queue[1:])
	n.queue[maxQueue-1] = item{}
	w.say("the message of id %d to %d is lost", it.id, uint8(a))
	return true
}

// chain compares a message's place with what was applied.
func (w *world) chain(n *instance, it item) {
	switch {
	case it.id <= n.applied: // again
		return
	case it.prev == n.applied && (between(n.own, it.prev, it.id) == 0 || w.ownUncounted):
	case it.prev == n.applied: // one of its own should have come in between
		w.historyLost(n, newest(between(n.own, it.prev, it.id)))
	case it.prev > n.applied: // a gap
		if !w.noGap {
			w.drop(n)
		}
	default: // the lane begins anew, or lacks what it had acknowledged
		w.historyLost(n, n.applied)
	}
	n.applied = it.id
}

// between gives the ids of a set that are above one and below the other.
func between(set uint16, above, below uint8) uint16 {
	return set >> (above + 1) << (above + 1) & (1<<below - 1)
}

// historyLost notes a loss. The highest known id of the lost history is ended: remote records up to
// it are absent for this instance from now on. What is known stays known, or the server could not
// tell that a later change is one of somebody who knows.
func (w *world) historyLost(n *instance, ended uint8) {
	if w.historyIgnored {
		return
	}
	w.drop(n)
	w.restarted(n, ended)
}

func (w *world) restarted(n *instance, ended uint8) {
	if w.endedIsKnown {
		ended = max(ended, n.known)
	}
	n.parted = 0
	if n.floor > ended {
		return // it came with the message that begins the new history
	}
	n.owesFlush, n.ended, n.since = !w.noFlush, ended, n.star
	n.floor = 0
	if !w.noFlush {
		n.parted = ended + 1
	}
}

// chainLive is for messages that come while the replay is under way: they are chained among
// themselves.
func chainLive(n *instance, it item) {
	if n.first == 0 {
		n.first = it.prev + 1
	} else if it.prev != n.heard && it.id > n.heard {
		n.torn = true
	}
	n.heard = max(n.heard, it.id)
}

// sendEcho notes the time and sends. Echoes that can renew no lease are left out: they only find
// losses sooner.
func (w *world) sendEcho(s *state, a int) bool {
	n := &s.inst[a]
	wanted := n.trust < s.gen || (w.time && s.gen == 1)
	if n.link != live || n.ping != 0 || !wanted || !w.listens(a) {
		return false
	}
	n.ping, n.sentAt, n.asked, n.askedStar = 1, s.gen, n.known, n.star
	w.say("%d sends an echo", uint8(a))
	return true
}

// executeEcho is the echo's script.
func (w *world) executeEcho(s *state, a int) bool {
	n := &s.inst[a]
	if n.ping != 1 {
		return false
	}
	n.ping = 2
	if s.server.lane == 0 && !w.emptyIsKnown || s.server.last() < n.asked && !w.knowledgeIgnored {
		w.append(s, opened, n.asked, n.askedStar)
	}
	push(n, item{kind: echo, prev: s.server.last(), id: n.sentAt, floor: s.server.floor})
	w.say("the server executes the echo of %d", uint8(a))
	return true
}

// echoed decides what an echo proves: floor before lease.
func (w *world) echoed(s *state, n *instance, it item) {
	n.ping, n.sentAt = 0, 0
	lost := it.prev < n.applied || (it.prev < n.asked && !w.ownUncounted)
	ended := max(n.applied, n.asked)
	n.asked, n.askedStar = 0, 0
	if n.link != live {
		return // it belongs to an earlier subscription
	}
	trust := it.id
	if w.trustFromArrival {
		trust = s.gen
	}
	missing := false
	switch {
	case lost && !w.historyIgnored:
		n.applied, missing = it.prev, true
		w.restarted(n, ended)
	case it.prev > n.applied && !w.tailIgnored:
		n.applied, missing = it.prev, true
	}
	w.fetched(n, it.floor)
	n.known = max(n.known, it.prev)
	if w.trustFirst {
		n.owesDrop, n.trust = missing, trust
		return
	}
	if missing {
		w.drop(n)
	}
	if w.reader {
		n.owesTrust = trust
	} else {
		n.trust = trust
	}
}

// fetched takes the remote floor as an echo or the server has it. One past what stands for it takes
// its place.
func (w *world) fetched(n *instance, floor uint8) {
	if w.floorNotFetched {
		return
	}
	n.floor, n.star = max(n.floor, floor), max(n.star, floor)
	if floor >= n.parted {
		n.parted = 0
	}
}

// settle is the second of the receiver's two stores.
func (w *world) settle(s *state, a int) bool {
	n := &s.inst[a]
	switch {
	case n.owesDrop:
		n.owesDrop = false
		w.drop(n)
		w.say("%d raises its floor", uint8(a))
	case n.owesTrust != 0:
		n.trust, n.owesTrust = n.owesTrust, 0
		w.say("%d renews its lease", uint8(a))
	default:
		return false
	}
	return true
}

// cutOff ends a subscription, with all that waits on it. The lease runs on: it was given for what
// was known.
func (w *world) cutOff(s *state, a int) bool {
	n := &s.inst[a]
	if s.left.cuts == 0 || n.link == cut || !w.listens(a) {
		return false
	}
	s.left.cuts--
	disconnect(n)
	w.say("the subscription of %d is cut", uint8(a))
	return true
}

func disconnect(n *instance) {
	n.link, n.queue, n.ping, n.sentAt, n.asked, n.askedStar = cut, [maxQueue]item{}, 0, 0, 0, 0
	endSync(n)
}

func endSync(n *instance) {
	n.answer, n.answerLast, n.answerEnded, n.answerIDs = unasked, 0, 0, 0
	n.first, n.heard, n.torn = 0, 0, false
}

func (w *world) subscribe(s *state, a int) bool {
	n := &s.inst[a]
	if n.link != cut {
		return false
	}
	n.link = syncing
	w.say("%d is subscribed again", uint8(a))
	return true
}

// askForReplay is XRANGE, executed when the subscription is up. What was published before is in its
// answer, or was trimmed.
func (w *world) askForReplay(s *state, a int) bool {
	n := &s.inst[a]
	if n.answer != unasked || (n.link != syncing && (n.link != cut || !w.askedTooSoon)) {
		return false
	}
	lane := s.server.lane
	n.answerLast, n.answerIDs = newest(lane), between(lane, n.applied, maxIDs)
	if !w.ownUncounted {
		n.answerEnded = newest(n.own &^ lane)
	}
	switch {
	case n.own&^lane != 0 && !s.server.trimmed && !w.ownUncounted:
		n.answer = forgotten
	case n.applied == 0 && lane == 0 && w.emptyIsKnown, n.applied != 0 && lane&(1<<n.applied) != 0:
		n.answer = complete
	case n.answerLast < n.applied:
		n.answer = forgotten
	case !w.absentIsTrimmed && (!s.server.trimmed || lane&(1<<n.applied-1) != 0) && n.applied != 0:
		// A stream that was never trimmed, or that has older ids, did not lose this one by being
		// trimmed.
		n.answer = forgotten
	default:
		n.answer = trimmed
	}
	w.say("the server answers the XRANGE of %d, last id %d", uint8(a), n.answerLast)
	return true
}

// replay applies the answer, and joins it with what was heard live.
func (w *world) replay(s *state, a int) bool {
	n := &s.inst[a]
	if n.answer == unasked || n.link != syncing {
		return false
	}
	last, heard := n.answerLast, n.heard
	switch n.answer {
	case complete:
		for id := uint8(1); id < maxIDs && !w.noReplay; id++ {
			if n.answerIDs&(1<<id) != 0 {
				w.apply(s, uint8(a), id)
			}
		}
		if n.torn || (n.first > last+1 && !w.joinUnchecked) {
			w.drop(n)
		}
	case trimmed:
		if !w.trimIgnored {
			w.drop(n)
		}
	default:
		w.historyLost(n, max(n.applied, n.answerEnded))
	}
	n.applied = max(last, heard)
	n.known = max(n.known, n.applied)
	w.fetched(n, s.server.floor)
	endSync(n)
	n.link = live
	w.say("%d has applied the lane up to %d", uint8(a), n.applied)
	return true
}
