// Package trace reads request traces: one key per request, in the order in which a real system asked for them.
//
// A trace comes in one of seven formats, plain or compressed with gzip, xz or zstd:
//
//   - [Int32]: a stream of big-endian 32-bit integers, one per request
//   - [Int64]: a stream of big-endian 64-bit integers, one per request
//   - [ARC]: text, "start count …" a line: the blocks start … start+count−1, further columns are ignored
//   - [LIRS]: text, one block number a line; lines that begin with an asterisk are none
//   - [CSV]: text, a table with the key in one of its columns, as libCacheSim reads it: see [Columns]
//   - [Twitter]: text, the CSV of Twitter's cache clusters, of which the reads count: see [Options]
//   - [Lines]: text, one key a line
//
// Compression is told by the magic bytes at the start of the file, never by its name. With [Auto], the format is told by
// the content too; see [Detect] for how, and for when it gives up and asks.
//
// Readers stream: memory does not grow with the length of a trace.
package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
)

// Format says how the requests of a trace are written.
type Format string

// The formats.
const (
	Auto    Format = "auto"    // told by the content
	Int32   Format = "int32"   // big-endian 32-bit integers
	Int64   Format = "int64"   // big-endian 64-bit integers
	ARC     Format = "arc"     // lines of "start count …"
	LIRS    Format = "lirs"    // one block number a line, and asterisks
	CSV     Format = "csv"     // a table, of which a column is the key
	Twitter Format = "twitter" // lines of "timestamp,key,key size,value size,client id,operation,TTL"
	Lines   Format = "lines"   // one key a line
)

// Formats are all, Auto first.
var Formats = []Format{Auto, Int32, Int64, ARC, LIRS, CSV, Twitter, Lines}

// ParseFormat reads the name of a format. The empty name is [Auto].
func ParseFormat(s string) (Format, error) {
	if s == "" {
		return Auto, nil
	}
	if !slices.Contains(Formats, Format(s)) {
		return "", fmt.Errorf("trace: unknown format %q: want %s", s, FormatNames())
	}
	return Format(s), nil
}

// FormatNames lists the formats as a sentence does.
func FormatNames() string {
	var names []string
	for _, f := range Formats {
		names = append(names, string(f))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

var (
	// ErrTruncated marks a trace that ends inside a record or inside its compressed stream.
	ErrTruncated = errors.New("the trace is cut short")
	// ErrMalformed marks content that is not of the trace's format.
	ErrMalformed = errors.New("not of the trace's format")
	// ErrAmbiguous marks a binary trace that reads equally well as 32-bit and as 64-bit integers.
	ErrAmbiguous = errors.New("cannot tell 32-bit from 64-bit integers by the content: name the format")
	// ErrColumn marks a table of which the content does not show where the keys stand.
	ErrColumn = errors.New("cannot tell by the content which column holds the keys: name the column, or the format")
)

// Error says which trace could not be read, and where.
type Error struct {
	Name   string // of the file
	Offset int64  // in bytes, after decompression, of the record that could not be read
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("trace: %s: at byte %d (decompressed): %v", e.Name, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Source is a stream of keys. Next returns io.EOF after the last.
type Source interface {
	Next() (key uint64, err error)
	Close() error
}

// Reader reads the keys of one trace. It is not safe for concurrent use.
type Reader struct {
	name    string
	format  Format
	decoder decoder
	close   []func() error // innermost last
	err     error          // sticky
}

// decoder reads the next key, and knows the offset of the record it last began.
type decoder interface {
	next() (uint64, error)
	offset() int64
}

// Open opens a trace file.
func Open(path string, opts Options) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	r, err := NewReader(f, path, opts)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.close = append(r.close, f.Close)
	return r, nil
}

// NewReader reads a trace from src; name stands in errors. Closing the Reader does not close src.
func NewReader(src io.Reader, name string, opts Options) (*Reader, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	plain, closePlain, err := decompress(src)
	if err != nil {
		return nil, failure(name, 0, err)
	}
	r := &Reader{name: name, format: opts.Format}
	if closePlain != nil {
		r.close = append(r.close, closePlain)
	}
	if err := r.begin(plain, opts); err != nil {
		return nil, failure(name, 0, errors.Join(err, r.Close()))
	}
	return r, nil
}

// begin tells what the content must tell, and makes the decoder.
func (r *Reader) begin(plain *bufio.Reader, opts Options) error {
	var sample []byte
	var whole bool
	if r.format == Auto || r.format == CSV {
		var err error
		if sample, whole, err = peek(plain); err != nil {
			return err
		}
	}
	if r.format == Auto {
		var err error
		if r.format, err = Detect(sample, whole); err != nil {
			return err
		}
	}
	lines := lineScanner{r: plain}
	switch r.format {
	case Int32:
		r.decoder = &intDecoder{r: plain, size: 4}
	case Int64:
		r.decoder = &intDecoder{r: plain, size: 8}
	case ARC:
		r.decoder = &arcDecoder{lines: lines}
	case LIRS:
		r.decoder = &lirsDecoder{lines: lines}
	case Twitter:
		r.decoder = &twitterDecoder{lines: lines, all: opts.AllOperations}
	case CSV:
		layout, err := layOut(opts.CSV, sample)
		if err != nil {
			return err
		}
		lines.spaced = true
		r.decoder = &csvDecoder{lines: lines, layout: layout}
	default:
		r.decoder = &lineDecoder{lines: lines}
	}
	return nil
}

func failure(name string, offset int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return &Error{Name: name, Offset: offset, Err: err}
}

// Format tells the format in which the trace is read; never [Auto].
func (r *Reader) Format() Format { return r.format }

// Next returns the next key; io.EOF after the last, else an [*Error]. An error stays: every later call returns it again.
func (r *Reader) Next() (uint64, error) {
	if r.err != nil {
		return 0, r.err
	}
	key, err := r.decoder.next()
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, io.EOF) {
		err = failure(r.name, r.decoder.offset(), err)
	}
	r.err = err
	return 0, err
}

// All ranges over the keys that are left. An error is the last element.
func (r *Reader) All() iter.Seq2[uint64, error] {
	return All(r)
}

// All ranges over the keys that are left in a source. An error is the last element.
func All(s Source) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for {
			key, err := s.Next()
			if errors.Is(err, io.EOF) || !yield(key, err) || err != nil {
				return
			}
		}
	}
}

// Close releases the trace.
func (r *Reader) Close() error {
	var err error
	for _, c := range r.close {
		err = errors.Join(err, c())
	}
	r.close = nil
	if r.err == nil {
		r.err = &Error{Name: r.name, Err: os.ErrClosed}
	}
	return err
}
