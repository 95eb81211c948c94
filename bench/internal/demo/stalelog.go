package demo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// entry is a line of one of the two logs that an instance keeps: an invalidation of a version that was acknowledged, and
// when; or a stale read of a version, and when it began.
type entry struct {
	slot    uint32
	version uint64
	at      int64 // of the machine's monotonic clock, in ns
	tier    tier  // that answered a stale read
}

const entrySize = 21

// entryLog appends entries to a file. It is safe for concurrent use.
type entryLog struct {
	mu   sync.Mutex
	file *os.File
	w    *bufio.Writer // guarded by mu; keeps its first error, which close returns
}

func createLog(path string) (*entryLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("demo: log: %w", err)
	}
	return &entryLog{file: f, w: bufio.NewWriter(f)}, nil
}

func (l *entryLog) append(e entry) {
	var b [entrySize]byte
	binary.BigEndian.PutUint32(b[:], e.slot)
	binary.BigEndian.PutUint64(b[4:], e.version)
	binary.BigEndian.PutUint64(b[12:], uint64(e.at))
	b[20] = byte(e.tier)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(b[:]) // the writer keeps the error
}

func (l *entryLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.w.Flush(), l.file.Close()); err != nil {
		return fmt.Errorf("demo: log: %w", err)
	}
	return nil
}

// readLog calls f for each entry of a log.
func readLog(path string, f func(entry) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("demo: log: %w", err)
	}
	defer file.Close()
	r := bufio.NewReader(file)
	var b [entrySize]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("demo: log %s: %w", path, err)
		}
		e := entry{
			slot:    binary.BigEndian.Uint32(b[:]),
			version: binary.BigEndian.Uint64(b[4:]),
			at:      int64(binary.BigEndian.Uint64(b[12:])),
			tier:    tier(b[20]),
		}
		if e.tier >= tiers {
			return fmt.Errorf("demo: log %s: tier %d", path, e.tier)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}
