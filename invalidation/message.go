package invalidation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Type says what a message invalidates.
type Type uint8

// The types of message.
const (
	Keys  Type = 1 // the entries and tags with these hashes
	Scope Type = 2 // everything of the caches with these hashes
	All   Type = 3 // everything
)

const (
	magic       = 0xC1
	fixedSize   = 36 // all but the hashes
	flagTrace   = 0x80
	traceSize   = 25
	maxHashes   = math.MaxUint16
	offPub      = 26
	offCount    = 34
	offPrevious = 2
)

// Message is one announcement. On the wire, big-endian:
//
//	0xC1 type(1) previous(8+4) id(8+4) publisher(8) [trace(25)] count(2) count×hash(8)
//
// Previous and id are the places of this message and of the one before it in the lane; they are zero while messages are
// not sequenced.
type Message struct {
	Type      Type
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
	if m.Type < Keys || m.Type > All {
		return dst, fmt.Errorf("invalidation: message of type %d", m.Type)
	}
	kind := byte(m.Type)
	if len(m.Trace) == traceSize {
		kind |= flagTrace
	} else if len(m.Trace) != 0 {
		return dst, fmt.Errorf("invalidation: trace context of %d bytes, want %d", len(m.Trace), traceSize)
	}
	dst = append(dst, magic, kind)
	dst = append(dst, make([]byte, offPub-offPrevious)...)
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
	if len(data) < fixedSize || data[0] != magic {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	m := Message{Type: Type(data[1] &^ flagTrace), Publisher: binary.BigEndian.Uint64(data[offPub:])}
	if m.Type < Keys || m.Type > All {
		return Message{}, fmt.Errorf("%w: type %d", ErrMalformed, m.Type)
	}
	rest := data[offCount:]
	if data[1]&flagTrace != 0 {
		if len(rest) < traceSize+2 {
			return Message{}, fmt.Errorf("%w: cut short in its trace context", ErrMalformed)
		}
		m.Trace, rest = rest[:traceSize:traceSize], rest[traceSize:]
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
