package local

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	bufferStripes = 64 // each has a bit in writeBuffer.dirty
	// maxBufferedWrites is how many writes may wait to be applied, whatever their charge.
	maxBufferedWrites = 4096
	// bufferFraction is the part of the engine's capacity that their charge may add to it.
	bufferFraction = 16
	// minBufferedCharge lets small tiers take a burst.
	minBufferedCharge = 64
	// maxRoomWaits is how many generations a Set waits for room before it is given up. Every
	// generation makes room for maxBufferedWrites writes.
	maxRoomWaits = 64
)

// writeBuffer has the writes that ristretto has not applied yet, by hash. They are newer than the
// entries that ristretto stores. An entry stays until it is known to be stored or gone. So a reader
// that finds no entry here, and after that none in ristretto, has missed nothing.
//
// Writers put entries. One goroutine, the engine's applier, takes a generation of entries at a
// time, applies it and finishes it. A dead entry in the buffer makes the applier remove the entry
// of its hash that ristretto still has.
type writeBuffer struct {
	stripes [bufferStripes]bufferStripe
	dirty   atomic.Uint64 // stripes with fresh entries; its change from 0 wakes the applier
	wake    chan struct{}

	limit  int64 // of the charge
	count  atomic.Int64
	charge atomic.Int64

	mu      sync.Mutex // taken by writers that wait for room, and to wake them
	room    sync.Cond
	waiting atomic.Int32
}

type bufferStripe struct {
	mu       sync.Mutex
	count    atomic.Int64      // len(fresh) + len(applying), read without the lock
	fresh    map[uint64]*Entry // guarded by mu
	applying map[uint64]*Entry // not yet known to be applied; replaced under mu, changed only by the applier
	_        [32]byte
}

func newWriteBuffer(capacity int64, entries bool) *writeBuffer {
	b := &writeBuffer{
		wake:  make(chan struct{}, 1),
		limit: capacity / bufferFraction,
	}
	if entries {
		b.limit = max(b.limit, minBufferedCharge)
	}
	b.room.L = &b.mu
	for i := range b.stripes {
		b.stripes[i].fresh = make(map[uint64]*Entry)
		b.stripes[i].applying = make(map[uint64]*Entry)
	}
	return b
}

// stripe uses the upper bits of the hash: ristretto's shards use the lower ones.
func (b *writeBuffer) stripe(hash uint64) *bufferStripe { return &b.stripes[hash>>58] }

// get reports whether a write of hash is buffered, and returns its entry if that is alive. It
// checks that under the lock, under which an overwrite puts the newer entry before it marks the
// older one dead. So an entry that is not alive was deleted, evicted or rejected, and not
// overwritten.
func (b *writeBuffer) get(hash uint64) (e *Entry, found bool) {
	s := b.stripe(hash)
	if s.count.Load() == 0 {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.newest(hash)
	if e == nil {
		return nil, false
	}
	if !e.alive() {
		return nil, true
	}
	return e, true
}

// newest is called under s.mu.
func (s *bufferStripe) newest(hash uint64) *Entry {
	if e := s.fresh[hash]; e != nil {
		return e
	}
	return s.applying[hash]
}

// put makes e the newest entry of its hash. It is called under the stripe's lock, before the older
// entry is marked dead: a reader that finds the older one dead finds e here. The caller calls
// wakeApplier when it has released the lock.
func (b *writeBuffer) put(s *bufferStripe, e *Entry) {
	if older := s.fresh[e.hash]; older != nil {
		b.charge.Add(-older.charge)
	} else {
		b.count.Add(1)
		s.count.Add(1)
	}
	b.charge.Add(e.charge)
	s.fresh[e.hash] = e
}

// wakeApplier wakes the applier, unless it was woken already.
func (b *writeBuffer) wakeApplier(hash uint64) {
	if b.dirty.Or(1<<(hash>>58)) != 0 {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *writeBuffer) hasRoom() bool {
	n := b.count.Load()
	return n == 0 || n < maxBufferedWrites && b.charge.Load() < b.limit
}

// waitForRoom waits until there is room for another write. It returns false if there was none for
// maxRoomWaits generations. The applier must not call it.
func (b *writeBuffer) waitForRoom() bool {
	if b.hasRoom() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for range maxRoomWaits {
		if b.hasRoom() {
			return true
		}
		b.room.Wait()
	}
	return b.hasRoom()
}

// takeFresh moves the fresh entries to applying, and returns the stripes that had some.
func (b *writeBuffer) takeFresh() (stripes uint64) {
	stripes = b.dirty.Swap(0)
	for rest := stripes; rest != 0; rest &= rest - 1 {
		s := &b.stripes[bits.TrailingZeros64(rest)]
		s.mu.Lock()
		s.fresh, s.applying = s.applying, s.fresh
		s.mu.Unlock()
	}
	return stripes
}

// eachApplying calls f for every entry that takeFresh moved.
func (b *writeBuffer) eachApplying(stripes uint64, f func(e *Entry)) {
	for rest := stripes; rest != 0; rest &= rest - 1 {
		for _, e := range b.stripes[bits.TrailingZeros64(rest)].applying {
			f(e)
		}
	}
}

// finishApplying forgets the entries that takeFresh moved, and wakes the writers that wait for
// room.
func (b *writeBuffer) finishApplying(stripes uint64) {
	for rest := stripes; rest != 0; rest &= rest - 1 {
		s := &b.stripes[bits.TrailingZeros64(rest)]
		var charge int64
		for _, e := range s.applying {
			charge += e.charge
		}
		s.mu.Lock()
		n := int64(len(s.applying))
		clear(s.applying)
		s.count.Add(-n)
		s.mu.Unlock()
		b.count.Add(-n)
		b.charge.Add(-charge)
	}
	if b.waiting.Load() == 0 {
		return // a writer that comes to wait now reads the counts first
	}
	b.mu.Lock()
	b.mu.Unlock() //nolint:staticcheck // every waiter now is in Wait, or has not read the counts yet
	b.room.Broadcast()
}

// removeAll marks every buffered entry dead. The entries stay, so that the applier removes them
// from ristretto.
func (b *writeBuffer) removeAll(l *accounting, why cause) {
	for i := range b.stripes {
		s := &b.stripes[i]
		s.mu.Lock()
		for _, e := range s.fresh {
			l.remove(e, why)
		}
		for _, e := range s.applying {
			l.remove(e, why)
		}
		s.mu.Unlock()
	}
}
