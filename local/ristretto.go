package local

import (
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

const (
	ristrettoCounters = 10 // per entry; with 1 per entry the hit ratio falls from 0.62 to 0.55
	ristrettoBuffer   = 64
	// ristrettoBatch is how many writes are handed over before the settler waits: half of ristretto's
	// queue, which so is never full.
	ristrettoBatch = 16 << 10
	// ristrettoTicker is how often ristretto looks for TTLs of its own, which it is never given, in seconds.
	ristrettoTicker = 365 * 24 * 3600
)

// ristrettoEngine puts ristretto behind a table of pending writes.
//
// Ristretto applies writes late, keeps the older of two that meet in its queue, and drops them when the
// queue is full. So only one goroutine, the settler, writes to it: one generation of pending at a time, at
// most one write of a hash in each, and a barrier (Wait) after it. Whatever reads in between is decided by
// the dead mark of the entry it finds, and by pending. Reads go to ristretto first.
type ristrettoEngine struct {
	cache   *ristretto.Cache[uint64, *Entry]
	pending *pending
	front   *front // of the tier; the settler does not know it
	ledger  *ledger
	max     int64

	clearing atomic.Bool // what leaves ristretto now is not evicted
	commands chan command
	stop     chan struct{}
	done     chan struct{}
}

// command is an order to the settler, executed between generations.
type command struct {
	clear bool
	done  chan struct{}
}

func newRistretto(opts Options, l *ledger) (*ristrettoEngine, error) {
	r := &ristrettoEngine{
		ledger:   l,
		max:      opts.MaxEntries,
		commands: make(chan command),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	counters := min(opts.MaxEntries, maxCounters/ristrettoCounters) * ristrettoCounters
	if opts.MaxBytes > 0 {
		counters = countersForBytes(opts.MaxBytes)
		entries := counters / ristrettoCounters
		r.max = opts.MaxBytes - ristrettoFixed - ristrettoSketch(counters) - frontBytes(entries)
		r.front = newFront(entries)
	} else {
		r.front = newFront(opts.MaxEntries)
	}
	l.front = r.front
	r.pending = newPending(r.max, opts.MaxBytes == 0)

	var err error
	r.cache, err = ristretto.NewCache(&ristretto.Config[uint64, *Entry]{
		NumCounters:            counters,
		MaxCost:                r.max,
		BufferItems:            ristrettoBuffer,
		IgnoreInternalCost:     true,
		KeyToHash:              func(hash uint64) (uint64, uint64) { return hash, 0 },
		TtlTickerDurationInSec: ristrettoTicker,
		// Called by ristretto's goroutine and, in Clear, by the settler with a shard of ristretto locked:
		// they may take the reclaimer's lock and no other.
		OnEvict:  func(item *ristretto.Item[*Entry]) { r.gone(item.Value, causeEvicted) },
		OnReject: func(item *ristretto.Item[*Entry]) { r.gone(item.Value, causeRejected) },
	})
	if err != nil {
		return nil, fmt.Errorf("local: ristretto: %w", err)
	}
	go r.settle()
	return r, nil
}

func (r *ristrettoEngine) capacity() int64 { return r.max }

func (r *ristrettoEngine) gone(e *Entry, why cause) {
	if e == nil {
		return
	}
	if r.clearing.Load() {
		why = causeCleared
	}
	r.ledger.bury(e, why)
}

func (r *ristrettoEngine) get(hash uint64) *Entry {
	settled := r.pending.stripe(hash).n.Load() == 0
	e, stored := r.cache.Get(hash)
	if stored && e.alive() {
		return e
	}
	if settled && !stored {
		return nil // what had been pending before was stored by then
	}
	return r.current(hash)
}

// current looks at pending first: what leaves pending is stored by then.
func (r *ristrettoEngine) current(hash uint64) *Entry {
	if e, found := r.pending.get(hash); found {
		return e // or nil: whatever ristretto holds is older
	}
	if e := r.stored(hash); e != nil && e.alive() {
		return e
	}
	return nil
}

// stored returns what ristretto stores, alive or not. GetTTL does not count as a use; Get does.
func (r *ristrettoEngine) stored(hash uint64) *Entry {
	if _, ok := r.cache.GetTTL(hash); !ok {
		return nil
	}
	e, _ := r.cache.Get(hash)
	return e
}

func (r *ristrettoEngine) set(e *Entry) bool {
	keep := e.charge <= r.max && r.pending.waitForRoom()
	s := r.pending.stripe(e.hash)
	s.mu.Lock()
	older := s.newest(e.hash)
	if older == nil {
		older = r.stored(e.hash)
	}
	switch {
	case keep:
		r.ledger.admit(e)
		r.pending.put(s, e)
	case older != nil:
		r.pending.put(s, older)
	}
	if older != nil {
		r.ledger.bury(older, causeReplaced)
	}
	s.mu.Unlock()

	switch {
	case keep:
	case e.charge > r.max:
		r.ledger.refuse()
	default:
		r.ledger.lose()
	}
	r.pending.announce(e.hash)
	return keep
}

func (r *ristrettoEngine) drop(e *Entry, why cause) bool {
	r.pending.waitForRoom()
	s := r.pending.stripe(e.hash)
	s.mu.Lock()
	first := r.ledger.bury(e, why)
	if first {
		r.pending.put(s, e)
	}
	s.mu.Unlock()
	if first {
		r.pending.announce(e.hash)
	}
	return first
}

func (r *ristrettoEngine) wait() { r.order(command{done: make(chan struct{})}) }

// clear hands over what is pending, and then everything leaves ristretto through gone.
func (r *ristrettoEngine) clear() {
	r.order(command{clear: true, done: make(chan struct{})})
}

func (r *ristrettoEngine) order(c command) {
	r.commands <- c
	<-c.done
}

func (r *ristrettoEngine) close() {
	close(r.stop)
	<-r.done
	r.clearing.Store(true)
	r.pending.bury(r.ledger, causeCleared)
	r.cache.Close()
}

// settle is the only goroutine that writes to ristretto.
func (r *ristrettoEngine) settle() {
	defer close(r.done)
	for {
		select {
		case <-r.stop:
			return
		case <-r.pending.wake:
			r.generation()
		case c := <-r.commands:
			r.generation()
			if c.clear {
				r.clearing.Store(true)
				r.cache.Clear()
				r.clearing.Store(false)
			}
			close(c.done)
		}
	}
}

// generation applies what is pending now, and returns when ristretto has it.
func (r *ristrettoEngine) generation() {
	stripes := r.pending.take()
	if stripes == 0 {
		return
	}
	handed := 0
	r.pending.each(stripes, func(e *Entry) {
		if handed++; handed%ristrettoBatch == 0 {
			r.cache.Wait()
		}
		r.hand(e)
	})
	r.cache.Wait()
	if r.cache.RemainingCost() < 0 {
		r.shrink(stripes)
	}
	r.pending.release(stripes)
}

// hand gives one write to ristretto. If e dies meanwhile, whoever killed it has left a newer write in
// pending for the next generation.
func (r *ristrettoEngine) hand(e *Entry) {
	if !e.alive() {
		if _, ok := r.cache.GetTTL(e.hash); ok {
			r.cache.Del(e.hash)
		}
		return
	}
	for !r.cache.Set(e.hash, e, e.charge) {
		r.cache.Wait()
	}
}

// shrink repairs what an update in place does to the bound: ristretto evicts only for a new entry. So the
// updated ones enter anew, and may be refused, until the bound holds.
func (r *ristrettoEngine) shrink(stripes uint64) {
	r.pending.each(stripes, func(e *Entry) {
		if e.alive() && r.cache.RemainingCost() < 0 {
			r.cache.Del(e.hash)
			r.hand(e)
			r.cache.Wait()
		}
	})
}
