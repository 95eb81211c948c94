package model

// valid is the rule of the local tier: nothing is known about the key, or its tag, that is newer
// than stamp.
func (w *world) valid(n *instance, key, stamp uint8) bool {
	return stamp >= n.table[key] && (!w.tagged || stamp >= n.table[tagPlace])
}

// raise notes that one place was invalidated now.
func (w *world) raise(n *instance, at uint8) {
	n.pos++
	n.table[at] = n.pos
	if w.removeOnMessage && at < tagPlace {
		n.local[at] = localCopy{}
	}
}

// drop is the local floor, raised to now. With one cache it is the same as raising every place.
func (w *world) drop(n *instance) {
	n.pos++
	for at := range n.table {
		n.table[at] = n.pos
	}
	if w.removeOnMessage {
		n.local = [maxKeys]localCopy{}
	}
}

// trusted tells whether the coherence lease runs.
func (w *world) trusted(s *state, n *instance) bool {
	return w.noCoherenceLease || (n.trust > 0 && (!s.late || n.trust > 1))
}

// pending tells whether a change of the key, made by this instance, has an unknown outcome.
func (w *world) pending(s *state, i, key uint8) bool {
	for c, ch := range w.changes {
		if ch.instance == i && ch.key == key && s.calls[c].phase == failed && !s.calls[c].over {
			return !w.noPending
		}
	}
	return false
}

// served gives the local copy that a read of this moment would be answered with.
func (w *world) served(s *state, i, key uint8) (uint8, bool) {
	n := &s.inst[i]
	e := n.local[key]
	if !e.here || !w.trusted(s, n) || w.pending(s, i, key) {
		return 0, false
	}
	return e.ver, w.removeOnMessage || w.valid(n, key, e.stamp)
}

// least is what a read that begins now may expect: G3 and G2.
func least(s *state, i, key uint8) uint8 { return max(s.inst[i].seen[key], s.must[key]) }

func (w *world) beginLoad(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != idle {
		return false
	}
	n := &s.inst[at.instance]
	*f = flight{
		phase: begun, stamp: n.pos, known: n.known, least: least(s, at.instance, at.key), born: s.gen,
		blind: !w.trusted(s, n), bypass: w.pending(s, at.instance, at.key),
	}
	w.say("%d begins a load of key %d", at.instance, at.key)
	return true
}

// join is one more caller of a flight. Only one that may expect more than the others matters.
func (w *world) join(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	expected := least(s, at.instance, at.key)
	if f.phase == idle || f.least >= expected {
		return false
	}
	n := &s.inst[at.instance]
	young := (f.blind || w.joinTrusted) && (f.born == s.gen || !s.late)
	if !w.joinAny && (!w.valid(n, at.key, f.stamp) || !w.trusted(s, n) && !young && !w.joinOld) {
		return false
	}
	f.least = expected
	w.say("%d joins the load of key %d, for at least v%d", at.instance, at.key, expected)
	return true
}

// readRemote is GET, and on a miss the lease: one command.
func (w *world) readRemote(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != begun {
		return false
	}
	n := &s.inst[at.instance]
	if f.bypass {
		f.phase = loading
		if r := &s.server.remote[at.key]; w.pendingFilled && r.kind == nothing {
			*r = record{kind: lease, token: w.freshToken(s, at.instance)}
			f.token = r.token
		}
		w.say("%d bypasses both tiers for key %d", at.instance, at.key)
		return true
	}
	if !w.trusted(s, n) && !w.floorUnasked {
		n.floor, n.star = max(n.floor, s.server.floor), max(n.star, s.server.floor)
		if s.server.floor >= n.parted {
			n.parted = 0
		}
	}
	r := &s.server.remote[at.key]
	switch {
	case r.kind == nothing:
		*r = record{kind: lease, token: w.freshToken(s, at.instance)}
		f.phase, f.token = loading, r.token
		w.say("%d takes the lease of key %d", at.instance, at.key)
	case r.kind == lease:
		f.phase = loading
		w.say("%d finds the lease of key %d taken", at.instance, at.key)
	case r.stamp < max(n.floor, n.parted) && !w.floorIgnored:
		f.phase, f.token = loading, w.tokenOf(s, at.key, at.instance)
		w.say("%d finds v%d of key %d below the remote floor", at.instance, r.ver, at.key)
	case w.tagged && !w.tagUnchecked:
		f.phase, f.token, f.ver, f.tag = compared, w.tokenOf(s, at.key, at.instance), r.ver, r.tag
		w.say("%d finds v%d of key %d, with a tag", at.instance, r.ver, at.key)
	default:
		f.phase, f.ver = landed, r.ver
		w.say("%d finds v%d of key %d", at.instance, r.ver, at.key)
	}
	return true
}

// compareTag is the second look at a tagged remote value.
func (w *world) compareTag(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != compared {
		return false
	}
	if f.tag == s.server.tag && f.tag != 0 {
		f.phase = landed
		w.say("%d finds the tag of key %d intact", at.instance, at.key)
	} else {
		f.phase, f.ver, f.tag = loading, 0, 0
		w.say("%d finds the tag of key %d invalidated", at.instance, at.key)
	}
	return true
}

// readTag fetches the version that the new record will carry, before the source is read, and makes
// it if there is none.
func (w *world) readTag(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	when := uint8(loading)
	if w.tagAfterLoad {
		when = loaded
	}
	if !w.tagged || f.phase != when || f.tagged {
		return false
	}
	f.tag, f.tagged = w.tagVersion(s), true
	w.say("%d reads the version of the tag", at.instance)
	return true
}

func (w *world) tagVersion(s *state) uint8 {
	if s.server.tag == 0 {
		s.tags++
		s.server.tag = s.tags
	}
	return s.server.tag
}

func (w *world) readSource(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != loading || (w.tagged && !f.tagged && !w.tagAfterLoad) {
		return false
	}
	f.phase, f.ver = loaded, s.source[at.key]
	w.say("%d reads v%d of key %d in the source", at.instance, f.ver, at.key)
	return true
}

// fill is a compare-and-set on the token.
func (w *world) fill(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != loaded || (w.tagged && !f.tagged) {
		return false
	}
	f.phase = landed
	r := &s.server.remote[at.key]
	if !w.noToken && (f.token == 0 || r.token != f.token) {
		w.say("%d may not fill key %d", at.instance, at.key)
		return true
	}
	if w.remoteStampAtEnd {
		f.known = s.inst[at.instance].known
	}
	*r = record{kind: value, ver: f.ver, stamp: f.known, tag: f.tag}
	w.say("%d fills key %d with v%d", at.instance, at.key, f.ver)
	return true
}

// land gives the value to all who wait, and keeps it locally. The local engine may take its time
// for that: it is a step of its own, whatever was learned since the load began.
func (w *world) land(s *state, a int) bool {
	f, at := &s.flights[a], w.flights[a]
	if f.phase != landed {
		return false
	}
	if f.ver < f.least && !s.restarted {
		w.breach("a caller of instance %d that may expect v%d of key %d is given v%d", at.instance, f.least, at.key, f.ver)
	}
	if w.stampAtEnd {
		f.stamp = s.inst[at.instance].pos
	}
	if !f.bypass || w.pendingKept {
		s.inst[at.instance].local[at.key] = localCopy{here: true, ver: f.ver, stamp: f.stamp}
	}
	w.say("%d keeps v%d of key %d locally", at.instance, f.ver, at.key)
	*f = flight{}
	return true
}

// look is a local read of instance 1 in two looks, lease first. The clock is read with the lease.
func (w *world) look(s *state, _ int) bool {
	const i, key = 1, 0
	n := &s.inst[i]
	e := n.local[key]
	fits, held := e.here && w.valid(n, key, e.stamp), w.trusted(s, n)
	switch {
	case n.reading == 0 && !w.tableFirst && held:
		n.reading, n.readLeast = 1, least(s, i, key)
		w.say("%d looks at its lease, which runs", i)
	case n.reading == 0 && w.tableFirst && fits:
		n.reading, n.readVer = 1, e.ver
		w.say("%d looks at its table, where v%d is valid", i, e.ver)
	case n.reading == 1 && w.tableFirst && held:
		if n.readVer < least(s, i, key) {
			w.breach("instance %d serves v%d of key %d, and v%d is due", i, n.readVer, key, least(s, i, key))
		}
		n.reading, n.readVer = 0, 0
		w.say("%d looks at its lease, which runs", i)
	case n.reading == 1 && !w.tableFirst:
		if fits && e.ver < n.readLeast {
			w.breach("instance %d serves v%d of key %d, and v%d is due", i, e.ver, key, n.readLeast)
		}
		n.reading, n.readLeast = 0, 0
		w.say("%d looks at its table", i)
	default:
		return false
	}
	return true
}
