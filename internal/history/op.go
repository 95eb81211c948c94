package history

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Kind says what a line of a log is about.
type Kind byte

// The kinds, by the letter that begins their lines.
const (
	Hello   Kind = 'h'
	Commit  Kind = 'c'
	Begin   Kind = 's'
	Acked   Kind = 'a'
	Failed  Kind = 'f' // it did not happen
	Unknown Kind = 'u' // it may have happened
	Read    Kind = 'r'
	Poll    Kind = 'p'
	Gone    Kind = 'x'
)

// Method is how a change was told to the cache.
type Method byte

// The methods.
const (
	Delete Method = 'd'
	Set    Method = 's'
)

// Tier says what answered a read.
type Tier byte

// The tiers.
const (
	Local  Tier = 'n'
	Remote Tier = 'f'
	Load   Tier = 'l'
	Old    Tier = 'o' // a value past its life, given because a load failed
)

// Result says what a read or a poll gave.
type Result byte

// The results.
const (
	Value   Result = 'v'
	Nothing Result = '-'
	Error   Result = '!'
	Foreign Result = '?' // another key's value, or an unreadable one
)

// Op is one line of a log.
type Op struct {
	Kind     Kind
	Start    int64 // when it began, or happened
	End      int64 // Read and Poll: when it returned; else as Start
	Change   uint64
	Key      uint32
	Version  uint64 // 0 if Result is not Value
	Method   Method
	Tier     Tier
	Result   Result
	Instance string        // Hello and Gone
	Bound    time.Duration // Hello
}

// errLine says that a line is none of the format's.
var errLine = errors.New("history: malformed line")

// Append appends the operation's line, with its newline, to dst.
func (o Op) Append(dst []byte) []byte {
	dst = append(dst, byte(o.Kind))
	if o.Kind == Hello {
		dst = append(append(dst, ' '), o.Instance...)
		dst = strconv.AppendInt(append(dst, ' '), int64(o.Bound), 10)
		return append(dst, '\n')
	}
	dst = strconv.AppendInt(append(dst, ' '), o.Start, 10)
	number := func(n uint64) { dst = strconv.AppendUint(append(dst, ' '), n, 10) }
	switch o.Kind {
	case Commit:
		number(uint64(o.Key))
		number(o.Version)
	case Begin:
		number(o.Change)
		number(uint64(o.Key))
		number(o.Version)
		dst = append(dst, ' ', byte(o.Method))
	case Read, Poll:
		dst = strconv.AppendInt(append(dst, ' '), o.End, 10)
		number(uint64(o.Key))
		if o.Kind == Read {
			dst = append(dst, ' ', byte(o.Tier))
		}
		if o.Result == Value {
			number(o.Version)
		} else {
			dst = append(dst, ' ', byte(o.Result))
		}
	case Gone:
		dst = append(append(dst, ' '), o.Instance...)
	default:
		number(o.Change)
	}
	return append(dst, '\n')
}

// String is the operation's line.
func (o Op) String() string { return strings.TrimSuffix(string(o.Append(nil)), "\n") }

// fields reads the fields of a line one after another, and keeps the first error.
type fields struct {
	rest string
	err  error
}

func (f *fields) next() string {
	if f.rest == "" {
		f.err = errLine
	}
	field, rest, more := strings.Cut(f.rest, " ")
	if field == "" || (more && rest == "") {
		f.err = errLine
	}
	f.rest = rest
	return field
}

// number reads a number as Append writes it: without a sign or leading zeros.
func (f *fields) number(limit uint64) uint64 {
	s := f.next()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > limit || (len(s) > 1 && s[0] == '0') {
		f.err = errLine
	}
	return n
}

func (f *fields) time() int64 { return int64(f.number(math.MaxInt64)) }

func (f *fields) oneOf(letters string) byte {
	s := f.next()
	if len(s) != 1 || !strings.Contains(letters, s) {
		f.err = errLine
		return 0
	}
	return s[0]
}

// parseLine reads a line without its newline.
func parseLine(line string) (Op, error) {
	f := fields{rest: line}
	o := Op{Kind: Kind(f.oneOf("hcsafurpx"))}
	if o.Kind == Hello {
		o.Instance, o.Bound = f.next(), time.Duration(f.time())
		return o, f.end(line)
	}
	o.Start = f.time()
	o.End = o.Start
	switch o.Kind {
	case Commit:
		o.Key, o.Version = uint32(f.number(math.MaxUint32)), f.version()
	case Begin:
		o.Change, o.Key = f.number(math.MaxUint64), uint32(f.number(math.MaxUint32))
		o.Version, o.Method = f.version(), Method(f.oneOf("ds"))
	case Read, Poll:
		if o.End = f.time(); o.End < o.Start {
			f.err = errLine
		}
		o.Key = uint32(f.number(math.MaxUint32))
		if o.Kind == Read {
			o.Tier = Tier(f.oneOf("nflo"))
		}
		if f.rest == "-" || f.rest == "!" || f.rest == "?" {
			o.Result = Result(f.oneOf("-!?"))
		} else {
			o.Result, o.Version = Value, f.version()
		}
	case Gone:
		o.Instance = f.next()
	default:
		o.Change = f.number(math.MaxUint64)
	}
	return o, f.end(line)
}

// version reads a version: 0 is none.
func (f *fields) version() uint64 {
	v := f.number(math.MaxUint64)
	if v == 0 {
		f.err = errLine
	}
	return v
}

func (f *fields) end(line string) error {
	if f.rest != "" && f.err == nil {
		f.err = errLine
	}
	if f.err != nil {
		return fmt.Errorf("%w %q", f.err, line)
	}
	return nil
}
