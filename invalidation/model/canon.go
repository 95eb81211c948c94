package model

// canonical makes states equal that differ in nothing that matters from here on. It is where
// positions end: of two positions only their order counts, and an entry, a flight or a change is
// invalid for ever once something newer is known about its key. So a stamp is 1 while it is valid,
// and 0 from when it is not, and all tables are 1.
func (w *world) canonical(s *state) {
	w.canonicalFlights(s)
	w.canonicalCalls(s)
	for i := range s.inst {
		n := &s.inst[i]
		for k := range n.local {
			e := &n.local[k]
			switch {
			case w.valid(n, uint8(k), e.stamp) || w.removeOnMessage:
				e.stamp = 1
			default:
				*e = localCopy{}
			}
			if !e.here {
				*e = localCopy{}
			}
		}
	}
	for i := range s.inst {
		n := &s.inst[i]
		n.pos = 1
		n.own = between(n.own, n.applied, maxIDs)
		for at := range n.table {
			n.table[at] = 1
		}
	}
	w.canonicalTokens(s)
	w.canonicalLane(s)
	if !w.speaks(s) {
		s.left.losses = 0
	}
}

// speaks tells whether there is, or may yet be, a message to lose.
func (w *world) speaks(s *state) bool {
	for c := range w.changes {
		if p := s.calls[c].phase; p == waiting || p == committed || (p == running && s.calls[c].body != done) || p == failed {
			return true
		}
	}
	for i := range s.inst {
		if n := &s.inst[i]; n.queue[0].kind != noItem || n.owesFlush {
			return true
		}
	}
	return s.left.flushes > 0 || s.left.saves > 0
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// canonicalFlights also sorts the flights of one place, which have no names.
func (w *world) canonicalFlights(s *state) {
	for f, at := range w.flights {
		if fl := &s.flights[f]; fl.phase != idle {
			if !fl.blind && !w.joinTrusted {
				fl.born = 0
			}
			fl.stamp = bit(w.valid(&s.inst[at.instance], at.key, fl.stamp))
		}
	}
	for range w.flights {
		for f := 1; f < len(w.flights); f++ {
			if w.flights[f] == w.flights[f-1] && s.flights[f-1].phase < s.flights[f].phase {
				s.flights[f-1], s.flights[f] = s.flights[f], s.flights[f-1]
			}
		}
	}
}

// canonicalCalls forgets what a change needs no more.
func (w *world) canonicalCalls(s *state) {
	for c, ch := range w.changes {
		call := &s.calls[c]
		n := &s.inst[ch.instance]
		switch call.phase {
		case running:
			call.begun = bit(w.valid(n, ch.key, call.begun))
			call.heard = call.heard && (s.left.replies > 0 || w.may.saves > 0)
		case holding:
			fresh := call.fresh
			*call = call0(call.phase, call.ver, bit(w.valid(n, ch.key, call.stamp)))
			call.fresh = fresh
		case acknowledged:
			fresh, ver := call.fresh, call.ver
			*call = call0(call.phase, [maxKeys]uint8{}, 0)
			if call.fresh = fresh; fresh {
				call.ver = ver
			}
		case failed:
			call.begun, call.stamp, call.heard = 0, 0, false
		}
	}
}

func call0(phase uint8, ver [maxKeys]uint8, stamp uint8) call {
	return call{phase: phase, ver: ver, stamp: stamp, body: done}
}

// canonicalTokens forgets those that nobody can compare any more. A token that is neither in place
// nor in the snapshot never comes back.
func (w *world) canonicalTokens(s *state) {
	if w.tokenPerClient {
		return
	}
	for k := range s.server.remote {
		now, then := &s.server.remote[k], &s.saved.remote[k]
		var nowHeld, thenHeld bool
		for f, at := range w.flights {
			fl := &s.flights[f]
			if int(at.key) != k || fl.token == 0 {
				continue
			}
			nowHeld, thenHeld = nowHeld || fl.token == now.token, thenHeld || fl.token == then.token
			if fl.token != now.token && fl.token != then.token {
				fl.token = 0
			}
		}
		if !nowHeld {
			now.token = 0
		}
		if !thenHeld {
			then.token = 0
		}
	}
}

// canonicalLane forgets ids that nobody will ask for, and lane ids where no floor is ever raised.
func (w *world) canonicalLane(s *state) {
	if w.may.cuts == 0 && w.may.saves == 0 {
		if last := s.server.last(); last > 0 {
			s.server.lane = 1 << last
		}
	}
	wanted := s.server.lane | s.saved.lane
	for i := range s.inst {
		n := &s.inst[i]
		wanted |= n.answerIDs
		for _, it := range n.queue {
			if it.kind == message {
				wanted |= 1 << it.id
			}
		}
	}
	for id := range s.by {
		if wanted&(1<<id) == 0 {
			s.by[id] = 0
		}
	}
	if w.floors() {
		return
	}
	for k := range s.server.remote {
		s.server.remote[k].stamp = 0
	}
	for i := range s.inst {
		s.inst[i].known, s.inst[i].star, s.inst[i].asked, s.inst[i].askedStar = 0, 0, 0, 0
	}
	for f := range s.flights {
		s.flights[f].known = 0
	}
	for c := range s.calls {
		s.calls[c].known, s.calls[c].star = 0, 0
	}
}

// floors tells whether a remote floor can be raised.
func (w *world) floors() bool {
	for _, ch := range w.changes {
		if ch.kind == clearing {
			return true
		}
	}
	return w.may.flushes > 0 || w.may.saves > 0 || w.may.deletes > 0
}
