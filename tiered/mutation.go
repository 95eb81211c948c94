package tiered

import (
	"context"
	"maps"
	"math"
	"sync"
	"sync/atomic"

	"github.com/doppio-cache/doppio/internal/coalesce"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// mutation is a change that this instance is making to a key, or a tag, of one cache.
type mutation struct {
	co     *coherence
	floors *cacheFloors
	hash   uint64
	lane   int
	begun  uint64
	large  bool // it is made alone
	news        // of the change, as soon as it is to be sent
}

// news is the message of one change, or of several that are made together.
type news struct {
	publisher uint64 // 0: there is none yet
	told      *remote.Announcement
}

// intend begins a change. What is near stays until the change is acknowledged, or has failed: before its call returns nobody can
// tell whether it was made. (To hide it from the begin on is spare: see invalidation/model.) Whoever calls it calls done or
// cancel, and gives the change its news before it is made.
func (c *coherence) intend(f *cacheFloors, hash uint64) mutation {
	return mutation{co: c, floors: f, hash: hash, lane: c.laneOf(hash), begun: c.table.Now()}
}

// mutate begins a change that is made alone.
func (c *coherence) mutate(f *cacheFloors, hash uint64) mutation {
	m := c.intend(f, hash)
	m.news = c.publish(m.lane, hash)
	return m
}

// publish makes the news of changes of keys with these hashes, all of which belong to a lane.
func (c *coherence) publish(lane int, hashes ...uint64) news {
	n := news{publisher: c.own.begin(len(hashes))}
	n.told = c.announcing(lane, invalidation.Message{Type: invalidation.TypeKeys, Publisher: n.publisher, Hashes: hashes})
	return n
}

// publishAll gives changes that are made at the same time their news: those of a lane that follow one another share theirs.
func (c *coherence) publishAll(changes []*mutation) {
	for len(changes) > 0 {
		n := 1
		for n < min(len(changes), coalesce.Max) && changes[n].lane == changes[0].lane && !changes[n-1].large && !changes[n].large {
			n++
		}
		hashes := make([]uint64, n)
		for i, m := range changes[:n] {
			hashes[i] = m.hash
		}
		shared := c.publish(changes[0].lane, hashes...)
		for _, m := range changes[:n] {
			m.news = shared
		}
		changes = changes[n:]
	}
}

// known is the newest id of the change's lane that this instance knows: the stamp of a record that is written before the
// change has an id of its own.
func (m mutation) known() uint64 { return m.co.lanes[m.lane].last.Load() }

// done ends a change: from now on no near entry of the key is served, and no load may be joined, that began before. clean tells whether nothing else happened meanwhile to the keys, the tags with the watched hashes, or the whole
// cache: then, and only then, the changed value may be kept near, with the given stamp.
func (m mutation) done(ctx context.Context, err error, watched ...uint64) (stamp uint64, clean bool) {
	m.co.own.end(m.publisher, err == nil)
	if err == nil {
		m.co.reached(m.lane, m.told.ID)
		acknowledgedAt(ctx, m.lane, m.told.ID)
	}
	hashes := []uint64{m.hash}
	m.co.waiters.wake(hashes) // it has ended whatever load they wait for
	stamp, clean = m.co.conclude(m.floors, m.begun, hashes, watched)
	m.co.own.conclude(m.publisher)
	return stamp, clean && err == nil
}

// cancel ends a change that turned out not to be made.
func (m mutation) cancel() {
	m.co.own.end(m.publisher, false)
	m.co.own.conclude(m.publisher)
}

// failed notes what a change that failed has left to be invalidated under a far key. A change whose message has come back was made and announced, whatever became of the reply. It is called before done: a
// load that lands in between is turned away by the one or the other.
//
// Not so on a Cluster: there a message says that some of the changes that share it were made, or that one may have been.
func (m mutation) failed(err error, key string) {
	if !m.co.far.OneStep() {
		m.co.pending.add(err, 0, m.floors.name, key, m.hash, false)
		return
	}
	if !m.co.own.heard(m.publisher) {
		m.pend(err, key, false)
	}
}

// pend puts a key on the pending set, unless the change's message comes at this very moment.
func (m mutation) pend(err error, key string, announce bool) {
	m.co.pending.add(err, m.publisher, m.floors.name, key, m.hash, announce)
	if m.co.own.heard(m.publisher) {
		m.co.pending.happened(m.publisher)
	}
}

// unannounced notes that a change may have been made and not announced.
func (m mutation) unannounced(err error, key string) {
	if !m.co.own.heard(m.publisher) {
		m.pend(err, key, true)
	}
}

// announcing is the announcement of a message. It says what is known here of the lane, from which
// Redis sees whether it has lost the lane's history: the new one then begins with this change.
func (c *coherence) announcing(lane int, m invalidation.Message) *remote.Announcement {
	l := &c.lanes[lane]
	m.Previous, m.ID = l.last.Load(), l.allFloor.Load()
	return &remote.Announcement{Lane: lane, Message: encodeMessage(m)}
}

func encodeMessage(m invalidation.Message) []byte {
	b, err := m.Append(nil)
	if err != nil {
		// Only more than 65,535 hashes do that; a change of so many keys is announced as a change of all.
		all := invalidation.Message{Type: invalidation.TypeAll, Previous: m.Previous, ID: m.ID, Publisher: m.Publisher}
		b, _ = all.Append(nil)
	}
	return b
}

// ownMutations knows which changes this instance made and has dealt with when they were acknowledged, so that their
// messages, which come back to it like to everybody, do not drop what it has just stored. Only a change that was
// acknowledged, or still may be, is passed over: one whose reply was lost may happen at any time later.
type ownMutations struct {
	instance uint32 // the upper half of the publisher's id; the lower half counts changes
	next     atomic.Uint32

	// early counts the messages that were heard and passed over, and some of whose changes are not concluded: the table does not know of
	// those yet, though the lane has been followed past them.
	early atomic.Int64

	mu    sync.Mutex
	known map[uint32]progress
}

// progress is how far an own message has come: it is forgotten when all of its changes have ended, and it was heard or one of them
// has failed.
type progress struct {
	under         int // how many of its changes are not concluded
	failed, heard bool
	early         bool // it was heard and passed over before that
}

// maxOwn bounds the changes whose message is awaited. Past it they are forgotten: their messages then drop a near entry too many.
const maxOwn = 1 << 16

func (o *ownMutations) id(n uint32) uint64 { return uint64(o.instance)<<32 | uint64(n) }

// begin notes as many changes that share a message, and gives its publisher.
func (o *ownMutations) begin(changes int) uint64 {
	n := o.next.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxOwn {
		maps.DeleteFunc(o.known, func(_ uint32, p progress) bool { return !p.early })
	}
	o.known[n] = progress{under: changes}
	return o.id(n)
}

// end notes what became of a change. One that failed may yet happen, however late: its message must not be taken for one
// that was dealt with.
func (o *ownMutations) end(publisher uint64, acknowledged bool) {
	n := uint32(publisher & math.MaxUint32)
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.known[n]
	if !ok {
		return
	}
	p.failed = p.failed || !acknowledged
	o.known[n] = p
}

// conclude notes that the table was raised for a change that has ended.
func (o *ownMutations) conclude(publisher uint64) {
	n := uint32(publisher & math.MaxUint32)
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.known[n]; ok {
		p.under--
		o.noteLocked(n, p)
	}
}

func (o *ownMutations) noteLocked(n uint32, p progress) {
	if p.under == 0 && (p.failed || p.heard) {
		delete(o.known, n)
		if p.early {
			o.early.Add(-1)
		}
		return
	}
	o.known[n] = p
}

// heard tells whether the message of a change that is under way has come back: for any of those that share it, as long as it has not ended.
func (o *ownMutations) heard(publisher uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[uint32(publisher&math.MaxUint32)].heard
}

// mine tells whether a message's publisher is this instance.
func (o *ownMutations) mine(publisher uint64) bool { return publisher>>32 == uint64(o.instance) }

// hear takes the publisher of a message of this instance, and tells whether the message needs no attention.
func (o *ownMutations) hear(publisher uint64) bool {
	n := uint32(publisher & math.MaxUint32)
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.known[n]
	if !ok {
		return false
	}
	p.heard = true
	if p.under > 0 && !p.failed && !p.early {
		p.early = true
		o.early.Add(1)
	}
	o.noteLocked(n, p)
	return !p.failed
}
