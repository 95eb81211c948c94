package model

// check gives the property that a state breaks, or nothing. What only a caller sees is checked
// where it is given: see land.
func (w *world) check(s *state) {
	for c := range w.changes {
		w.checkLasting(s, c)
	}
	for k := range w.keys {
		w.checkRemote(s, k)
		for i := range s.inst {
			w.checkLocal(s, uint8(i), uint8(k))
		}
	}
}

// accepted tells whether a reader who knows the remote floor and the tags would accept what the
// remote tier holds.
func (w *world) accepted(s *state, key int) bool {
	r := &s.server.remote[key]
	return r.kind == value && r.stamp >= s.server.floor && (!w.tagged || r.tag == s.server.tag)
}

// checkRemote is G1. After a restart it is due once everybody has noticed, and nothing is under way
// (G5).
func (w *world) checkRemote(s *state, key int) {
	r := &s.server.remote[key]
	if r.ver < s.acked[key] && w.accepted(s, key) && (!s.restarted || w.quiet(s)) {
		w.breach("the remote tier holds v%d of key %d, and v%d was acknowledged", r.ver, uint8(key), s.acked[key])
	}
}

// checkLasting is G3 of a Set that was acknowledged after the server had lost something: the loss
// does not take it away. For the instance that made it this holds at once; for the others when
// everybody has noticed, and where the server's clock has not gone back at once, too.
func (w *world) checkLasting(s *state, c int) {
	call, ch := &s.calls[c], w.changes[c]
	if !call.fresh || ch.kind != setting || call.phase != acknowledged && call.phase != holding {
		return
	}
	r := &s.server.remote[ch.key]
	if r.kind != value || r.ver != call.ver[ch.key] || w.clearedSince(s) {
		return
	}
	if r.stamp < s.server.floor {
		w.breach("v%d of key %d was acknowledged after the loss, and its record %d lies below the floor %d", r.ver, ch.key, r.stamp, s.server.floor)
	}
	for i := range s.inst {
		n := &s.inst[i]
		if w.listens(i) && r.stamp < max(n.floor, n.parted) && (uint8(i) == ch.instance || !w.back || w.quiet(s)) {
			w.breach("v%d of key %d was acknowledged after the loss, and is absent for instance %d", r.ver, ch.key, uint8(i))
		}
	}
}

// clearedSince tells whether a Clear was executed after the loss.
func (w *world) clearedSince(s *state) bool {
	for c, ch := range w.changes {
		if ch.kind == clearing && s.calls[c].fresh {
			return true
		}
	}
	return false
}

// checkLocal is G2 and G3 of a local read, and, when nothing is under way, that both tiers agree.
func (w *world) checkLocal(s *state, i, key uint8) {
	ver, ok := w.served(s, i, key)
	if !ok {
		return
	}
	n := &s.inst[i]
	if ver < s.must[key] && !w.reader {
		w.breach("instance %d serves v%d of key %d, and v%d was acknowledged more than D ago", i, ver, key, s.must[key])
	}
	if ver < n.seen[key] && !s.restarted {
		w.breach("instance %d serves v%d of key %d, and has itself changed it to v%d", i, ver, key, n.seen[key])
	}
	if !w.quiet(s) {
		return
	}
	if ver < s.acked[key] {
		w.breach("all is quiet, and instance %d serves v%d of key %d instead of v%d", i, ver, key, s.acked[key])
	}
	if r := &s.server.remote[key]; w.accepted(s, int(key)) && r.ver != ver {
		w.breach("all is quiet, instance %d serves v%d of key %d, and the remote tier holds v%d", i, ver, key, r.ver)
	}
}

// quiet tells that nothing is under way: no change, no message, no loss that is yet to be noticed.
// Loads may be: they are not what local copies that are here wait for.
func (w *world) quiet(s *state) bool {
	for c := range w.changes {
		switch call := &s.calls[c]; call.phase {
		case waiting, acknowledged:
		case failed:
			if !call.over {
				return false
			}
		default:
			return false
		}
	}
	for i := range s.inst {
		n := &s.inst[i]
		if !w.listens(i) {
			continue
		}
		if n.link != live || n.queue[0].kind != noItem || n.applied != s.server.last() || n.owesFlush || n.owesDrop || n.owesTrust != 0 {
			return false
		}
	}
	return true
}
