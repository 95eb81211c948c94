package instance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Entry is a line of one of the two logs that an instance keeps: an invalidation of a version that was acknowledged, and
// when; or a stale read of a version, and when it began.
type Entry struct {
	Slot    uint32
	Version uint64
	At      int64 // of the machine's monotonic clock, in ns
	Tier    Tier  // that answered a stale read
}

// EntrySize is how many bytes an entry takes.
const EntrySize = 21

// Log appends entries to a file, each at once, so that a killed process leaves all that it logged. It is safe for concurrent
// use.
type Log struct {
	mu   sync.Mutex
	file *os.File
	err  error // guarded by mu; the first, which Close returns
}

// CreateLog makes an empty log.
func CreateLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("instance: log: %w", err)
	}
	return &Log{file: f}, nil
}

// Append appends an entry.
func (l *Log) Append(e Entry) {
	var b [EntrySize]byte
	binary.BigEndian.PutUint32(b[:], e.Slot)
	binary.BigEndian.PutUint64(b[4:], e.Version)
	binary.BigEndian.PutUint64(b[12:], uint64(e.At))
	b[20] = byte(e.Tier)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		_, l.err = l.file.Write(b[:])
	}
}

// Close closes the log and tells whether all of it was written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.err, l.file.Close()); err != nil {
		return fmt.Errorf("instance: log: %w", err)
	}
	return nil
}

// ReadLog calls f for each entry of a log.
func ReadLog(path string, f func(Entry) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("instance: log: %w", err)
	}
	defer file.Close()
	r := bufio.NewReader(file)
	var b [EntrySize]byte
	for {
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("instance: log %s: %w", path, err)
		}
		e := Entry{
			Slot:    binary.BigEndian.Uint32(b[:]),
			Version: binary.BigEndian.Uint64(b[4:]),
			At:      int64(binary.BigEndian.Uint64(b[12:])),
			Tier:    Tier(b[20]),
		}
		if e.Tier >= Tiers {
			return fmt.Errorf("instance: log %s: tier %d", path, e.Tier)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}
