package model

// append gives a change its place in the lane and publishes it. It is one script, whatever else belongs to it.
func (w *world) append(s *state, by uint8) uint8 {
	prev := s.server.last()
	s.ids++
	if s.ids == maxIDs {
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

// listens tells whether an instance has anything that could be stale. One that only deletes is left out of the fan-out.
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

// freshToken gives one that neither a record nor a flight has: only whether tokens are the same matters.
func (w *world) freshToken(s *state, i uint8) uint8 {
	if w.tokenPerClient {
		return i + 1
	}
	for t := uint8(1); ; t++ {
		taken := false
		for k := range s.server.far {
			taken = taken || s.server.far[k].token == t || s.saved.far[k].token == t
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
	r := &s.server.far[key]
	if r.token == 0 {
		old, kept := *r, &s.saved.far[key]
		r.token = w.freshToken(s, i)
		if *kept == old {
			kept.token = r.token
		}
	}
	return r.token
}

// evict is the end of a record's life, or maxmemory.
func (w *world) evictFar(s *state, a int) bool {
	if !w.evict || s.server.far[a].kind == nothing {
		return false
	}
	s.server.far[a] = record{}
	w.say("the far record of key %d is evicted", uint8(a))
	return true
}

// flush is FLUSHALL: the lane, too, is gone. Subscriptions stay.
func (w *world) flush(s *state, _ int) bool {
	if s.left.flushes == 0 {
		return false
	}
	s.left.flushes--
	s.server = server{}
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

// save takes the snapshot that a restart will bring back. The small configurations take it when there is a value to bring back.
func (w *world) save(s *state, _ int) bool {
	if s.left.saves == 0 || (!w.large && s.server.far[0].kind != value) {
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
	for i := range s.inst {
		if w.listens(i) {
			disconnect(&s.inst[i])
		}
	}
	for c, ch := range w.changes {
		if s.calls[c].phase == running && s.calls[c].body != unsent {
			w.giveUp(s, ch, &s.calls[c])
		}
	}
	w.say("the server restarts from its snapshot")
	return true
}

// raiseFloor is RaiseFloor("*", since): what one instance did since the history began anew need not be done again.
func (w *world) raiseFloor(s *state, a int) bool {
	n := &s.inst[a]
	if !n.owesFlush {
		return false
	}
	id := s.server.floor
	if n.since == 0 || id <= n.since {
		id = w.append(s, flushed)
		s.server.floor = id
	}
	n.known, n.floor = max(n.known, id), max(n.floor, id)
	n.owesFlush, n.since = false, 0
	w.say("%d raises the remote floor, now %d", uint8(a), id)
	return true
}

// mark is the moment X-D, and expire is X: echoes sent before the first have ceased to count at the second, when all that was
// acknowledged before the first is due.
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
