package invalidation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/doppio-cache/doppio/internal/lane"
)

// MessageType says what a message invalidates.
type MessageType uint8

// The types of message.
const (
	TypeKeys    MessageType = 1 // the entries and tags with these hashes
	TypeCaches  MessageType = 2 // every local entry of the caches with these hashes
	TypeAll     MessageType = 3 // every entry, local and remote
	TypeFilled  MessageType = 4 // nothing: the leases of the keys with these hashes were filled or released
	TypeCleared MessageType = 5 // every local entry of the caches with these hashes, and every older remote entry
)

const (
	magic       = 0xC1
	fixedSize   = 36 // all but the hashes
	flagTrace   = 0x80
	traceSize   = 25
	maxHashes   = math.MaxUint16
	offPrevious = 2
	offID       = offPrevious + lane.WireSize
	offPub      = offID + lane.WireSize
	offCount    = offPub + 8
)

// Message is one announcement. On the wire, big-endian:
//
//	0xC1 type(1) previous(8+4) id(8+4) publisher(8) [trace(25)] count(2) count×hash(8)
//
// ID and Previous are the stream ids of this message and of the message before it in the lane,
// ms<<20|seq. The server sets both. A sender puts there what it knows: the newest id of the lane in
// Previous, and the newest floor of all caches in ID, or 0. From these the server sees whether it
// has lost messages. A message that is published with both at 0 is outside the lane: a receiver
// that misses it misses no invalidation.
type Message struct {
	Type      MessageType
	Previous  uint64
	ID        uint64
	Publisher uint64
	Trace     []byte // a trace context of 25 bytes, or empty
	Hashes    []uint64
}

// ErrMalformed is returned for bytes that are no message of this version.
var ErrMalformed = errors.New("invalidation: malformed message")

// Append appends the encoded message to dst. It returns an error for more than 65,535 hashes, for
// an unknown type, and for a trace context that has another size than 25 bytes.
func (m *Message) Append(dst []byte) ([]byte, error) {
	if len(m.Hashes) > maxHashes {
		return dst, fmt.Errorf("invalidation: %d hashes in a message, at most %d", len(m.Hashes), maxHashes)
	}
	if m.Type < TypeKeys || m.Type > TypeCleared {
		return dst, fmt.Errorf("invalidation: message of type %d", m.Type)
	}
	kind := byte(m.Type)
	if len(m.Trace) == traceSize {
		kind |= flagTrace
	} else if len(m.Trace) != 0 {
		return dst, fmt.Errorf("invalidation: trace context of %d bytes, want %d", len(m.Trace), traceSize)
	}
	dst = slices.Grow(dst, fixedSize+len(m.Trace)+8*len(m.Hashes))
	dst = append(dst, magic, kind)
	dst = lane.ID(m.Previous).AppendWire(dst)
	dst = lane.ID(m.ID).AppendWire(dst)
	dst = binary.BigEndian.AppendUint64(dst, m.Publisher)
	dst = append(dst, m.Trace...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Hashes)))
	for _, h := range m.Hashes {
		dst = binary.BigEndian.AppendUint64(dst, h)
	}
	return dst, nil
}

// Parse decodes a message. Every error matches ErrMalformed.
func Parse(data []byte) (Message, error) {
	m, err := decode(data)
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// decode decodes a message. If it returns an error, the message has its ids all the same, provided
// that they could be read.
func decode(data []byte) (Message, error) {
	if len(data) < offPub || data[0] != magic {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	previous, err := lane.FromWire(data[offPrevious:])
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	id, err := lane.FromWire(data[offID:])
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m, err := parse(data[:offPrevious], data[offPub:], previous, id)
	if err != nil {
		return Message{Previous: uint64(previous), ID: uint64(id)}, err
	}
	return m, nil
}

// parseStored decodes a message as the lane's stream holds it, which is without its ids.
func parseStored(data []byte, previous, id lane.ID) (Message, error) {
	if len(data) < offPrevious {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	return parse(data[:offPrevious], data[offPrevious:], previous, id)
}

// parse decodes a message from the bytes before its ids and the bytes after them. It keeps neither
// slice.
func parse(head, body []byte, previous, id lane.ID) (Message, error) {
	if len(body) < fixedSize-offPub || head[0] != magic {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(head)+len(body))
	}
	m := Message{
		Type: MessageType(head[1] &^ flagTrace), Previous: uint64(previous), ID: uint64(id), Publisher: binary.BigEndian.Uint64(body),
	}
	if m.Type < TypeKeys || m.Type > TypeCleared {
		return Message{}, fmt.Errorf("%w: type %d", ErrMalformed, m.Type)
	}
	rest := body[offCount-offPub:]
	if head[1]&flagTrace != 0 {
		if len(rest) < traceSize+2 {
			return Message{}, fmt.Errorf("%w: cut short in its trace context", ErrMalformed)
		}
		m.Trace, rest = slices.Clone(rest[:traceSize]), rest[traceSize:]
	}
	count := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	if len(rest) != 8*count {
		return Message{}, fmt.Errorf("%w: %d bytes for %d hashes", ErrMalformed, len(rest), count)
	}
	m.Hashes = make([]uint64, count)
	for i := range m.Hashes {
		m.Hashes[i] = binary.BigEndian.Uint64(rest[8*i:])
	}
	return m, nil
}
