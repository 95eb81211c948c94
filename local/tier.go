package local

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Tier is a bounded store of entries in this process. Its methods are safe for concurrent use.
type Tier struct {
	closed atomic.Bool // read by every operation of every scope; written once
	front  *front      // nil for an engine whose reads are not dear
	engine engine
	charge func(*Entry) int64
	bytes  bool
	_      [64]byte // off the lines that writes change
	ledger ledger

	mu     sync.Mutex // serialises NewScope, Wait, Clear and Close
	scopes []*Scope   // guarded by mu
	joined bool       // guarded by mu: Close has done its work
}

// New returns a tier, whose Close must be called in the end. Its error joins a *FieldError for every fault
// of opts, and matches ErrInvalidOptions.
func New(opts Options) (*Tier, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	t := &Tier{charge: charger(opts), bytes: opts.MaxBytes > 0}
	t.ledger.reclaim = newReclaimer(opts.Clock)
	if err := t.open(opts); err != nil {
		return nil, err
	}
	t.ledger.reclaim.start(func(e *Entry) { t.engine.drop(e, causeExpired) })
	return t, nil
}

// open makes the engine. It keeps a nil engine out of the interface.
func (t *Tier) open(opts Options) error {
	if opts.Engine == Otter {
		o, err := newOtter(opts, &t.ledger)
		if err != nil {
			return err
		}
		t.engine = o
		return nil
	}
	r, err := newRistretto(opts, &t.ledger)
	if err != nil {
		return err
	}
	t.engine, t.front = r, r.front
	return nil
}

// Stats is a snapshot of a tier. The counters count since New.
type Stats struct {
	Entries int64 // alive, those not yet applied by the engine included
	Bytes   int64 // what they count against MaxBytes, the engine's share included; 0 without MaxBytes

	Sets     uint64 // calls of Set on an open tier
	Evicted  uint64 // entries that had to make room
	Rejected uint64 // entries refused: by the engine's admission policy, or larger than the tier
	Expired  uint64 // entries removed after their expiry, unread
	Dropped  uint64 // Sets given up because the engine did not keep pace
}

// Stats returns a snapshot. It may be called after Close.
func (t *Tier) Stats() Stats {
	s := Stats{
		Entries:  t.ledger.entries.Load(),
		Sets:     t.ledger.sets.Load(),
		Evicted:  t.ledger.evicted.Load(),
		Rejected: t.ledger.rejected.Load(),
		Expired:  t.ledger.expired.Load(),
		Dropped:  t.ledger.dropped.Load(),
	}
	if t.bytes {
		s.Bytes = t.ledger.charge.Load()
	}
	return s
}

// Len returns the number of entries that are alive, expired ones that nobody removed yet included.
func (t *Tier) Len() int { return int(t.ledger.entries.Load()) }

// Wait returns when the engine has applied all that was set and deleted before. It is for tests and
// measurements: reads do not need it.
func (t *Tier) Wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.joined {
		t.engine.wait()
	}
}

// Clear removes every entry of every scope: none that was set before Clear began is read after it returned.
// Entries set meanwhile may go as well. It takes time in proportion to the number of entries.
func (t *Tier) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.joined {
		t.engine.clear()
	}
}

// Close stops the tier and waits for its goroutines, and for every Lookup that was not concluded yet: it
// must not be called between a Lookup and its Hit or Stale. It is idempotent; every call returns when
// the tier is closed. The error is always nil.
func (t *Tier) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.joined {
		return nil
	}
	t.closed.Store(true)
	t.awaitIdle()
	t.ledger.reclaim.close()
	t.engine.close()
	t.joined = true
	return nil
}

// awaitIdle returns when no operation of any scope is inside the engine. No new one enters: each announces
// itself first and looks at closed then.
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
