package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// intDecoder reads big-endian integers of 4 or 8 bytes.
type intDecoder struct {
	r    io.Reader
	size int
	read int64 // bytes of whole records
	buf  [8]byte
}

func (d *intDecoder) offset() int64 { return d.read }

func (d *intDecoder) next() (uint64, error) {
	record := d.buf[:d.size]
	n, err := io.ReadFull(d.r, record)
	if err != nil {
		if n > 0 {
			err = fmt.Errorf("%d bytes of a record of %d: %w", n, d.size, err)
		}
		return 0, err
	}
	d.read += int64(n)
	if d.size == 4 {
		return uint64(binary.BigEndian.Uint32(record)), nil
	}
	return binary.BigEndian.Uint64(record), nil
}

// lineScanner reads lines of bounded length, without their end and the space around them, skipping blank ones.
type lineScanner struct {
	r      *bufio.Reader
	spaced bool  // keep the space: it may be an empty column
	begin  int64 // offset of the line last read
	read   int64
}

func (s *lineScanner) next() ([]byte, error) {
	for {
		s.begin = s.read
		line, err := s.r.ReadSlice('\n')
		s.read += int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: a line of over %d bytes", ErrMalformed, s.r.Size())
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			if s.spaced {
				trimmed = bytes.TrimRight(line, "\r\n")
			}
			return trimmed, nil // the end, if this was the last line, shows at the next call
		}
		if err != nil {
			return nil, err
		}
	}
}

// lineDecoder reads one key a line. A key of any spelling stands for itself, by its hash.
type lineDecoder struct{ lines lineScanner }

func (d *lineDecoder) offset() int64 { return d.lines.begin }

func (d *lineDecoder) next() (uint64, error) {
	line, err := d.lines.next()
	if err != nil {
		return 0, err
	}
	return xxhash.Sum64(line), nil
}

// maxBlocks bounds one line of an ARC trace, lest a spoilt line stand for a stream without end.
const maxBlocks = 1 << 24

// arcDecoder reads "start count …" and yields start … start+count−1.
type arcDecoder struct {
	lines lineScanner
	block uint64
	left  uint64
}

func (d *arcDecoder) offset() int64 { return d.lines.begin }

func (d *arcDecoder) next() (uint64, error) {
	for d.left == 0 {
		line, err := d.lines.next()
		if err != nil {
			return 0, err
		}
		if d.block, d.left, err = parseARC(line); err != nil {
			return 0, err
		}
	}
	block := d.block
	d.block++
	d.left--
	return block, nil
}

func parseARC(line []byte) (start, count uint64, err error) {
	var fields [2]uint64
	rest := line
	for i := range fields {
		rest = bytes.TrimLeft(rest, " \t")
		end := bytes.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		if fields[i], err = strconv.ParseUint(string(rest[:end]), 10, 64); err != nil {
			return 0, 0, fmt.Errorf("%w: want \"start count\" of decimal numbers, have %.40q", ErrMalformed, line)
		}
		rest = rest[end:]
	}
	start, count = fields[0], fields[1]
	if count > maxBlocks || start > math.MaxUint64-count {
		return 0, 0, fmt.Errorf("%w: %d blocks from %d on, allowed are %d a line", ErrMalformed, count, start, maxBlocks)
	}
	return start, count, nil
}
