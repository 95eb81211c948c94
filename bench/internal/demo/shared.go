package demo

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shared is the memory that all processes of a demo share: whether to stop, how far each instance has come, and
// the acknowledged version of each key. All of it is words that are read and written atomically.
//
//	word 0                       not zero: stop
//	word 8 + 8i … 8 + 8i + 7     counters of instance i, a cache line each
//	word headerWords + slot      the highest version of the key whose invalidation was acknowledged
type shared struct {
	mapping []byte
	words   []uint64
}

const headerWords = 512

// A counter of an instance, read by the parent while the instance runs.
type counter int

const (
	countDone counter = iota // requests answered, well or badly
	countNear
	countFar
	countLoad
	countUpdates
	countStale
	countErrors
	counters
)

func createShared(path string, slots int) (*shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("demo: shared memory: %w", err)
	}
	if err := f.Truncate(int64(headerWords+slots) * 8); err != nil {
		return nil, fmt.Errorf("demo: shared memory: %w", errors.Join(err, f.Close()))
	}
	return mapShared(f)
}

func openShared(path string) (*shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("demo: shared memory: %w", err)
	}
	return mapShared(f)
}

// mapShared maps a file and closes it: the mapping outlives the descriptor.
func mapShared(f *os.File) (*shared, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("demo: shared memory: %w", errors.Join(err, f.Close()))
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("demo: shared memory: %w", err)
	}
	// A mapping begins at a page, so its words are aligned.
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mapping[0])), len(mapping)/8)
	return &shared{mapping: mapping, words: words}, nil
}

// close unmaps the memory. Nobody may use it any more.
func (s *shared) close() error {
	s.words = nil
	return unix.Munmap(s.mapping)
}

func (s *shared) stop()         { atomic.StoreUint64(&s.words[0], 1) }
func (s *shared) stopped() bool { return atomic.LoadUint64(&s.words[0]) != 0 }

func (s *shared) add(instance int, c counter, n uint64) {
	atomic.AddUint64(&s.words[8+8*instance+int(c)], n)
}

func (s *shared) count(instance int, c counter) uint64 {
	return atomic.LoadUint64(&s.words[8+8*instance+int(c)])
}

func (s *shared) acked(slot uint32) uint64 {
	return atomic.LoadUint64(&s.words[headerWords+slot])
}

// ack raises the acknowledged version of a key; acknowledgements may come in any order.
func (s *shared) ack(slot uint32, version uint64) {
	word := &s.words[headerWords+slot]
	for {
		known := atomic.LoadUint64(word)
		if known >= version || atomic.CompareAndSwapUint64(word, known, version) {
			return
		}
	}
}
