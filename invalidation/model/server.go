package model

import "math/bits"

// append gives a change its place in the lane and publishes it. It is one script, whatever else
// belongs to it. The sender says which id of the lane and which remote floor it knows. A new
// history begins with this change where the lane is empty, or ends before what the sender knows:
// the remote floor is put there, unless the sender does not know the floor that is there, which
// says that the new history has begun before.
func (w *world) append(s *state, by, known, star uint8) uint8 {
	last := s.server.last()
	empty, behind := last == 0, last < known && !w.knowledgeIgnored
	if empty && !w.emptyBelowFloor {
		s.ids = max(s.ids, s.server.floor)
	}
	if empty || behind {
		s.ids = max(s.ids, last)
		if !w.knowledgeIgnored {
			s.ids = max(s.ids, known)
		}
		if behind && !empty && s.server.floor <= star && !w.noFlush {
			s.server.floor = w.publish(s, flushed)
		}
	}
	id := w.publish(s, by)
	if empty && known > 0 && w.floors() && !w.noFlush && !w.emptyWithoutFloor {
		s.server.floor = id
	}
	return id
}

// publish is the end of append: one more message, with the next id.
func (w *world) publish(s *state, by uint8) uint8 {
	prev := s.server.last()
	s.ids++
	if w.back && (s.ids%2 == 1) == s.lost {
		s.ids++ // an id of the new history may be lower than one of the lost history, and is never the same
	}
	if s.ids >= maxIDs {
		panic("model: a configuration needs more ids than there are")
	}
	s.server.lane |= 1 << s.ids
	s.by[s.ids] = by
	for i := range s.inst {
		n := &s.inst[i]
		switch {
		case !w.listens(i):
			n.applied = s.ids
		case n.link != cut:
			push(n, item{kind: message, prev: prev, id: s.ids})
		}
	}
	return s.ids
}

// listens tells whether an instance has anything that could be stale. One that only deletes is left
// out of the fan-out.
func (w *world) listens(i int) bool {
	for _, at := range w.flights {
		if int(at.instance) == i {
			return true
		}
	}
	for _, ch := range w.changes {
		if int(ch.instance) == i && ch.kind == setting {
			return true
		}
	}
	return false
}

// push queues an item. It panics rather than leave a state unexplored.
func push(n *instance, it item) {
	for i := range n.queue {
		if n.queue[i].kind == noItem {
			n.queue[i] = it
			return
		}
	}
	panic("model: a configuration needs longer queues than there are")
}

// freshToken gives one that neither a record nor a flight has: only whether tokens are the same
// matters.
func (w *world) freshToken(s *state, i uint8) uint8 {
	if w.tokenPerClient {
		return i + 1
	}
	for t := uint8(1); ; t++ {
		taken := false
		for k := range s.server.remote {
			taken = taken || s.server.remote[k].token == t || s.saved.remote[k].token == t
		}
		for f := range s.flights {
			taken = taken || s.flights[f].token == t
		}
		if !taken {
			return t
		}
	}
}

// tokenOf gives the token of a value that is about to be refreshed. Nobody had to know it before.
func (w *world) tokenOf(s *state, key, i uint8) uint8 {
	r := &s.server.remote[key]
	if r.token == 0 {
		old, kept := *r, &s.saved.remote[key]
		r.token = w.freshToken(s, i)
		if *kept == old {
			kept.token = r.token
		}
	}
	return r.token
}

// evict is the end of a record's life, or maxmemory.
func (w *world) evictRemote(s *state, a int) bool {
	if !w.evict || s.server.remote[a].kind == nothing {
		return false
	}
	s.server.remote[a] = record{}
	w.say("the remote record of key %d is evicted", uint8(a))
	return true
}

// flush is FLUSHALL: the lane, too, is gone. Subscriptions stay.
func (w *world) flush(s *state, _ int) bool {
	if s.left.flushes == 0 {
		return false
	}
	s.left.flushes--
	s.server = server{}
	w.forget(s)
	w.say("FLUSHALL")
	return true
}

// trim is what MAXLEN does to the oldest id. The newest stays.
func (w *world) trim(s *state, _ int) bool {
	if s.left.trims == 0 || s.server.lane&(s.server.lane-1) == 0 {
		return false
	}
	s.left.trims--
	s.server.lane &= s.server.lane - 1
	s.server.trimmed = true
	w.say("the lane loses its oldest id")
	return true
}

// save takes the snapshot that a restart will bring back. The small configurations take it when
// there is a value to bring back.
func (w *world) save(s *state, _ int) bool {
	if s.left.saves == 0 || (!w.large && len(w.flights) > 0 && s.server.remote[0].kind != value) {
		return false
	}
	s.left.saves--
	s.saved = s.server
	s.kept = true
	w.say("the server saves a snapshot")
	return true
}

// restart brings the snapshot back, and ends all connections: replies that were under way are lost.
func (w *world) restart(s *state, _ int) bool {
	if !s.kept || s.restarted {
		return false
	}
	s.restarted = true
	s.server, s.saved = s.saved, server{}
	w.forget(s)
	for i := range s.inst {
		if w.listens(i) {
			disconnect(&s.inst[i])
		}
	}
	for c, ch := range w.changes {
		call := &s.calls[c]
		if call.phase == running && (call.body != unsent || w.back) {
			w.giveUp(s, ch, call)
		}
		if w.back && call.phase == failed {
			call.body = done // it says what was known when it began: it is assumed to have ended with its connection
		}
	}
	w.say("the server restarts from its snapshot")
	return true
}

// forget notes that the server has lost something. Its clock may have gone back with its data.
func (w *world) forget(s *state) {
	s.lost = true
	if w.back {
		s.lostAt, s.ids = s.ids, s.server.last()
	}
}

// deleteLane is a DEL of the stream: records and floors stay.
func (w *world) deleteLane(s *state, _ int) bool {
	if s.left.deletes == 0 || s.server.lane == 0 || !w.settled(s) {
		return false
	}
	s.left.deletes--
	s.server.lane, s.server.trimmed = 0, false
	w.forget(s)
	w.say("the lane is deleted")
	return true
}

// settled tells whether no change is under way, and no Clear is to come: where the clock goes back,
// one of somebody who has not heard of a record may be given an id that is no higher than the
// record's stamp.
func (w *world) settled(s *state) bool {
	for c, ch := range w.changes {
		p := s.calls[c].phase
		if p != waiting && p != committed && p != acknowledged || ch.kind == clearing && p != acknowledged {
			return false
		}
	}
	return true
}

// part puts the remote floor where the histories of the lane part, for an instance that has noticed
// a loss by itself: at the first id after the last one that it knew of the lost history. All
// instances that notice a loss find the same place, however late.
func (w *world) part(s *state, a int) bool {
	n := &s.inst[a]
	if !n.owesFlush {
		return false
	}
	floor := s.server.floor
	if floor <= n.since || w.partedTwice {
		id := first(between(s.server.lane, n.ended, maxIDs))
		if w.partedTwice {
			id = first(between(s.server.lane, max(n.ended, floor), maxIDs))
		}
		if id == 0 || w.floorAtNoticing {
			id = w.append(s, opened, n.ended, n.since)
		}
		if s.server.floor <= n.since || w.partedTwice {
			s.server.floor = max(s.server.floor, id)
		}
		floor = s.server.floor
	}
	// Nothing up to the end of the lost history matters from now on, not even as what is known.
	if n.known <= n.ended {
		n.known = 0
	}
	n.known, n.floor, n.star = max(n.known, floor), max(n.floor, floor), max(n.star, floor)
	n.owesFlush, n.ended, n.since, n.parted = false, 0, 0, 0
	w.say("%d finds the histories part at %d", uint8(a), floor)
	return true
}

// first is the lowest id in a set, 0 if it is empty.
func first(set uint16) uint8 {
	if set == 0 {
		return 0
	}
	return uint8(bits.TrailingZeros16(set))
}

// mark is the moment X-D, and expire is X: echoes sent before the first have ceased to count at the
// second, when all that was acknowledged before the first is due.
func (w *world) mark(s *state, _ int) bool {
	if !w.time || s.gen > 1 {
		return false
	}
	s.gen, s.snap = 2, s.acked
	w.say("it is D before X")
	return true
}

func (w *world) expire(s *state, _ int) bool {
	if s.gen == 1 || s.late {
		return false
	}
	s.late, s.must, s.snap = true, s.snap, [maxKeys]uint8{}
	w.say("it is X")
	return true
}
