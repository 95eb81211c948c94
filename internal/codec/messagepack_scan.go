package codec

import (
	"encoding/binary"
	"fmt"
)

// maxMessagePackDepth is the depth that encoding/json allows.
const maxMessagePackDepth = 10_000

// scanMessagePack accepts exactly one well-formed value: every declared length is covered by bytes
// that are there, and no nesting is deeper than the stack can bear. It returns where the library
// must not read a map.
func scanMessagePack(data []byte) (noMaps []int, err error) {
	s := messagePackScanner{data: data}
	if !s.value(0) || s.pos != len(data) {
		return nil, &ValueError{Codec: "msgpack", Detail: fmt.Sprintf("malformed MessagePack at byte %d", s.pos), kind: ErrDecode}
	}
	return s.noMaps, nil
}

type messagePackScanner struct {
	data  []byte
	pos   int
	parts parts // of what was passed
	// inside is true in the body of an extension, where extensions is set if there is another one
	// that begins like a map.
	inside, extensions bool
	noMaps             []int // where bodies of extensions begin that must not be read as maps
}

// value skips one value, and reports whether there was one.
func (s *messagePackScanner) value(depth int) bool {
	if s.pos >= len(s.data) || depth > maxMessagePackDepth {
		return false
	}
	c := s.data[s.pos]
	s.pos++
	switch {
	case c >= 0x80 && c <= 0x8f: // fixmap
		return s.members(uint64(c&0x0f), depth)
	case c >= 0x90 && c <= 0x9f: // fixarray
		s.parts.containers++
		return s.values(uint64(c&0x0f), depth)
	case c == 0xc0: // nil
		s.parts.nulls++
		return true
	}
	switch {
	case c >= 0xc7 && c <= 0xc9: // ext
		n, ok := s.length(1 << (c - 0xc7))
		return ok && s.extension(n)
	case c >= 0xd4 && c <= 0xd8: // fixext
		return s.extension(1 << (c - 0xd4))
	case c < 0xdc || c > 0xdf:
		s.parts.scalars++
	}
	switch {
	case c <= 0x7f, c >= 0xe0: // fixint
		return true
	case c <= 0xbf: // fixstr
		return s.skip(uint64(c & 0x1f))
	}
	switch c {
	case 0xc2, 0xc3: // false, true
		return true
	case 0xc4, 0xc5, 0xc6: // bin
		return s.sized(1 << (c - 0xc4))
	case 0xca, 0xcb: // float
		return s.skip(4 << (c - 0xca))
	case 0xcc, 0xcd, 0xce, 0xcf: // uint
		return s.skip(1 << (c - 0xcc))
	case 0xd0, 0xd1, 0xd2, 0xd3: // int
		return s.skip(1 << (c - 0xd0))
	case 0xd9, 0xda, 0xdb: // str
		return s.sized(1 << (c - 0xd9))
	case 0xdc, 0xdd: // array
		n, ok := s.length(2 << (c - 0xdc))
		s.parts.containers++
		return ok && s.values(n, depth)
	case 0xde, 0xdf: // map
		n, ok := s.length(2 << (c - 0xde))
		return ok && s.members(n, depth)
	default: // 0xc1 is never used
		return false
	}
}

// members skips n keys with their values.
func (s *messagePackScanner) members(n uint64, depth int) bool {
	s.parts.object(n)
	return s.values(2*n, depth)
}

// values skips n values; each takes a byte at least.
func (s *messagePackScanner) values(n uint64, depth int) bool {
	if n > uint64(len(s.data)-s.pos) {
		return false
	}
	for range n {
		if !s.value(depth + 1) {
			return false
		}
	}
	return true
}

// sized skips what a length of width bytes announces.
func (s *messagePackScanner) sized(width int) bool {
	n, ok := s.length(width)
	return ok && s.skip(n)
}

func (s *messagePackScanner) length(width int) (uint64, bool) {
	at := s.pos
	if !s.skip(uint64(width)) {
		return 0, false
	}
	switch width {
	case 1:
		return uint64(s.data[at]), true
	case 2:
		return uint64(binary.BigEndian.Uint16(s.data[at:])), true
	default:
		return uint64(binary.BigEndian.Uint32(s.data[at:])), true
	}
}

func (s *messagePackScanner) skip(n uint64) bool {
	if n > uint64(len(s.data)-s.pos) {
		return false
	}
	s.pos += int(n)
	return true
}
