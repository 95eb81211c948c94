package trace

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// layout is what a CSV trace has where: its delimiter, and columns counted from 0, or −1.
type layout struct {
	delimiter      byte
	header         bool
	id, time, size int
}

// csvDecoder reads the key out of one column. Like in [Lines], a key of any spelling stands for itself, by its hash.
type csvDecoder struct {
	lines  lineScanner
	layout layout
	begun  bool
	fields [][]byte // reused
}

func (d *csvDecoder) offset() int64 { return d.lines.begin }

func (d *csvDecoder) next() (uint64, error) {
	line, err := d.lines.next()
	if err == nil && d.layout.header && !d.begun {
		line, err = d.lines.next()
	}
	d.begun = true
	if err != nil {
		return 0, err
	}
	if d.fields, err = splitFields(d.fields[:0], line, d.layout.delimiter); err != nil {
		return 0, err
	}
	for _, column := range []int{d.layout.time, d.layout.size} {
		if column < 0 {
			continue
		}
		if field, err := d.field(column); err != nil {
			return 0, err
		} else if !isNumber(field) {
			return 0, fmt.Errorf("%w: want a number in column %d, have %.40q", ErrMalformed, column+1, field)
		}
	}
	key, err := d.field(d.layout.id)
	if err != nil {
		return 0, err
	}
	if len(key) == 0 {
		return 0, fmt.Errorf("%w: no key in column %d", ErrMalformed, d.layout.id+1)
	}
	return xxhash.Sum64(key), nil
}

func (d *csvDecoder) field(column int) ([]byte, error) {
	if column >= len(d.fields) {
		return nil, fmt.Errorf("%w: %d columns, want column %d", ErrMalformed, len(d.fields), column+1)
	}
	return d.fields[column], nil
}

// splitFields appends the fields of a line, without the space around them. A field that begins with a quote ends with
// the next one that is not doubled, and may hold delimiters; no field holds a line's end.
func splitFields(fields [][]byte, line []byte, delimiter byte) ([][]byte, error) {
	for {
		start := bytes.TrimLeft(line, " ")
		if delimiter != ' ' && len(start) > 0 && start[0] == '"' {
			field, rest, err := quotedField(start[1:])
			if err != nil {
				return fields, err
			}
			fields = append(fields, field)
			rest = bytes.TrimLeft(rest, " ")
			if len(rest) == 0 {
				return fields, nil
			}
			if rest[0] != delimiter {
				return fields, fmt.Errorf("%w: %.40q after a quoted field", ErrMalformed, rest)
			}
			line = rest[1:]
			continue
		}
		end := bytes.IndexByte(line, delimiter)
		if end < 0 {
			return append(fields, bytes.TrimSpace(line)), nil
		}
		fields = append(fields, bytes.TrimSpace(line[:end]))
		line = line[end+1:]
	}
}

// quotedField reads to the closing quote, in place: what is unquoted is never longer.
func quotedField(line []byte) (field, rest []byte, err error) {
	field = line[:0]
	for i := 0; i < len(line); i++ {
		if line[i] == '"' {
			if i+1 == len(line) || line[i+1] != '"' {
				return field, line[i+1:], nil
			}
			i++
		}
		field = append(field, line[i])
	}
	return nil, nil, fmt.Errorf("%w: a quote that nothing closes", ErrMalformed)
}

func isNumber(field []byte) bool {
	if len(field) == 0 || len(field) > 40 {
		return false
	}
	// Digits with at most a point are nearly all there is, and need no copy.
	points := 0
	for _, b := range field {
		switch {
		case b == '.':
			points++
		case b < '0' || b > '9':
			_, err := strconv.ParseFloat(string(field), 64)
			return err == nil
		}
	}
	return points < len(field) && points < 2
}

// number reads a field that is one.
func number(field []byte) (float64, bool) {
	f, err := strconv.ParseFloat(string(field), 64)
	return f, err == nil
}
