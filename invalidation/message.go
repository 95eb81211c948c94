package invalidation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/doppio-cache/doppio/internal/lane"
)

// Type says what a message invalidates.
type Type uint8

// The types of message.
const (
	Keys    Type = 1 // the entries and tags with these hashes
	Scope   Type = 2 // everything near of the caches with these hashes
	All     Type = 3 // everything, near and far
	Filled  Type = 4 // nothing: the leases of the keys with these hashes were filled or given back, so whoever waits may look
	Cleared Type = 5 // everything of the caches with these hashes, near, and far what is older than the message
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
// Previous and ID are the places, in the lane, of the message before this one and of this one: ids
// of the stream, ms<<20|seq. The server fills them in. The sender puts there what it knows: the
// newest id of the lane in Previous, and the newest floor of all caches in ID, from which the
// server sees whether it has lost anything; 0 is for nothing. A message that is published with
// zeros is outside the lane: a subscriber that misses it misses nothing.
type Message struct {
	Type      Type
	Previous  uint64
	ID        uint64
	Publisher uint64
	Trace     []byte // 25 bytes, or none
	Hashes    []uint64
}

// ErrMalformed reports bytes that are no message of this version.
var ErrMalformed = errors.New("invalidation: malformed message")

// Append appends the encoded message to dst. A message holds 65,535 hashes at most; more are an error.
func (m *Message) Append(dst []byte) ([]byte, error) {
	if len(m.Hashes) > maxHashes {
		return dst, fmt.Errorf("invalidation: %d hashes in a message, at most %d", len(m.Hashes), maxHashes)
	}
	if m.Type < Keys || m.Type > Cleared {
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

// Parse decodes a message. Whatever is wrong with it is an error that matches ErrMalformed.
func Parse(data []byte) (Message, error) {
	previous, id, err := places(data)
	if err != nil {
		return Message{}, err
	}
	return parse(data[:offPrevious], data[offPub:], previous, id)
}

// places reads where in the lane a message is, also of one that cannot be read otherwise.
func places(data []byte) (previous, id lane.ID, err error) {
	if len(data) < offPub || data[0] != magic {
		return 0, 0, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	previous, err = lane.FromWire(data[offPrevious:])
	if err == nil {
		id, err = lane.FromWire(data[offID:])
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return previous, id, nil
}

// parseStored decodes a message as the lane's stream holds it, which is without its places.
func parseStored(data []byte, previous, id lane.ID) (Message, error) {
	if len(data) < offPrevious {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	return parse(data[:offPrevious], data[offPrevious:], previous, id)
}

// parse decodes a message of which head comes before its places, and body after. It keeps nothing of either.
func parse(head, body []byte, previous, id lane.ID) (Message, error) {
	if len(body) < fixedSize-offPub || head[0] != magic {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(head)+len(body))
	}
	m := Message{
		Type: Type(head[1] &^ flagTrace), Previous: uint64(previous), ID: uint64(id), Publisher: binary.BigEndian.Uint64(body),
	}
	if m.Type < Keys || m.Type > Cleared {
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
