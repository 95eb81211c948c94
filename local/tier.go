package local

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// engine is a store of entries by hash. At most one entry of a hash is alive at any time: set and
// remove mark the entries that they replace or remove as dead before they return, and get returns
// only entries that are alive. Every engine passes each entry once to add and once to remove of its
// accounting.
//
// get, set, remove and peek may run beside each other, and beside wait and clear; close runs alone.
type engine interface {
	get(hash uint64) *Entry          // counts as a use; allocates nothing
	peek(hash uint64) *Entry         // like get, but no use if the engine can avoid it
	set(e *Entry) bool               // replaces the entry of e.hash, whatever its key
	remove(e *Entry, why cause) bool // removes e if it is alive, and reports whether it was
	wait()                           // returns when every earlier set and remove has been applied
	clear()                          // no entry set before it is alive when it returns
	close()                          // stops every goroutine and waits for it
	capacity() int64                 // the bound of the sum of the entries' charges
}

// Tier is a bounded store of entries in this process. Its methods are safe for concurrent use.
type Tier struct {
	closed         atomic.Bool // read by every operation of every scope; written once
	readCache      *readCache  // nil for an engine with cheap reads
	engine         engine
	charge         func(*Entry) int64
	boundedByBytes bool
	_              [64]byte // off the cache lines that writes change
	accounts       accounting

	mu      sync.Mutex // serializes NewScope, wait, Clear and Close
	scopes  []*Scope   // guarded by mu
	stopped bool       // guarded by mu: Close has finished
}

// New returns a tier. Call Close in the end. Its error joins a *FieldError for every fault of opts,
// and matches ErrInvalidOptions.
func New(opts Options) (*Tier, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	t := &Tier{charge: chargeFunc(opts), boundedByBytes: opts.MaxBytes > 0}
	t.accounts.expirer = newExpirer(opts.Clock)
	if err := t.openEngine(opts); err != nil {
		return nil, err
	}
	t.accounts.expirer.start(func(e *Entry) { t.engine.remove(e, causeExpired) })
	return t, nil
}

// openEngine makes the engine. It keeps a nil engine out of the interface.
func (t *Tier) openEngine(opts Options) error {
	if opts.Engine == Otter {
		o, err := newOtter(opts, &t.accounts)
		if err != nil {
			return err
		}
		t.engine = o
		return nil
	}
	r, err := newRistretto(opts, &t.accounts)
	if err != nil {
		return err
	}
	t.engine, t.readCache = r, r.readCache
	return nil
}

// Stats is a snapshot of a tier. The counters count since New.
type Stats struct {
	Entries int64 // alive, with those that the engine has not applied yet
	Bytes   int64 // their part of MaxBytes, with the engine's own; 0 without MaxBytes

	Sets     uint64 // calls of Set on an open tier
	Evicted  uint64 // entries removed to make room
	Rejected uint64 // entries rejected by the engine's admission policy, or larger than the tier
	Expired  uint64 // entries removed after their expiry, unread
	Dropped  uint64 // Sets given up because the engine did not keep pace
}

// Stats returns a snapshot. It may be called after Close.
func (t *Tier) Stats() Stats {
	s := Stats{
		Entries:  t.accounts.entries.Load(),
		Sets:     t.accounts.sets.Load(),
		Evicted:  t.accounts.evicted.Load(),
		Rejected: t.accounts.rejected.Load(),
		Expired:  t.accounts.expired.Load(),
		Dropped:  t.accounts.dropped.Load(),
	}
	if t.boundedByBytes {
		s.Bytes = t.accounts.charge.Load()
	}
	return s
}

// Len returns the number of entries that are alive. It includes expired entries that were not
// removed yet.
func (t *Tier) Len() int { return int(t.accounts.entries.Load()) }

// wait returns when the engine has applied every Set and Delete that has returned. It is for tests
// and measurements: reads do not need it.
func (t *Tier) wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.engine.wait()
	}
}

// Clear removes every entry of every scope: none that was set before Clear began is read after it
// has returned. Entries that are set meanwhile may be removed, too. It takes time in proportion to
// the number of entries.
func (t *Tier) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.engine.clear()
	}
}

// Close stops the tier and waits for its goroutines, and for every Lookup that was not concluded
// yet: it must not be called between a Lookup and its Hit or Stale. It is idempotent; every call
// returns when the tier is closed. The error is always nil.
func (t *Tier) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return nil
	}
	t.closed.Store(true)
	t.awaitIdle()
	t.accounts.expirer.close()
	t.engine.close()
	t.stopped = true
	return nil
}

// awaitIdle returns when no operation of any scope is inside the engine. No new one enters: each
// operation counts itself first and checks closed after that.
func (t *Tier) awaitIdle() {
	const yields = 64
	pause := 10 * time.Microsecond
	for i := 0; !t.idle(); i++ {
		if i < yields {
			runtime.Gosched()
			continue
		}
		time.Sleep(pause)
		pause = min(2*pause, time.Millisecond)
	}
}

func (t *Tier) idle() bool {
	for _, s := range t.scopes {
		if s.busy() {
			return false
		}
	}
	return true
}
