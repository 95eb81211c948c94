package local

import (
	"fmt"
	"math"
	"sync"

	"github.com/maypok86/otter/v2"
)

// otterEngine puts otter behind the engine interface. Otter applies writes at once; only eviction happens
// later, in tasks that the engine counts so that close can wait for them.
type otterEngine struct {
	cache  *otter.Cache[uint64, *Entry]
	ledger *ledger
	max    int64
	bytes  bool
	tasks  sync.WaitGroup

	limit int64      // what all entries may charge while otter has not applied all writes
	full  sync.Mutex // held by the one writer that makes room
}

func newOtter(opts Options, l *ledger) (*otterEngine, error) {
	o := &otterEngine{ledger: l, max: opts.MaxEntries, bytes: opts.MaxBytes > 0}
	config := &otter.Options[uint64, *Entry]{
		Executor: o.execute,
		// Called with a bucket of otter locked: it may take the reclaimer's lock and no other.
		OnAtomicDeletion: o.gone,
	}
	if o.bytes {
		o.max = opts.MaxBytes - otterFixed
		config.MaximumWeight = uint64(o.max)
		config.Weigher = func(_ uint64, e *Entry) uint32 { return uint32(e.charge) }
	} else {
		config.MaximumSize = int(o.max)
	}
	o.limit = o.max + o.max/pendingFraction
	if !o.bytes {
		o.limit = max(o.limit, o.max+pendingFloor)
	}
	var err error
	if o.cache, err = otter.New(config); err != nil {
		return nil, fmt.Errorf("local: otter: %w", err)
	}
	return o, nil
}

func (o *otterEngine) capacity() int64 { return o.max }

// execute runs a maintenance task of otter. With an executor of one's own otter leaves what a task did not
// finish to the next read or write; an idle tier would stay above its bound.
func (o *otterEngine) execute(task func()) {
	o.tasks.Go(func() {
		task()
		for rounds := 0; o.over() && rounds < maxRounds; rounds++ {
			o.cache.CleanUp()
		}
	})
}

func (o *otterEngine) over() bool {
	if o.bytes {
		return o.cache.WeightedSize() > uint64(o.max)
	}
	return int64(o.cache.EstimatedSize()) > o.max
}

func (o *otterEngine) gone(event otter.DeletionEvent[uint64, *Entry]) {
	switch event.Cause {
	case otter.CauseReplacement: // by set, when the newer one is in the table: until then readers find this one
	case otter.CauseOverflow:
		o.ledger.bury(event.Value, causeEvicted)
	default:
		o.ledger.bury(event.Value, causeCleared) // set and drop have given their own cause before
	}
}

func (o *otterEngine) get(hash uint64) *Entry {
	if e, ok := o.cache.GetIfPresent(hash); ok && e.alive() {
		return e
	}
	return nil
}

func (o *otterEngine) current(hash uint64) *Entry {
	if entry, ok := o.cache.GetEntryQuietly(hash); ok && entry.Value.alive() {
		return entry.Value
	}
	return nil
}

func (o *otterEngine) set(e *Entry) bool {
	if e.charge > o.max || e.charge > math.MaxUint32 {
		o.remove(e.hash, nil)
		o.ledger.refuse()
		return false
	}
	if o.ledger.admitWithin(e, o.limit) {
		o.store(e)
		return true
	}
	// Otter evicts in tasks that may not get to run while there are writers. So writers make room themselves, one after the
	// other: at most one entry is above the limit.
	o.full.Lock()
	defer o.full.Unlock()
	for rounds := 0; o.ledger.charge.Load() > o.max && rounds < maxRounds; rounds++ {
		o.cache.CleanUp()
	}
	o.ledger.admit(e)
	o.store(e)
	if o.ledger.charge.Load() > o.limit {
		o.cache.CleanUp()
	}
	return true
}

func (o *otterEngine) store(e *Entry) {
	if older, first := o.cache.Set(e.hash, e); !first {
		o.ledger.bury(older, causeReplaced)
	}
	if !e.alive() {
		o.remove(e.hash, e) // it expired on the way in
	}
}

// maxRounds bounds how often otter is asked to evict until it is within its bound.
const maxRounds = 1000

func (o *otterEngine) drop(e *Entry, why cause) bool {
	if !o.ledger.bury(e, why) {
		return false
	}
	o.remove(e.hash, e)
	return true
}

// remove takes e out of the table; with e nil, whatever is there.
func (o *otterEngine) remove(hash uint64, e *Entry) {
	o.cache.ComputeIfPresent(hash, func(stored *Entry) (*Entry, otter.ComputeOp) {
		if e != nil && stored != e {
			return stored, otter.CancelOp
		}
		return nil, otter.InvalidateOp
	})
}

func (o *otterEngine) wait() { o.cache.CleanUp() }

func (o *otterEngine) clear() { o.cache.InvalidateAll() }

func (o *otterEngine) close() {
	o.tasks.Wait() // no operation is under way, so no task comes after
	for _, e := range o.cache.All() {
		o.ledger.bury(e, causeCleared)
	}
	o.cache.StopAllGoroutines()
	o.cache = nil // the scopes may outlive the tier; its memory need not
}
