package demo

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// The parent speaks to an instance over its standard input: one line of JSON, the instanceConfig; then frames, each a
// count (4 bytes, big-endian) and that many requests of 12 bytes; then a frame of no requests; and when all instances
// have answered all of theirs, the end of the input. An end without that frame means that the parent is gone. The
// instance answers on its standard output, with a message of JSON a line.

// instanceConfig is what an instance needs to know. It goes by standard input rather than by arguments, which anyone can list.
type instanceConfig struct {
	Index       int
	Workers     int
	RedisURL    string
	Namespace   string
	NearEntries int64
	TTL         time.Duration
	Paths       instance.Paths
}

// message is what an instance says: first that it is ready, then that it has answered all requests, last its result.
type message = instance.Message[instanceResult]

// request is one request of the trace.
type request struct {
	slot   uint32 // the key's index among the distinct keys
	update bool
	key    uint64 // as it stands in the trace
}

const (
	requestSize = 12
	updateBit   = 1 << 31
	batchSize   = 64
	maxSlots    = updateBit
)

// writeBatch writes a frame. A frame of no requests is the last.
func writeBatch(w *bufio.Writer, batch []request) error {
	b := binary.BigEndian.AppendUint32(w.AvailableBuffer(), uint32(len(batch)))
	for _, r := range batch {
		slot := r.slot
		if r.update {
			slot |= updateBit
		}
		b = binary.BigEndian.AppendUint32(b, slot)
		b = binary.BigEndian.AppendUint64(b, r.key)
	}
	_, err := w.Write(b)
	return err
}

// readBatch reads a frame; io.EOF after the last one, instance.ErrParentGone if the input ends without it.
func readBatch(r *bufio.Reader) ([]request, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, instance.ParentGone(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 {
		return nil, io.EOF
	}
	if n > batchSize {
		return nil, fmt.Errorf("demo: a frame of %d requests, at most %d are allowed", n, batchSize)
	}
	var body [batchSize * requestSize]byte
	if _, err := io.ReadFull(r, body[:n*requestSize]); err != nil {
		return nil, instance.ParentGone(err)
	}
	batch := make([]request, n)
	for i := range batch {
		b := body[i*requestSize:]
		slot := binary.BigEndian.Uint32(b)
		batch[i] = request{slot: slot &^ updateBit, update: slot&updateBit != 0, key: binary.BigEndian.Uint64(b[4:])}
	}
	return batch, nil
}
