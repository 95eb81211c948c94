package coherence

import (
	"context"
	"slices"

	"github.com/doppio-cache/doppio/internal/coalesce"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// Kind is what a change does to the entry of its key, and so what is left to do when it fails.
type Kind uint8

// The kinds, and what Finish does. A change is in doubt when its error matches
// remote.ErrUnknownOutcome.
//
//	          acknowledged                        failed
//	Replace   earlier retries of the key are      the key is queued for deletion; on one server not
//	          given up, or repeated after it      if the message of the change has come
//	Remove    likewise                            likewise
//	Modify    nothing                             nothing is queued; on a Cluster and in doubt, the
//	                                              key is queued for an announcement
//
// Whatever the kind and the outcome, Finish makes older local copies of the key invalid, and ends
// the waits for loads of the key. Cancel does neither: nothing was sent, or there was nothing to
// change.
const (
	// Replace stores an entry, whatever was there. Its Begin waits for retries of the key.
	Replace Kind = iota
	// Remove removes what was there: an entry, or the version of a tag.
	Remove
	// Modify depends on what is there, so that to delete the entry would lose more than the change.
	Modify
)

// Change is a change that this instance makes to a key, or a tag, of one cache. Local copies stay
// valid until it is acknowledged or has failed: before that nobody can tell whether it was made.
// (To make them invalid from its beginning is needless: see invalidation/model.)
//
// It begins with Begin, is announced by Announce before it is sent, and ends with one call of
// either Finish or Cancel.
type Change struct {
	Key   string // as Redis has it
	Hash  uint64
	Lane  int
	Large bool // it shares its announcement with no other

	cache *Cache
	kind  Kind
	begun uint64
	held  *retryItem // of the key, whose retries wait for Finish; nil: there is none
	announcement
}

// announcement is the message of one change, or of several that are made together.
type announcement struct {
	publisher uint64 // 0: there is none yet
	message   *remote.Announcement
}

// Begin begins a change. For a Replace it waits until no retry of the key is under way, since Redis
// might execute that retry, a deletion, after the change. Its error is that of ctx; the change has
// begun then, too.
func (c *Cache) Begin(ctx context.Context, kind Kind, key string, hash uint64) (Change, error) {
	var held *retryItem
	var err error
	if kind == Replace {
		held, err = c.retries.hold(ctx, key)
	}
	return Change{Key: key, Hash: hash, Lane: c.LaneOf(hash), cache: c, kind: kind, begun: c.table.Now(), held: held}, err
}

// Begun is the position that was reached when the change began.
func (ch *Change) Begun() uint64 { return ch.begun }

// NewestID is the newest id of the change's lane that is known: the stamp of a record that is
// written before the change has an id of its own.
func (ch *Change) NewestID() uint64 { return ch.cache.lanes[ch.Lane].last.Load() }

// Announcement is what Announce has made. Its ID is set when the change is acknowledged.
func (ch *Change) Announcement() *remote.Announcement { return ch.message }

// Announce gives changes that are about to be sent their announcements. Changes of a lane that
// follow one another share one, as far as coalesce.Max allows.
func Announce(changes ...*Change) {
	for len(changes) > 0 {
		first, n := changes[0], 1
		for n < min(len(changes), coalesce.Max) && changes[n].Lane == first.Lane && !changes[n-1].Large && !changes[n].Large {
			n++
		}
		hashes := make([]uint64, n)
		for i, ch := range changes[:n] {
			hashes[i] = ch.Hash
		}
		shared := first.cache.announce(first.Lane, hashes)
		for _, ch := range changes[:n] {
			ch.announcement = shared
		}
		changes = changes[n:]
	}
}

func (m *Manager) announce(lane int, hashes []uint64) announcement {
	p := m.own.begin(len(hashes))
	return announcement{p, m.announcementOf(lane, invalidation.Message{Type: invalidation.TypeKeys, Publisher: p, Hashes: hashes})}
}

// Finish ends a change: from now on no local copy of the key is served, and no load may be joined,
// that began before. unchanged reports whether the change was acknowledged, and nothing else
// happened meanwhile to the key, the tags with the watched hashes, or the whole cache: then, and
// only then, the changed value may be kept locally, with the stamp of the point that Finish
// returns.
func (ch *Change) Finish(err error, watched ...uint64) (at Point, unchanged bool) {
	m := ch.cache.Manager
	if err == nil && ch.kind != Modify {
		m.retries.supersede(ch.Key, ch.begun)
	}
	if err != nil { // before the local copies are invalid: a load that ends in between finds the one or the other
		ch.enqueue(err)
	}
	m.own.end(ch.publisher, err == nil)
	if err == nil {
		m.reached(ch.Lane, ch.message.ID)
		at.ID = ch.message.ID // else it may be made yet, and be given its id at any time
	}
	hashes := []uint64{ch.Hash}
	m.waiters.wake(hashes) // the change has ended the load that they wait for
	at.Stamp, unchanged = ch.cache.Conclude(ch.begun, hashes, watched)
	m.own.conclude(ch.publisher)
	m.retries.unhold(ch.held)
	return at, unchanged && err == nil
}

// Cancel ends a change that turned out not to be made.
func (ch *Change) Cancel() {
	ch.cache.own.end(ch.publisher, false)
	ch.cache.own.conclude(ch.publisher)
	ch.cache.retries.unhold(ch.held)
}

// enqueue queues what a change that failed has left to be invalidated.
//
// A change whose message has come was made and announced, whatever became of the reply. Not so on a
// Cluster: there a message says that some of the changes that share it were made, or may have been.
func (ch *Change) enqueue(err error) {
	m := ch.cache.Manager
	oneStep := m.remote.Atomic()
	announceOnly := ch.kind == Modify
	switch {
	case announceOnly && (oneStep || !isUnknown(err)):
		return
	case !announceOnly && !oneStep:
		m.retries.add(err, 0, ch.cache.name, ch.Key, ch.Hash, false)
		return
	case m.own.heard(ch.publisher):
		return
	}
	m.retries.add(err, ch.publisher, ch.cache.name, ch.Key, ch.Hash, announceOnly)
	if m.own.heard(ch.publisher) { // at this very moment
		m.retries.confirm(ch.publisher)
	}
}

// announcementOf returns the announcement of a message. It says what is known here of the lane,
// from which Redis sees whether it has lost the lane's history: the new one then begins with this
// change.
func (m *Manager) announcementOf(lane int, msg invalidation.Message) *remote.Announcement {
	l := &m.lanes[lane]
	msg.Previous, msg.ID = l.last.Load(), l.allFloor.Load()
	return &remote.Announcement{Lane: lane, Message: encode(msg)}
}

// strangersAnnouncement returns an announcement that this instance takes for another's when it
// comes.
func (m *Manager) strangersAnnouncement(lane int, msg invalidation.Message) *remote.Announcement {
	msg.Publisher = m.own.id(0)
	return m.announcementOf(lane, msg)
}

func encode(msg invalidation.Message) []byte {
	b, err := msg.Append(nil)
	if err != nil {
		// Only more than 65,535 hashes do that; a change of so many keys is announced as a change
		// of all.
		all := invalidation.Message{Type: invalidation.TypeAll, Previous: msg.Previous, ID: msg.ID, Publisher: msg.Publisher}
		b, _ = all.Append(nil)
	}
	return b
}

// filledTogether is how many loads one message announces the end of at most.
const filledTogether = 4096

// AnnounceFilled wakes the instances that wait for loads of keys with these hashes: with one
// message for each lane.
func (m *Manager) AnnounceFilled(ctx context.Context, hashes []uint64) error {
	byLane := make([][]uint64, len(m.lanes))
	for _, h := range hashes {
		i := m.LaneOf(h)
		byLane[i] = append(byLane[i], h)
	}
	var failed error
	for i, hashes := range byLane {
		for part := range slices.Chunk(hashes, filledTogether) {
			msg := invalidation.Message{Type: invalidation.TypeFilled, Publisher: m.own.id(0), Hashes: part}
			if err := m.remote.Publish(context.WithoutCancel(ctx), i, encode(msg)); err != nil {
				failed = err
			}
		}
	}
	return failed
}
