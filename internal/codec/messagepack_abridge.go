package codec

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// longArray is how many elements an array must have to be abridged. A struct that is stored as an
// array has fewer.
const longArray = 1024

// abridgeMessagePack copies a payload, and leaves in each long array only one of the elements that
// are neither arrays, maps nor nil. The library makes room for all elements of an array before it
// looks at the first, so an array of numbers where structs belong would take as much as the
// structs, though none of them can be read. Where such a payload does not decode, its abridged copy
// does not either, and finds that out in little room.
func abridgeMessagePack(payload []byte) []byte {
	a := abridger{messagePackScanner: messagePackScanner{data: payload}}
	if !a.one(0) {
		return payload
	}
	return a.out
}

type abridger struct {
	messagePackScanner
	out []byte
}

// one copies a value.
func (a *abridger) one(depth int) bool {
	if a.pos >= len(a.data) || depth > maxMessagePackDepth {
		return false
	}
	start, c := a.pos, a.data[a.pos]
	var n, inner uint64
	ok := true
	a.pos++
	switch {
	case c >= 0x90 && c <= 0x9f:
		n = uint64(c & 0x0f)
	case c >= 0x80 && c <= 0x8f:
		inner = 2 * uint64(c&0x0f)
	case c == 0xdc, c == 0xdd:
		n, ok = a.length(2 << (c - 0xdc))
	case c == 0xde, c == 0xdf:
		inner, ok = a.length(2 << (c - 0xde))
		inner *= 2
	default:
		a.pos = start
		ok = a.value(depth)
		a.out = append(a.out, a.data[start:a.pos]...)
		return ok
	}
	if !ok {
		return false
	}
	if n > longArray {
		return a.long(n, depth)
	}
	a.out = append(a.out, a.data[start:a.pos]...)
	for range n + inner {
		if !a.one(depth + 1) {
			return false
		}
	}
	return true
}

// long copies the n elements of an array.
func (a *abridger) long(n uint64, depth int) bool {
	header := len(a.out)
	a.out = append(a.out, 0xdd, 0, 0, 0, 0)
	kept, single := uint32(0), false
	for range n {
		if a.pos >= len(a.data) {
			return false
		}
		c, before := a.data[a.pos], len(a.out)
		if !a.one(depth + 1) {
			return false
		}
		if c >= 0x80 && c <= 0x9f || c >= 0xdc && c <= 0xdf || c == 0xc0 {
			kept++
		} else if single {
			a.out = a.out[:before]
		} else {
			kept, single = kept+1, true
		}
	}
	binary.BigEndian.PutUint32(a.out[header+1:], kept)
	return true
}

// An extension's body is opaque, but for one thing: where a map is expected, the library passes
// over the header of an extension and reads its body as the map. Then the lengths in it must be
// true as well.

// extension passes over an extension's body of n bytes, after its type. Where it holds a whole
// value, that is counted. One that begins like a map and is no value is noted, so that it is not
// read as one.
func (s *messagePackScanner) extension(n uint64) bool {
	s.parts.scalars++
	if !s.skip(1) {
		return false
	}
	at := s.pos
	if !s.skip(n) {
		return false
	}
	if s.inside || n == 0 {
		s.extensions = s.extensions || n > 0 && isMap(s.data[at])
		return true
	}
	body := messagePackScanner{data: s.data[at:s.pos], inside: true}
	switch {
	case body.value(0) && body.pos == len(body.data) && !body.extensions:
		s.parts.add(body.parts)
	case isMap(s.data[at]):
		s.noMaps = append(s.noMaps, at)
	}
	return true
}

func isMap(c byte) bool { return c >= 0x80 && c <= 0x8f || c == 0xde || c == 0xdf }

// messagePackSource is a reader that ends where a map would be read that has been found to be none.
type messagePackSource struct {
	bytes.Reader
	noMaps []int
}

// ReadByte is what the library reads the headers of values with; it reads the body of an extension
// with Read.
func (s *messagePackSource) ReadByte() (byte, error) {
	if len(s.noMaps) > 0 {
		if _, found := slices.BinarySearch(s.noMaps, int(s.Size())-s.Len()); found {
			return 0, errNoMap
		}
	}
	return s.Reader.ReadByte()
}
