package model

// together marks the message of the changes that are made together: it names what both of them are
// about.
const together = 0x10

// made gives the changes that a message tells of, from the first to before the last.
func made(by uint8) (first, last uint8) {
	if by&together != 0 {
		return 0, 2
	}
	c := by &^ retried
	return c, c + 1
}

// executeTogether is the server's part where two callers' changes are made together: one script, or
// on a Cluster one for each and then the announcement of both. It is sent when both have begun, and
// who leaves afterwards takes nothing back. (Who leaves before has a change that is never executed,
// and the other one is made alone.)
func (w *world) executeTogether(s *state, a int) bool {
	group, begun, here, sure := s.calls[:2], true, false, true
	for i := range group {
		c := &group[i]
		begun = begun && (c.phase == running || c.phase == failed) && (w.cluster || c.body == unsent)
		here = here || c.body == half
		sure = sure && (c.body == half || c.phase == failed)
	}
	switch {
	case !begun:
		return false
	case !w.cluster:
		if a != 0 {
			return false // it is one step
		}
		id := w.append(s, together, group[0].known, group[0].star)
		for i := range group {
			group[i].id, group[i].body = id, done
			w.changeData(s, w.changes[i], &group[i], false)
		}
		w.say("the server executes both changes, id %d", id)
	case group[a].body == unsent:
		c := &group[a]
		if c.phase == failed && c.retry != unsent && !w.noDeadline {
			return false
		}
		w.changeData(s, w.changes[a], c, false)
		if c.body = half; group[1-a].body == done {
			c.body = done
		}
		w.say("the server executes the data step for key %d", w.changes[a].key)
	case a == 0 || group[0].phase == failed:
		// What failed may have been executed, or will be: it is announced with the others.
		return w.announceTogether(s, group, here && (sure || w.toldTooSoon))
	default:
		return false
	}
	return true
}

func (w *world) announceTogether(s *state, group []call, due bool) bool {
	if !due || group[0].body == done || group[1].body == done {
		return false
	}
	id := w.append(s, together, group[0].known, group[0].star)
	for i := range group {
		c := &group[i]
		if c.id = id; c.body == half {
			c.body = done
		}
	}
	w.say("the server executes the lane step for both, id %d", id)
	return true
}
