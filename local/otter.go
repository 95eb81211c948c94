package local

import (
	"fmt"
	"math"
	"sync"

	"github.com/maypok86/otter/v2"
)

// otterEngine is otter behind the engine interface. Otter applies writes at once. Only eviction
// happens later, in tasks, which the engine counts so that close can wait for them.
type otterEngine struct {
	cache    *otter.Cache[uint64, *Entry]
	accounts *accounting
	max      int64
	bytes    bool
	tasks    sync.WaitGroup

	limit    int64      // of the charge of all entries while otter has not applied all writes
	evicting sync.Mutex // held by the writer that makes room
}

func newOtter(opts Options, l *accounting) (*otterEngine, error) {
	o := &otterEngine{accounts: l, max: opts.MaxEntries, bytes: opts.MaxBytes > 0}
	config := &otter.Options[uint64, *Entry]{
		Executor: o.execute,
		// It is called with a bucket of otter locked: it may take the lock of the expirer and no
		// other.
		OnAtomicDeletion: o.onRemoved,
	}
	if o.bytes {
		o.max = opts.MaxBytes - otterFixed
		config.MaximumWeight = uint64(o.max)
		config.Weigher = func(_ uint64, e *Entry) uint32 { return uint32(e.charge) }
	} else {
		config.MaximumSize = int(o.max)
	}
	o.limit = o.max + o.max/bufferFraction
	if !o.bytes {
		o.limit = max(o.limit, o.max+minBufferedCharge)
	}
	var err error
	if o.cache, err = otter.New(config); err != nil {
		return nil, fmt.Errorf("local: otter: %w", err)
	}
	return o, nil
}

func (o *otterEngine) capacity() int64 { return o.max }

// execute runs a maintenance task of otter. With a custom executor, otter leaves the rest of an
// unfinished task to the next read or write; an idle tier would stay above its bound.
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

func (o *otterEngine) onRemoved(event otter.DeletionEvent[uint64, *Entry]) {
	switch event.Cause {
	case otter.CauseReplacement: // set counts it, when the newer entry is in the table: until then readers find this one
	case otter.CauseOverflow:
		o.accounts.remove(event.Value, causeEvicted)
	default:
		o.accounts.remove(event.Value, causeCleared) // set and remove have given another cause before
	}
}

func (o *otterEngine) get(hash uint64) *Entry {
	if e, ok := o.cache.GetIfPresent(hash); ok && e.alive() {
		return e
	}
	return nil
}

func (o *otterEngine) peek(hash uint64) *Entry {
	if entry, ok := o.cache.GetEntryQuietly(hash); ok && entry.Value.alive() {
		return entry.Value
	}
	return nil
}

func (o *otterEngine) set(e *Entry) bool {
	if e.charge > o.max || e.charge > math.MaxUint32 {
		o.removeStored(e.hash, nil)
		o.accounts.countRejected()
		return false
	}
	if o.accounts.addWithin(e, o.limit) {
		o.store(e)
		return true
	}
	// Otter evicts in tasks that may not run while there are writers. So writers make room
	// themselves, one after the other: at most one entry is above the limit.
	o.evicting.Lock()
	defer o.evicting.Unlock()
	for rounds := 0; o.accounts.charge.Load() > o.max && rounds < maxRounds; rounds++ {
		o.cache.CleanUp()
	}
	o.accounts.add(e)
	o.store(e)
	if o.accounts.charge.Load() > o.limit {
		o.cache.CleanUp()
	}
	return true
}

func (o *otterEngine) store(e *Entry) {
	if older, first := o.cache.Set(e.hash, e); !first {
		o.accounts.remove(older, causeReplaced)
	}
	if !e.alive() {
		o.removeStored(e.hash, e) // it has expired meanwhile
	}
}

// maxRounds bounds how often otter is asked to evict until it is within its bound.
const maxRounds = 1000

func (o *otterEngine) remove(e *Entry, why cause) bool {
	if !o.accounts.remove(e, why) {
		return false
	}
	o.removeStored(e.hash, e)
	return true
}

// removeStored removes e from otter, or the entry of the hash, whichever it is, if e is nil.
func (o *otterEngine) removeStored(hash uint64, e *Entry) {
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
	o.tasks.Wait() // no operation is under way, so no task is added
	for _, e := range o.cache.All() {
		o.accounts.remove(e, causeCleared)
	}
	o.cache.StopAllGoroutines()
	o.cache = nil // the scopes may outlive the tier: its memory is freed
}
