package coherence

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
)

// ownChanges knows which changes this instance made and has dealt with when they were acknowledged.
// Their messages come back to it like to every instance, and must not invalidate what it has just
// stored. Only the message of a change that was acknowledged, or still may be, is passed over: a
// change whose reply was lost may happen at any time later.
type ownChanges struct {
	instance uint32 // the upper half of the publisher's id; the lower half counts changes
	next     atomic.Uint32

	// early counts the messages that were passed over while some of their changes had not ended:
	// the table does not know of those yet, though the lane has been followed past them.
	early atomic.Int64

	mu    sync.Mutex
	known map[uint32]progress
}

// progress is how far an own message has come. It is forgotten when all of its changes have ended,
// and it was heard or one of them has failed.
type progress struct {
	under         int // how many of its changes have not ended
	failed, heard bool
	early         bool // it was heard and passed over before that
}

// maxOwn bounds the changes whose message is awaited. Past it they are forgotten: their messages
// then drop a local entry too many.
const maxOwn = 1 << 16

func (o *ownChanges) id(n uint32) uint64 { return uint64(o.instance)<<32 | uint64(n) }

// begin notes a number of changes that share a message, and returns its publisher.
func (o *ownChanges) begin(changes int) uint64 {
	n := o.next.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxOwn {
		maps.DeleteFunc(o.known, func(_ uint32, p progress) bool { return !p.early })
	}
	o.known[n] = progress{under: changes}
	return o.id(n)
}

// end notes the outcome of a change. A change that failed may yet happen, however late: its message
// must not be taken for that of one that was dealt with.
func (o *ownChanges) end(publisher uint64, acknowledged bool) {
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
func (o *ownChanges) conclude(publisher uint64) {
	n := uint32(publisher & math.MaxUint32)
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.known[n]; ok {
		p.under--
		o.updateLocked(n, p)
	}
}

func (o *ownChanges) updateLocked(n uint32, p progress) {
	if p.under == 0 && (p.failed || p.heard) {
		delete(o.known, n)
		if p.early {
			o.early.Add(-1)
		}
		return
	}
	o.known[n] = p
}

// heard reports whether the message of a change that has not ended has come back: that of any of
// the changes that share it.
func (o *ownChanges) heard(publisher uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[uint32(publisher&math.MaxUint32)].heard
}

// mine reports whether a message's publisher is this instance.
func (o *ownChanges) mine(publisher uint64) bool { return publisher>>32 == uint64(o.instance) }

// hear notes that a message of this instance has come, and reports whether it is passed over.
func (o *ownChanges) hear(publisher uint64) bool {
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
	o.updateLocked(n, p)
	return !p.failed
}
