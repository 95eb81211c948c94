package fleet

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shared is the memory that all processes of a run share: what to do now, how far each instance has come, and
// the acknowledged version of each key. All of it is words that are read and written atomically.
//
//	word 0 … 15                      flags
//	word 16 … 143                    notes of 2 words each, in a ring: see Note
//	word 256 + 64i … 256 + 64i + 63  counters of instance i, on cache lines of their own
//	word headerWords + slot          the highest version of the key whose invalidation was acknowledged
type Shared struct {
	mapping []byte
	words   []uint64
}

const (
	notesAt     = 16
	notes       = 64
	countersAt  = 256
	rowWords    = 64
	headerWords = countersAt + MaxInstances*rowWords

	// MaxInstances is how many instances have counters.
	MaxInstances = 64
)

// Flag is a word that the parent sets and instances look at.
type Flag int

// The flags.
const (
	Measure Flag = iota // record latencies, and answer requests that are dealt
	Calm                // nothing goes wrong any more, so that nothing may fail
	Reach               // find out whether all of Redis can be reached; see Reached
)

// Counter is one of an instance, read by the parent while the instance runs.
type Counter int

// The counters.
const (
	Done Counter = iota // requests answered, well or badly
	LocalReads
	RemoteReads
	LoadReads
	Updates
	Writes // updates that were tried, well or badly
	StaleReads
	Errors
	Received   // invalidations that arrived
	CPU        // microseconds of the process
	CoherentAt // not a count: when the instance last found itself coherent; 0: it is not
	Outside    // changes made from outside the workers
	Lost       // subscriptions to invalidations that were lost
	Applied    // not a count: the lane's id up to which the instance knows all changes
	Asked      // not a count: how often the parent has asked the writer for a probe; see Answered
	Answered   // not a count: the lane's id of the probe that was asked for last; 0: it is not made yet
	CalmErrors // of Errors, those of requests that began while Calm was raised
	Sent       // commands, to Redis
	Reached    // not a count: 1 once the instance has reached all of Redis since Reach was raised
	KindsAt    // the first of MaxKinds counters: of Errors, those of each kind
)

const (
	// DropsAt is the first of MaxDrops counters: of drops of the local tier, those for each reason.
	DropsAt     = KindsAt + MaxKinds
	numCounters = DropsAt + MaxDrops

	// MaxKinds is how many kinds of errors are told apart.
	MaxKinds = 12
	// MaxDrops is how many reasons of drops are.
	MaxDrops = 12
)

const _ = uint(rowWords - numCounters) // they fit

// NumCounters is how many counters an instance has.
const NumCounters = int(numCounters)

// CreateShared makes the memory, in a file that others open.
func CreateShared(path string, slots int) (*Shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fleet: shared memory: %w", err)
	}
	if err := f.Truncate(int64(headerWords+slots) * 8); err != nil {
		return nil, fmt.Errorf("fleet: shared memory: %w", errors.Join(err, f.Close()))
	}
	return mapShared(f)
}

// OpenShared opens what another process created.
func OpenShared(path string) (*Shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("fleet: shared memory: %w", err)
	}
	return mapShared(f)
}

// MapFile maps a file that is not empty, to be read.
func MapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return mapped(f, unix.PROT_READ)
}

// Unmap ends a mapping.
func Unmap(mapping []byte) error { return unix.Munmap(mapping) }

// mapped maps a file and closes it: the mapping outlives the descriptor.
func mapped(f *os.File, protection int) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), protection, unix.MAP_SHARED)
	return mapping, errors.Join(err, f.Close())
}

func mapShared(f *os.File) (*Shared, error) {
	mapping, err := mapped(f, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, fmt.Errorf("fleet: shared memory: %w", err)
	}
	// A mapping begins at a page, so its words are aligned.
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mapping[0])), len(mapping)/8)
	return &Shared{mapping: mapping, words: words}, nil
}

// Close unmaps the memory. Nobody may use it any more.
func (s *Shared) Close() error {
	s.words = nil
	return unix.Munmap(s.mapping)
}

// Raise sets a flag, and Lower takes it back.
func (s *Shared) Raise(f Flag) { atomic.StoreUint64(&s.words[f], 1) }

// Lower takes a flag back.
func (s *Shared) Lower(f Flag) { atomic.StoreUint64(&s.words[f], 0) }

// Raised tells whether a flag is set.
func (s *Shared) Raised(f Flag) bool { return atomic.LoadUint64(&s.words[f]) != 0 }

func (s *Shared) row(instance int, c Counter) *uint64 {
	return &s.words[countersAt+rowWords*instance+int(c)]
}

// Add adds to a counter.
func (s *Shared) Add(instance int, c Counter, n uint64) { atomic.AddUint64(s.row(instance, c), n) }

// Set sets what is not a count.
func (s *Shared) Set(instance int, c Counter, v uint64) { atomic.StoreUint64(s.row(instance, c), v) }

// Count reads a counter.
func (s *Shared) Count(instance int, c Counter) uint64 { return atomic.LoadUint64(s.row(instance, c)) }

// Counts reads all counters of an instance.
func (s *Shared) Counts(instance int) (n [NumCounters]uint64) {
	for c := range n {
		n[c] = s.Count(instance, Counter(c))
	}
	return n
}

// Note keeps a value and a time under a number, until 64 later numbers have been noted. There is one writer.
func (s *Shared) Note(number, value uint64, at int64) {
	at0 := notesAt + 2*(number%notes)
	atomic.StoreUint64(&s.words[at0], 0) // while it changes there is no note
	atomic.StoreUint64(&s.words[at0+1], uint64(at))
	atomic.StoreUint64(&s.words[at0], value)
}

// Noted gives what was noted under a number, 0 if nothing was yet. A caller must not be 64 numbers late.
func (s *Shared) Noted(number uint64) (value uint64, at int64) {
	at0 := notesAt + 2*(number%notes)
	value = atomic.LoadUint64(&s.words[at0])
	return value, int64(atomic.LoadUint64(&s.words[at0+1]))
}

// Acked is the highest version of a key whose invalidation was acknowledged.
func (s *Shared) Acked(slot uint32) uint64 {
	return atomic.LoadUint64(&s.words[headerWords+slot])
}

// Ack raises the acknowledged version of a key; acknowledgements may come in any order.
func (s *Shared) Ack(slot uint32, version uint64) {
	word := &s.words[headerWords+slot]
	for {
		known := atomic.LoadUint64(word)
		if known >= version || atomic.CompareAndSwapUint64(word, known, version) {
			return
		}
	}
}
