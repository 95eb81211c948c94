package fleet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

// Dealt are requests that are dealt to the instances of a run in turn, in place of those that
// workers choose by themselves.
type Dealt struct {
	Path  string // of the file that a [Dealer] wrote
	Count int64
}

const (
	dealtSize = 4       // bytes of a request in the file
	updateBit = 1 << 31 // of a request: it is an update

	// MaxDealtKeys is how many keys there may be of requests that are dealt.
	MaxDealtKeys = updateBit
)

// Dealer writes the requests of a [Dealt].
type Dealer struct {
	file  *os.File
	w     *bufio.Writer
	count int64
}

// NewDealer begins a file of requests.
func NewDealer(path string) (*Dealer, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fleet: requests: %w", err)
	}
	return &Dealer{file: file, w: bufio.NewWriter(file)}, nil
}

// Deal writes a request for a key of the source. An error is kept for Close.
func (d *Dealer) Deal(key uint32, update bool) {
	if update {
		key |= updateBit
	}
	d.count++
	// Flush returns its error again.
	_, _ = d.w.Write(binary.LittleEndian.AppendUint32(d.w.AvailableBuffer(), key))
}

// Close ends the file.
func (d *Dealer) Close() (*Dealt, error) {
	if err := errors.Join(d.w.Flush(), d.file.Close()); err != nil {
		return nil, fmt.Errorf("fleet: requests: %w", err)
	}
	return &Dealt{Path: d.file.Name(), Count: d.count}, nil
}

// hand is the share of one instance in requests that are dealt: every so many of them.
type hand struct {
	mapping   []byte
	first, of int64
	taken     atomic.Int64
}

func openHand(path string, instanceNumber, instances int) (*hand, error) {
	mapping, err := MapFile(path)
	if err != nil {
		return nil, fmt.Errorf("fleet: requests: %w", err)
	}
	return &hand{mapping: mapping, first: int64(instanceNumber), of: int64(instances)}, nil
}

// next returns the next request. It returns false after the last.
func (h *hand) next() (key int, update, ok bool) {
	at := (h.first + h.of*(h.taken.Add(1)-1)) * dealtSize
	if at+dealtSize > int64(len(h.mapping)) {
		return 0, false, false
	}
	word := binary.LittleEndian.Uint32(h.mapping[at:])
	return int(word &^ updateBit), word&updateBit != 0, true
}

func (h *hand) close() error { return Unmap(h.mapping) }

// awaitDealt waits until all requests have been answered, or the run's time is over.
func (f *fleet) awaitDealt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Duration)
	defer cancel()
	for harness.Sleep(ctx, reportEvery) {
		if int64(f.counts()[Done]) >= f.cfg.Dealt.Count {
			// Messages of the last updates may still arrive, and count.
			harness.Sleep(ctx, 2*reportEvery)
			return
		}
	}
}

// awaitMeasurement waits for the measurement to begin: all requests that are dealt belong to it. It
// returns false when ctx ends first.
func (m *member) awaitMeasurement(ctx context.Context) bool {
	for !m.Shared.Raised(Measure) {
		if !harness.Sleep(ctx, time.Millisecond) {
			return false
		}
	}
	return true
}
