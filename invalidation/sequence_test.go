package invalidation

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doppio-cache/doppio/internal/lane"
)

// step is something that a chain is told.
type step struct {
	what     string // message, echo, sync, page, join
	from, id lane.ID
	why      DropReason
	known    lane.ID // of a join: the end of a lost history
}

func (c *sequence) do(s step) DropReason {
	switch s.what {
	case "message":
		return c.onMessage(s.from, s.id, s.known)
	case "echo":
		return c.onEcho(s.id, s.known)
	case "sync":
		c.startSync()
	case "page":
		c.onReplayed(s.id, s.id+1)
	case "join":
		return c.endSync(s.id, s.known)
	}
	return 0
}

func TestSequence_handsOnOrDropsEachMessage(t *testing.T) {
	msg := func(from, id lane.ID, why DropReason) step {
		return step{what: "message", from: from, id: id, why: why}
	}
	echo := func(id lane.ID, why DropReason) step { return step{what: "echo", id: id, why: why} }
	join := func(id lane.ID, why DropReason) step { return step{what: "join", id: id, why: why} }
	page := func(id lane.ID) step { return step{what: "page", id: id} }
	again := step{what: "sync"}
	for _, c := range []struct {
		name  string
		steps []step // after a first sync at 10
		w     lane.ID
	}{
		{"in order", []step{msg(10, 11, 0), msg(11, 15, 0), echo(15, 0)}, 15},
		{"twice", []step{msg(10, 11, 0), msg(10, 11, 0), msg(5, 10, 0), echo(11, 0)}, 11},
		{"one lost", []step{msg(11, 12, DropGap), msg(12, 13, 0), join(12, 0)}, 13},
		{"the last one lost", []step{echo(11, DropTailLost), msg(11, 12, 0), join(11, 0)}, 12},
		{"deleted, then new", []step{msg(0, 12, DropHistoryLost), echo(12, 0)}, 12},
		{"rolled back, then new", []step{msg(8, 12, DropHistoryLost), echo(12, 0)}, 12},
		{"deleted", []step{echo(0, DropHistoryLost), msg(0, 12, 0)}, 12},
		{"deleted, and the clock moved back", []step{msg(0, 5, 0), echo(5, DropHistoryLost), msg(5, 6, 0)}, 6},
		{"nothing missed", []step{again, join(10, 0), msg(10, 11, 0)}, 11},
		{"missed and replayed", []step{again, page(12), join(14, 0), msg(14, 15, 0)}, 15},
		{"live before the replay is there", []step{again, msg(14, 15, 0), msg(15, 16, 0), join(14, 0), msg(16, 17, 0)}, 17},
		{"live and replayed", []step{again, msg(14, 15, 0), msg(15, 16, 0), join(16, 0), msg(16, 17, 0)}, 17},
		{"replayed further than live", []step{again, msg(14, 15, 0), join(17, 0), msg(15, 16, 0), msg(16, 17, 0), msg(17, 18, 0)}, 18},
		{"a hole between replay and live", []step{again, msg(14, 15, 0), join(13, DropGap), msg(15, 16, 0)}, 16},
		{"a hole in live, replayed", []step{again, msg(11, 12, 0), msg(14, 15, 0), join(14, 0), msg(15, 16, 0)}, 16},
		{"a hole in live, not replayed", []step{again, msg(11, 12, 0), msg(14, 15, 0), join(12, DropGap), msg(15, 16, 0)}, 16},
		{"deleted while syncing", []step{again, msg(0, 12, 0), join(12, DropHistoryLost), msg(12, 13, 0)}, 13},
		{"deleted between live ones", []step{again, msg(10, 11, 0), msg(0, 12, 0), join(11, DropHistoryLost), msg(12, 13, 0)}, 13},
		{"rolled back between live ones", []step{again, msg(14, 15, 0), msg(12, 16, 0), join(13, DropHistoryLost)}, 16},
		{"deleted after a page", []step{again, page(12), msg(0, 14, 0), join(12, DropHistoryLost)}, 14},
		{"duplicates while syncing", []step{again, page(12), msg(11, 12, 0), msg(12, 13, 0), msg(11, 12, 0), join(12, 0)}, 13},
		{"given up, and again", []step{again, msg(14, 15, 0), page(11), again, page(14), join(15, 0), msg(15, 16, 0)}, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ch sequence
			ch.startSync()
			if why := ch.endSync(10, 0); why != 0 || ch.applied != 10 {
				t.Fatalf("the first sync: %v, %d", why, ch.applied)
			}
			for i, s := range c.steps {
				if why := ch.do(s); why != s.why {
					t.Errorf("step %d, %+v: %v", i, s, why)
				}
			}
			if ch.applied != c.w {
				t.Errorf("w is %d, want %d", ch.applied, c.w)
			}
		})
	}
}

// The end of a lost history is the newest id of it that is known, however the loss shows.
func TestSequence_knowsWhereALostHistoryEnded(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step // after a first sync at 10; the last one shows the loss
		ended lane.ID
	}{
		{"a message follows on an older one", []step{{what: "message", from: 8, id: 20}}, 10},
		{"a message skips what was acknowledged", []step{{what: "message", from: 10, id: 20, known: 15}}, 15},
		{"an echo tells of an older end", []step{{what: "echo", id: 8}}, 10},
		{"an echo tells of an end before what was acknowledged", []step{{what: "echo", id: 12, known: 15}}, 15},
		{"a replay misses the newest applied", []step{{what: "sync"}, {what: "join", id: 20, known: 10}}, 10},
		{"a message before the replay", []step{{what: "sync"}, {what: "message", from: 8, id: 20}, {what: "join", id: 20}}, 10},
		{"messages before the replay", []step{{what: "sync"}, {what: "message", from: 14, id: 16}, {what: "message", from: 8, id: 20}, {what: "join", id: 20}}, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ch sequence
			ch.startSync()
			ch.endSync(10, 0)
			for i, s := range c.steps {
				if why, last := ch.do(s), i == len(c.steps)-1; (why == DropHistoryLost) != last {
					t.Errorf("step %d, %+v: %v", i, s, why)
				}
			}
			if ch.historyEnd != c.ended {
				t.Errorf("the lost history ended at %d, want %d", ch.historyEnd, c.ended)
			}
		})
	}
	var ch sequence
	ch.startSync()
	ch.endSync(10, 0)
	for _, known := range []lane.ID{5, 10, 20, 25} { // older, the one it follows on, itself, and one that is yet to come
		if why := ch.onMessage(10, 20, known); why != 0 {
			t.Errorf("a message in order, with %d known: %v", known, why)
		}
		ch.applied = 10
	}
}

func TestSequence_reportsWhenAReplayMayEnd(t *testing.T) {
	c := sequence{hasPosition: true, applied: 10}
	c.startSync()
	if c.onReplayed(11, 12) {
		t.Error("12 is missing")
	}
	if !c.onReplayed(12, 12) {
		t.Error("12 is all there is")
	}
	c.onMessage(13, 14, 0)
	if c.onReplayed(12, 12) {
		t.Error("13 is missing")
	}
	if !c.onReplayed(13, 20) {
		t.Error("14 has come, and so will what follows")
	}
}

// FuzzChain lets a lane be written, lost, delivered, replayed and deleted in any order. The oracle
// keeps every message that was ever acknowledged: when an echo leaves the chain whole, each of them
// was handed on, or is older than the last drop.
func FuzzChain(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 3, 0, 2, 0, 3})
	f.Add([]byte{4, 0, 0, 2, 2, 5, 0, 6, 0, 2, 3})
	f.Add([]byte{7, 0, 2, 0, 2, 8, 9, 0, 1, 2, 3})
	f.Add([]byte{0, 2, 7, 0, 2, 3, 4, 5, 6, 3, 8, 0, 2, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		// A chain keeps nothing of what it is told, however much that is and in whatever order.
		var c sequence
		within(t, 0, func() {
			for i, op := range ops {
				c.do(step{what: []string{"message", "echo", "sync", "page", "join"}[op%5], from: lane.ID(op), id: lane.ID(op) + lane.ID(i%3)})
			}
		})
		follow(t, ops)
	})
}

// This is the part of FuzzChain that fuzzing would find soon.
func TestSequence_againstTheOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	ops := make([]byte, 60)
	for range 20_000 {
		for i := range ops {
			ops[i] = byte(rng.IntN(10))
		}
		follow(t, ops)
		if t.Failed() {
			t.Fatalf("operations %v", ops)
		}
	}
}

func follow(t *testing.T, ops []byte) {
	t.Helper()
	o := &oracle{t: t, missing: map[int]bool{}}
	o.c.startSync()
	o.replay(true)
	for _, op := range ops {
		o.step(op)
	}
}

type sentMessage struct {
	number   int
	from, id lane.ID
}

// epochs keeps ids apart that were made before and after the clock was set back.
const epochs = 1 << 20

// oracle is a server with one lane, and a receiver of which only the chain is real.
type oracle struct {
	t       *testing.T
	c       sequence
	clock   lane.ID
	epoch   lane.ID // how often the clock was set back: no id is given twice
	number  int
	stream  []sentMessage // what the lane holds
	saved   []sentMessage // what it goes back to
	queue   []sentMessage // what the subscription holds; number 0: an echo, of which id is the last
	missing map[int]bool  // acknowledged, neither handed on nor dropped
	rolled  bool          // the lane lost w, and DropHistoryLost was not reported
}

func (o *oracle) lastID() lane.ID {
	if len(o.stream) == 0 {
		return 0
	}
	return o.stream[len(o.stream)-1].id
}

func (o *oracle) step(op byte) {
	switch op % 10 {
	case 0, 1: // a message, which 1 loses
		o.clock = max(o.clock, o.lastID()/epochs) + 1
		o.number++
		m := sentMessage{number: o.number, from: o.lastID(), id: o.clock*epochs + o.epoch%epochs}
		o.stream = append(o.stream, m)
		o.missing[m.number] = true
		if op%10 == 0 {
			o.queue = append(o.queue, m)
		}
	case 2:
		o.deliver()
	case 3: // an echo, and all that is before it
		o.queue = append(o.queue, sentMessage{id: o.lastID()})
		for len(o.queue) > 0 {
			o.deliver()
		}
	case 4: // a new subscription
		o.queue = nil
		o.c.startSync()
	case 5:
		o.replay(false)
	case 6:
		o.replay(true)
	case 7: // a snapshot, or a replica that was in step
		o.saved = slices.Clone(o.stream)
	case 8: // back to it
		o.stream = slices.Clone(o.saved)
		known := func(id lane.ID) bool {
			return slices.ContainsFunc(o.stream, func(m sentMessage) bool { return m.id == id })
		}
		o.rolled = o.rolled || o.c.hasPosition && o.c.applied > 0 && !known(o.c.applied)
		// What only the server knew, nobody can tell from what never was.
		maps.DeleteFunc(o.missing, func(number int, _ bool) bool {
			return !slices.ContainsFunc(o.stream, func(m sentMessage) bool { return m.number == number })
		})
	case 9: // the server's clock is set back: ids stay above the lane's last, but not above what the lane has lost
		o.clock -= min(o.clock, 3)
		o.epoch++
	}
}

func (o *oracle) drop(why DropReason) {
	if why != 0 {
		clear(o.missing)
	}
	if why == DropHistoryLost {
		o.rolled = false
	}
}

func (o *oracle) deliver() {
	if len(o.queue) == 0 {
		return
	}
	m := o.queue[0]
	o.queue = o.queue[1:]
	if m.number > 0 {
		delete(o.missing, m.number)
		o.drop(o.c.onMessage(m.from, m.id, 0))
		return
	}
	if o.c.syncing {
		return
	}
	why := o.c.onEcho(m.id, 0)
	o.drop(why)
	if why != 0 || len(o.queue) > 0 {
		return
	}
	// All that was acknowledged before the echo was in the queue before it, or was lost.
	if len(o.missing) > 0 {
		o.t.Errorf("trusted, and %v are missing; w is %d", o.missing, o.c.applied)
	}
	if o.rolled {
		o.t.Errorf("trusted, and the lane was rolled back unnoticed; w is %d", o.c.applied)
	}
}

// replay is a page, of two messages, or all that is left.
func (o *oracle) replay(all bool) {
	if !o.c.syncing {
		return
	}
	last := o.lastID()
	at, why := o.c.applied, DropReason(0)
	i := slices.IndexFunc(o.stream, func(m sentMessage) bool { return m.id == at })
	switch {
	case !o.c.hasPosition:
		why = DropFirstSync
	case at > 0 && i < 0:
		why = DropHistoryLost
	default:
		for n, m := range o.stream[i+1:] {
			if n == 2 && !all {
				o.c.onReplayed(at, last)
				return
			}
			delete(o.missing, m.number)
			at = m.id
		}
	}
	if why != 0 {
		at = last
	}
	o.drop(why)
	o.drop(o.c.endSync(at, 0))
	if o.c.applied < at {
		o.t.Errorf("w is %d after a replay up to %d", o.c.applied, at)
	}
}
