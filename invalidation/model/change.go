package model

// retried marks the announcement of a retry, which no instance takes for one of its own.
const (
	retried = 0x40
	opened  = 0x20 // a lane that was empty begins; it means nothing else
	flushed = 0x80 // the remote floor, raised because the lane's history was lost
)

// place of a change in the tables; drop is for all of them.
func (w *world) learn(n *instance, ch change) {
	switch ch.kind {
	case clearing:
		w.drop(n)
	case tagging:
		w.raise(n, tagPlace)
	default:
		w.raise(n, ch.key)
	}
}

// touches gives the keys that a change is about.
func (w *world) touches(ch change, key int) bool {
	return key < w.keys && (ch.kind == clearing || int(ch.key) == key)
}

// commit is the user's, before the call. A Set is its own commit: see execute.
func (w *world) commit(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != waiting {
		return false
	}
	c.phase = committed
	if ch.kind == setting {
		return true
	}
	for k := range s.source {
		if w.touches(ch, k) {
			s.source[k]++
			c.ver[k] = s.source[k]
		}
	}
	w.say("%d commits v%d of key %d", ch.instance, c.ver[ch.key], ch.key)
	return true
}

// begin raises nothing: the local copies from before stay until the call returns. Nobody can tell
// before whether the change was made.
func (w *world) begin(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != committed {
		return false
	}
	n := &s.inst[ch.instance]
	if w.raiseAtBegin {
		w.learn(n, ch)
	}
	c.phase, c.begun, c.known, c.star = running, n.pos, n.known, n.star
	if w.tagged && ch.kind == setting {
		c.tag = w.tagVersion(s)
	}
	w.tell(ch.kind, "%d begins a KIND of key %d", ch.instance, ch.key)
	return true
}

// execute is the server's part: one script, or on a Cluster the data's and then the lane's. A call
// that was given up may still be executed, however late; what is sent after a reply is not sent
// when there was none.
func (w *world) execute(s *state, a int) bool {
	if w.shared && a < 2 {
		return w.executeTogether(s, a)
	}
	c, ch := &s.calls[a], w.changes[a]
	if (c.phase != running && c.phase != failed) || c.body == done || (c.alone && c.body == half) {
		return false
	}
	if c.alone && c.retry != unsent && !w.noDeadline {
		return false
	}
	dataFirst := c.body == unsent
	if w.laneFirst && w.cluster {
		dataFirst = !dataFirst
	}
	switch {
	case !w.cluster || ch.kind == clearing:
		c.id = w.append(s, uint8(a), c.known, c.star)
		w.changeData(s, ch, c, false)
		c.body, c.fresh = done, w.lasts(s, c)
		w.tell(ch.kind, "the server executes KIND of %d, id %d", ch.instance, c.id)
	case dataFirst:
		w.changeData(s, ch, c, false)
		c.body++
		w.tell(ch.kind, "the server executes the data step of the KIND of %d", ch.instance)
	default:
		c.id = w.append(s, uint8(a), c.known, c.star)
		c.body++
		c.fresh = w.lasts(s, c)
		c.buried = ch.kind == setting && w.floors() && c.known < s.server.floor && !w.leftBuried
		w.tell(ch.kind, "the server executes the lane step of the KIND of %d, id %d", ch.instance, c.id)
	}
	return true
}

// changeData changes what the remote tier holds. A retry of a Set deletes.
func (w *world) changeData(s *state, ch change, c *call, again bool) {
	switch {
	case ch.kind == clearing:
		s.server.floor = s.ids
	case ch.kind == tagging:
		s.tags++
		s.server.tag = s.tags
	case ch.kind == setting && !again:
		s.source[ch.key]++
		c.ver[ch.key] = s.source[ch.key]
		stamp := c.id
		if w.cluster {
			stamp = c.known
		}
		s.server.remote[ch.key] = record{kind: value, ver: c.ver[ch.key], stamp: stamp, tag: c.tag}
	default:
		s.server.remote[ch.key] = record{}
	}
}

// lasts tells whether a change that is executed now belongs to a new history of the lane for all.
// Where the clock goes back that needs somebody who had heard of the end of the old one, or a lane
// that is empty.
func (w *world) lasts(s *state, c *call) bool {
	return s.lost && (!w.back || c.known >= s.lostAt || w.may.deletes > 0)
}

// lift is the third step of a Set on a Cluster, where the reply to the second shows that the remote
// floor is above the stamp that the first gave the record: the record is given the id of its
// announcement.
func (w *world) lift(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if !c.buried || c.phase != running {
		return false
	}
	c.buried = false
	if r := &s.server.remote[ch.key]; r.kind == value && r.ver == c.ver[ch.key] {
		r.stamp = c.id
	}
	w.say("the server lifts the record of key %d to %d", ch.key, c.id)
	return true
}

// acknowledge raises the table before the call returns, and keeps the own copy of a Set if nothing
// else was learned.
func (w *world) acknowledge(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != running || c.body != done || c.buried {
		return false
	}
	n := &s.inst[ch.instance]
	clean := w.valid(n, ch.key, c.begun) || w.copyAlways
	if !w.noRaiseAtAck {
		w.learn(n, ch)
	}
	w.promise(s, n, ch, c, c.id)
	c.phase = acknowledged
	if ch.kind == setting && clean {
		c.phase, c.stamp = holding, n.pos
	}
	w.tell(ch.kind, "the KIND of %d is acknowledged, v%d", ch.instance, c.ver[ch.key])
	return true
}

// promise is what holds from when a change was acknowledged.
func (w *world) promise(s *state, n *instance, ch change, c *call, id uint8) {
	n.known = max(n.known, id)
	if w.may.saves > 0 {
		n.own |= 1 << id
	}
	if ch.kind == clearing && !w.ownFloorUnknown {
		n.floor, n.star = max(n.floor, id), max(n.star, id)
	}
	for k := range s.acked {
		s.acked[k] = max(s.acked[k], c.ver[k])
		n.seen[k] = max(n.seen[k], c.ver[k])
	}
}

// keepOwn stores the copy that an acknowledged Set leaves.
func (w *world) keepOwn(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != holding {
		return false
	}
	s.inst[ch.instance].local[ch.key] = localCopy{here: true, ver: c.ver[ch.key], stamp: c.stamp}
	c.phase = acknowledged
	w.say("%d keeps its own v%d of key %d locally", ch.instance, c.ver[ch.key], ch.key)
	return true
}

// loseReply ends a call with an error that says nobody knows. From now on the key is pending: reads
// bypass both tiers, so what was committed is seen here nonetheless.
func (w *world) loseReply(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != running || s.left.replies == 0 || (w.shared && a < 2 && s.calls[1-a].phase <= committed) {
		return false
	}
	s.left.replies--
	w.giveUp(s, ch, c)
	w.tell(ch.kind, "the reply to the KIND of %d is lost", ch.instance)
	return true
}

func (w *world) giveUp(s *state, ch change, c *call) {
	n := &s.inst[ch.instance]
	if !w.noRaiseAtLoss {
		w.learn(n, ch)
	}
	c.phase, c.alone = failed, w.cluster && c.body == unsent && ch.kind != clearing
	for k := range n.seen {
		n.seen[k] = max(n.seen[k], c.ver[k])
	}
	if c.heard {
		w.happened(s, n, ch, c)
	}
}

// happened ends the wait for a retry: what was given up was made, for its message has come. On a
// Cluster that tells nothing, as what may have been executed is announced, too.
func (w *world) happened(s *state, n *instance, ch change, c *call) {
	if !w.cluster || w.hearsay {
		w.promise(s, n, ch, c, 0)
		c.over = true
	}
}

// tryAgain executes the retry: a Delete of the key, or the same again for tags and floors.
func (w *world) tryAgain(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != failed || c.retry == done {
		return false
	}
	if c.retry == unsent {
		w.changeData(s, ch, c, true)
	}
	if w.cluster && c.retry == unsent {
		c.retry = half
		w.say("the server executes the data step of the retry of %d", ch.instance)
		return true
	}
	c.retry = done
	if !w.retryUnannounced {
		w.append(s, uint8(a)|retried, s.inst[ch.instance].known, s.inst[ch.instance].star)
	}
	w.say("the server executes the retry of %d, id %d", ch.instance, s.ids)
	return true
}

// retryReturns ends the wait: the key is as if the change had been acknowledged.
func (w *world) retryReturns(s *state, a int) bool {
	c, ch := &s.calls[a], w.changes[a]
	if c.phase != failed || c.retry != done || c.over {
		return false
	}
	n := &s.inst[ch.instance]
	w.learn(n, ch)
	w.promise(s, n, ch, c, 0)
	c.over = true
	w.say("the retry of %d is acknowledged", ch.instance)
	return true
}
