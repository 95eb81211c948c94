package local

import (
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

const (
	ristrettoCounters = 10 // per entry; with 1 per entry the hit ratio falls from 0.62 to 0.55
	ristrettoBuffer   = 64
	// ristrettoBatch is how many writes are applied before the applier waits: half of ristretto's
	// queue, which is never full then.
	ristrettoBatch = 16 << 10
	// ristrettoTicker is the interval, in seconds, in which ristretto looks for expired entries. It
	// never has any: the expirer removes them.
	ristrettoTicker = 365 * 24 * 3600
)

// ristrettoEngine is ristretto behind a write buffer and a read cache.
//
// Ristretto applies writes late, keeps the older of two that meet in its queue, and drops them when
// the queue is full. So only one goroutine, the applier, writes to it: one generation of the buffer
// at a time, with at most one write of a hash, and a barrier (Wait) after it. A reader in between
// relies on the dead mark of the entry that it finds, and on the buffer. Reads go to ristretto
// first.
type ristrettoEngine struct {
	cache     *ristretto.Cache[uint64, *Entry]
	buffer    *writeBuffer
	readCache *readCache // of the tier; the applier does not use it
	accounts  *accounting
	max       int64

	clearing atomic.Bool // the entries that ristretto removes now are not evicted
	commands chan command
	stop     chan struct{}
	done     chan struct{}
}

// command is an order to the applier, which is executed between generations.
type command struct {
	clear bool
	done  chan struct{}
}

func newRistretto(opts Options, l *accounting) (*ristrettoEngine, error) {
	r := &ristrettoEngine{
		accounts: l,
		max:      opts.MaxEntries,
		commands: make(chan command),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	counters := min(opts.MaxEntries, maxCounters/ristrettoCounters) * ristrettoCounters
	if opts.MaxBytes > 0 {
		counters = countersForBytes(opts.MaxBytes)
		entries := counters / ristrettoCounters
		r.max = opts.MaxBytes - ristrettoFixed - ristrettoSketch(counters) - readCacheBytes(entries)
		r.readCache = newReadCache(entries)
	} else {
		r.readCache = newReadCache(opts.MaxEntries)
	}
	l.readCache = r.readCache
	r.buffer = newWriteBuffer(r.max, opts.MaxBytes == 0)

	var err error
	r.cache, err = ristretto.NewCache(&ristretto.Config[uint64, *Entry]{
		NumCounters:            counters,
		MaxCost:                r.max,
		BufferItems:            ristrettoBuffer,
		IgnoreInternalCost:     true,
		KeyToHash:              func(hash uint64) (uint64, uint64) { return hash, 0 },
		TtlTickerDurationInSec: ristrettoTicker,
		// They are called by ristretto's goroutine and, in Clear, by the applier with a shard of
		// ristretto locked: they may take the lock of the expirer and no other.
		OnEvict:  func(item *ristretto.Item[*Entry]) { r.onRemoved(item.Value, causeEvicted) },
		OnReject: func(item *ristretto.Item[*Entry]) { r.onRemoved(item.Value, causeRejected) },
	})
	if err != nil {
		return nil, fmt.Errorf("local: ristretto: %w", err)
	}
	go r.applyLoop()
	return r, nil
}

func (r *ristrettoEngine) capacity() int64 { return r.max }

// onRemoved is called for an entry that ristretto has removed.
func (r *ristrettoEngine) onRemoved(e *Entry, why cause) {
	if e == nil {
		return
	}
	if r.clearing.Load() {
		why = causeCleared
	}
	r.accounts.remove(e, why)
}

func (r *ristrettoEngine) get(hash uint64) *Entry {
	unbuffered := r.buffer.stripe(hash).count.Load() == 0
	e, stored := r.cache.Get(hash)
	if stored && e.alive() {
		return e
	}
	if unbuffered && !stored {
		return nil // the writes that were buffered before are stored by now
	}
	return r.peek(hash)
}

// peek looks in the buffer first: an entry that has left the buffer is stored by then.
func (r *ristrettoEngine) peek(hash uint64) *Entry {
	if e, found := r.buffer.get(hash); found {
		return e // or nil: the entry in ristretto is older
	}
	if e := r.stored(hash); e != nil && e.alive() {
		return e
	}
	return nil
}

// stored returns the entry that ristretto stores, alive or not. GetTTL does not count as a use; Get
// does.
func (r *ristrettoEngine) stored(hash uint64) *Entry {
	if _, ok := r.cache.GetTTL(hash); !ok {
		return nil
	}
	e, _ := r.cache.Get(hash)
	return e
}

func (r *ristrettoEngine) set(e *Entry) bool {
	keep := e.charge <= r.max && r.buffer.waitForRoom()
	s := r.buffer.stripe(e.hash)
	s.mu.Lock()
	older := s.newest(e.hash)
	if older == nil {
		older = r.stored(e.hash)
	}
	switch {
	case keep:
		r.accounts.add(e)
		r.buffer.put(s, e)
	case older != nil:
		r.buffer.put(s, older)
	}
	if older != nil {
		r.accounts.remove(older, causeReplaced)
	}
	s.mu.Unlock()

	switch {
	case keep:
	case e.charge > r.max:
		r.accounts.countRejected()
	default:
		r.accounts.countDropped()
	}
	r.buffer.wakeApplier(e.hash)
	return keep
}

func (r *ristrettoEngine) remove(e *Entry, why cause) bool {
	r.buffer.waitForRoom()
	s := r.buffer.stripe(e.hash)
	s.mu.Lock()
	first := r.accounts.remove(e, why)
	if first {
		r.buffer.put(s, e)
	}
	s.mu.Unlock()
	if first {
		r.buffer.wakeApplier(e.hash)
	}
	return first
}

func (r *ristrettoEngine) wait() { r.run(command{done: make(chan struct{})}) }

// clear applies the buffer, and then removes everything from ristretto, which calls onRemoved.
func (r *ristrettoEngine) clear() {
	r.run(command{clear: true, done: make(chan struct{})})
}

// run makes the applier execute a command, and waits for it.
func (r *ristrettoEngine) run(c command) {
	r.commands <- c
	<-c.done
}

func (r *ristrettoEngine) close() {
	close(r.stop)
	<-r.done
	r.clearing.Store(true)
	r.buffer.removeAll(r.accounts, causeCleared)
	r.cache.Close()
}

// applyLoop is the applier, the only goroutine that writes to ristretto.
func (r *ristrettoEngine) applyLoop() {
	defer close(r.done)
	for {
		select {
		case <-r.stop:
			return
		case <-r.buffer.wake:
			r.applyBuffered()
		case c := <-r.commands:
			r.applyBuffered()
			if c.clear {
				r.clearing.Store(true)
				r.cache.Clear()
				r.clearing.Store(false)
			}
			close(c.done)
		}
	}
}

// applyBuffered applies the writes that are buffered now, and returns when ristretto has them.
func (r *ristrettoEngine) applyBuffered() {
	stripes := r.buffer.takeFresh()
	if stripes == 0 {
		return
	}
	applied := 0
	r.buffer.eachApplying(stripes, func(e *Entry) {
		if applied++; applied%ristrettoBatch == 0 {
			r.cache.Wait()
		}
		r.apply(e)
	})
	r.cache.Wait()
	if r.cache.RemainingCost() < 0 {
		r.enforceBound(stripes)
	}
	r.buffer.finishApplying(stripes)
}

// apply applies one write to ristretto. If e dies meanwhile, a newer write for the next generation
// is in the buffer.
func (r *ristrettoEngine) apply(e *Entry) {
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

// enforceBound restores the bound after updates in place: ristretto evicts only for a new entry. So
// the updated entries are removed and set again, and may be rejected, until the bound holds.
func (r *ristrettoEngine) enforceBound(stripes uint64) {
	r.buffer.eachApplying(stripes, func(e *Entry) {
		if e.alive() && r.cache.RemainingCost() < 0 {
			r.cache.Del(e.hash)
			r.apply(e)
			r.cache.Wait()
		}
	})
}
