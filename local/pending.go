package local

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	pendingStripes = 64 // one bit of pending.dirty each
	// pendingLimit is how many writes may wait to be applied, whatever their size.
	pendingLimit = 4096
	// pendingFraction is the part of the engine's capacity that they may add to it.
	pendingFraction = 16
	// pendingFloor lets small tiers take a burst.
	pendingFloor = 64
	// pendingWaits is how many generations a Set waits for room before it is given up. Every generation
	// makes room for pendingLimit writes.
	pendingWaits = 64
)

// pending holds the writes that ristretto has not applied yet, by hash. What is in it is newer than what
// ristretto stores. An entry stays until it is known to be stored or gone, so a reader that finds
// neither here nor, afterwards, there has missed nothing.
//
// Writers put, and one goroutine, the engine's settler, takes a generation at a time, hands it over and
// releases it. A dead entry in here is an order to remove what ristretto still holds of its hash.
type pending struct {
	stripes [pendingStripes]pendingStripe
	dirty   atomic.Uint64 // stripes with something in fresh; its rise from 0 wakes the settler
	wake    chan struct{}

	limit  int64 // of charge
	count  atomic.Int64
	charge atomic.Int64

	mu      sync.Mutex // taken by those who wait for room, and to wake them
	room    sync.Cond
	waiting atomic.Int32
}

type pendingStripe struct {
	mu      sync.Mutex
	n       atomic.Int64      // len(fresh) + len(settled), to be asked without the lock
	fresh   map[uint64]*Entry // guarded by mu
	settled map[uint64]*Entry // handed over, not yet known to be applied; replaced under mu, changed by the settler only
	_       [32]byte
}

func newPending(capacity int64, entries bool) *pending {
	p := &pending{
		wake:  make(chan struct{}, 1),
		limit: capacity / pendingFraction,
	}
	if entries {
		p.limit = max(p.limit, pendingFloor)
	}
	p.room.L = &p.mu
	for i := range p.stripes {
		p.stripes[i].fresh = make(map[uint64]*Entry)
		p.stripes[i].settled = make(map[uint64]*Entry)
	}
	return p
}

// stripe uses the upper bits: ristretto's shards use the lower.
func (p *pending) stripe(hash uint64) *pendingStripe { return &p.stripes[hash>>58] }

// get reports whether a write of hash is pending, and returns its entry if that is alive. The look at alive
// is under the lock, where an overwrite puts the newer entry before it buries the older: so it is not alive
// because it was deleted, evicted or refused, never because it was overwritten.
func (p *pending) get(hash uint64) (e *Entry, found bool) {
	s := p.stripe(hash)
	if s.n.Load() == 0 {
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
func (s *pendingStripe) newest(hash uint64) *Entry {
	if e := s.fresh[hash]; e != nil {
		return e
	}
	return s.settled[hash]
}

// put makes e the newest of its hash. It is called under the stripe's lock, and before the older one is
// buried, so that a reader who finds that one dead finds e here. The caller calls announce when it has
// released the lock.
func (p *pending) put(s *pendingStripe, e *Entry) {
	if older := s.fresh[e.hash]; older != nil {
		p.charge.Add(-older.charge)
	} else {
		p.count.Add(1)
		s.n.Add(1)
	}
	p.charge.Add(e.charge)
	s.fresh[e.hash] = e
}

// announce wakes the settler if nobody has.
func (p *pending) announce(hash uint64) {
	if p.dirty.Or(1<<(hash>>58)) != 0 {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pending) hasRoom() bool {
	n := p.count.Load()
	return n == 0 || n < pendingLimit && p.charge.Load() < p.limit
}

// waitForRoom returns when there is room for another write, and false if there was none for pendingWaits
// generations. The settler must not call it.
func (p *pending) waitForRoom() bool {
	if p.hasRoom() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	for range pendingWaits {
		if p.hasRoom() {
			return true
		}
		p.room.Wait()
	}
	return p.hasRoom()
}

// take moves what is fresh into settled and returns the stripes concerned.
func (p *pending) take() (stripes uint64) {
	stripes = p.dirty.Swap(0)
	for rest := stripes; rest != 0; rest &= rest - 1 {
		s := &p.stripes[bits.TrailingZeros64(rest)]
		s.mu.Lock()
		s.fresh, s.settled = s.settled, s.fresh
		s.mu.Unlock()
	}
	return stripes
}

// each calls f for everything that take moved.
func (p *pending) each(stripes uint64, f func(e *Entry)) {
	for rest := stripes; rest != 0; rest &= rest - 1 {
		for _, e := range p.stripes[bits.TrailingZeros64(rest)].settled {
			f(e)
		}
	}
}

// release forgets what take moved, and wakes those who wait for room.
func (p *pending) release(stripes uint64) {
	for rest := stripes; rest != 0; rest &= rest - 1 {
		s := &p.stripes[bits.TrailingZeros64(rest)]
		var charge int64
		for _, e := range s.settled {
			charge += e.charge
		}
		s.mu.Lock()
		n := int64(len(s.settled))
		clear(s.settled)
		s.n.Add(-n)
		s.mu.Unlock()
		p.count.Add(-n)
		p.charge.Add(-charge)
	}
	if p.waiting.Load() == 0 {
		return // whoever comes to wait now looks at the counts first
	}
	p.mu.Lock()
	p.mu.Unlock() //nolint:staticcheck // a waiter is now either before its look at the counts or in Wait
	p.room.Broadcast()
}

// bury marks everything pending as dead. It stays as orders to remove what ristretto holds.
func (p *pending) bury(l *ledger, why cause) {
	for i := range p.stripes {
		s := &p.stripes[i]
		s.mu.Lock()
		for _, e := range s.fresh {
			l.bury(e, why)
		}
		for _, e := range s.settled {
			l.bury(e, why)
		}
		s.mu.Unlock()
	}
}
