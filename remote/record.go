package remote

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Kind says what a record is.
type Kind uint8

// The kinds of record. 4 and 5 are reserved.
const (
	KindLease    Kind = 1 // somebody is loading; there is no value yet
	KindValue    Kind = 2
	KindNegative Kind = 3 // the loader said that there is no such thing
)

const (
	recordVersion = 1
	headerSize    = 51

	// The offsets that scripts know too (there they count from 1).
	offToken   = 1
	offStamp   = 17
	offCreated = 25
	offTTL     = 33
	offDelta   = 37
	offVersion = 41
	offFlags   = 42
	offGrace   = 43
	offPayload = 47

	flagNumber = 1 << 0
	flagTagged = 1 << 1 // so that who reads only the header knows to ask for the tags
	// Bit 2 is the scripts' own: in a lease it says that somebody waits for its end.

	// A duration of four bytes is in milliseconds, or in seconds when this bit is set.
	unitSeconds = 1 << 31

	// LongestLife is the longest TTL that a record can tell, 68 years: a longer one is for ever.
	LongestLife = (unitSeconds - 1) * time.Second
)

// Token names one acquisition of a lease, or one write. A fill is let in only by the token that it saw, and no two are alike.
type Token [16]byte

// NewToken draws a token. crypto/rand does not fail on the platforms that Go supports.
func NewToken() Token {
	var t Token
	_, _ = rand.Read(t[:]) // documented never to return an error
	return t
}

// Tag is a tag of an entry with the version that the tag had before the entry's load began.
type Tag struct {
	Name    string
	Version Token
}

// Record is what the far tier keeps under a key.
type Record struct {
	Kind    Kind
	Token   Token
	Stamp   uint64        // id of the newest announcement known when the load began, or of the one that came with the change
	Created time.Time     // when it was stored, by the server's clock, to the millisecond; of one that is not stored yet, by this machine's
	TTL     time.Duration // life as users see it; 0, or above LongestLife: without end
	Grace   time.Duration // how long past TTL it is kept as a stale value (fail-safe)
	Load    time.Duration // how long its load took
	Number  bool          // Payload is a decimal integer
	// Ends is when its life is over, by this machine's clock, as a Store that has read it reckons from the server's time. It is not
	// stored, and zero where nobody has reckoned, or there is no end.
	Ends    time.Time
	Tags    []Tag
	Payload []byte
}

// Expired reports whether the record's life is over at now; it may still be within its grace. One without a grace that a Store has read
// is alive: Redis would not have returned it otherwise.
func (r *Record) Expired(now time.Time) bool {
	if r.life() == 0 || r.Grace == 0 && !r.Ends.IsZero() {
		return false
	}
	return !now.Before(r.ends())
}

func (r *Record) ends() time.Time {
	if r.Ends.IsZero() {
		return r.Created.Add(r.TTL)
	}
	return r.Ends
}

// Remaining is the life left at now. It is never more than TTL, however far the writer's clock is ahead; forever is true
// for a record without end.
func (r *Record) Remaining(now time.Time) (left time.Duration, forever bool) {
	if r.life() == 0 {
		return 0, true
	}
	return min(r.TTL, r.ends().Sub(now)), false
}

// life is the TTL as it is stored: 0 is for ever.
func (r *Record) life() time.Duration {
	if r.TTL > LongestLife {
		return 0
	}
	return r.TTL
}

// lifetime is what Redis is told: TTL and grace as readers of the record find them, in milliseconds, 0 for ever, never less than one.
func (r *Record) lifetime() int64 {
	if r.life() == 0 {
		return 0
	}
	return max(1, (unpackDuration(packDuration(r.TTL)) + unpackDuration(packDuration(r.Grace))).Milliseconds())
}

// AppendRecord appends the encoded record for key to dst, or nothing with an error that matches ErrTooLarge.
func AppendRecord(dst []byte, key string, r *Record) ([]byte, error) {
	if len(key) > math.MaxUint16 || len(r.Tags) > math.MaxUint16 || len(r.Payload) > math.MaxInt32 {
		return dst, fmt.Errorf("%w: key of %d bytes, %d tags, payload of %d bytes", ErrTooLarge, len(key), len(r.Tags), len(r.Payload))
	}
	for _, t := range r.Tags {
		if len(t.Name) > math.MaxUint16 {
			return dst, fmt.Errorf("%w: tag of %d bytes", ErrTooLarge, len(t.Name))
		}
	}
	dst = append(dst, byte(r.Kind))
	dst = append(dst, r.Token[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Stamp)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Created.UnixMilli()))
	dst = binary.BigEndian.AppendUint32(dst, packDuration(r.life()))
	dst = binary.BigEndian.AppendUint32(dst, packDuration(r.Load))
	var flags byte
	if r.Number {
		flags |= flagNumber
	}
	if len(r.Tags) > 0 {
		flags |= flagTagged
	}
	dst = append(dst, recordVersion, flags)
	dst = binary.BigEndian.AppendUint32(dst, packDuration(r.Grace))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Payload)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Tags)))
	for _, t := range r.Tags {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Name)))
		dst = append(dst, t.Name...)
		dst = append(dst, t.Version[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, key...)
	return append(dst, r.Payload...), nil
}

// UnknownVersionError reports a record written by a later version of this library. It is a miss, and fills leave it alone.
type UnknownVersionError struct{ Version uint8 }

func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("remote: record of version %d, this library reads %d", e.Version, recordVersion)
}

// ParseRecord decodes what is stored under key. The payload aliases data. Its error is a *MalformedError or an
// *UnknownVersionError.
func ParseRecord(key string, data []byte) (Record, error) {
	r, err := parseRecord(key, data)
	if err != nil {
		var bad *MalformedError
		if errors.As(err, &bad) && len(data) > offToken {
			bad.Seen = bytes.Clone(data[offToken:min(offToken+len(Token{}), len(data))])
		}
	}
	return r, err
}

func parseRecord(key string, data []byte) (Record, error) {
	r, err := parseHeader(data)
	if err != nil {
		return Record{}, err
	}
	rest := reader{data: data[headerSize:]}
	if n := rest.uint16(); n > 0 && rest.ok() {
		// A tag takes 18 bytes at least: a count that cannot be true must not be believed with memory.
		r.Tags = make([]Tag, 0, min(int(n), len(rest.data)/18))
		for range n {
			var t Tag
			t.Name = string(rest.bytes(int(rest.uint16())))
			copy(t.Version[:], rest.bytes(len(t.Version)))
			if !rest.ok() {
				return Record{}, malformed("cut short among its tags")
			}
			r.Tags = append(r.Tags, t)
		}
	}
	echo := rest.bytes(int(rest.uint16()))
	if !rest.ok() {
		return Record{}, malformed("cut short before its payload")
	}
	if string(echo) != key {
		return Record{}, malformed("written for another key")
	}
	if want := binary.BigEndian.Uint32(data[offPayload:]); uint64(want) != uint64(len(rest.data)) {
		return Record{}, malformed("payload of %d bytes where %d were written", len(rest.data), want)
	}
	r.Payload = rest.data
	return r, nil
}

// parseHeader decodes the fixed part, which is all that Exists and TTL fetch.
func parseHeader(data []byte) (Record, error) {
	if len(data) < headerSize {
		return Record{}, malformed("%d bytes, a header has %d", len(data), headerSize)
	}
	kind := Kind(data[0])
	if kind < KindLease || kind > 5 {
		return Record{}, malformed("kind %d", kind)
	}
	if v := data[offVersion]; v != recordVersion {
		return Record{}, &UnknownVersionError{Version: v}
	}
	if kind > KindNegative {
		return Record{}, malformed("kind %d", kind)
	}
	r := Record{
		Kind:    kind,
		Stamp:   binary.BigEndian.Uint64(data[offStamp:]),
		Created: time.UnixMilli(int64(binary.BigEndian.Uint64(data[offCreated:]))),
		TTL:     unpackDuration(binary.BigEndian.Uint32(data[offTTL:])),
		Load:    unpackDuration(binary.BigEndian.Uint32(data[offDelta:])),
		Grace:   unpackDuration(binary.BigEndian.Uint32(data[offGrace:])),
		Number:  data[offFlags]&flagNumber != 0,
	}
	copy(r.Token[:], data[offToken:])
	return r, nil
}

func malformed(format string, args ...any) error {
	return &MalformedError{Reason: fmt.Sprintf(format, args...)}
}

// packDuration rounds up: a life is never shortened to nothing.
func packDuration(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	if ms := ceil(d, time.Millisecond); ms < unitSeconds {
		return uint32(ms)
	}
	return unitSeconds | uint32(ceil(min(d, LongestLife), time.Second))
}

// ceil counts units in d, rounding up. It does not add before it divides: the longest durations would overflow.
func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit > 0 {
		n++
	}
	return n
}

func unpackDuration(v uint32) time.Duration {
	if v&unitSeconds == 0 {
		return time.Duration(v) * time.Millisecond
	}
	return time.Duration(v&^unitSeconds) * time.Second
}

// reader takes fields off a slice and remembers when one was missing.
type reader struct {
	data  []byte
	short bool
}

func (r *reader) ok() bool { return !r.short }

func (r *reader) bytes(n int) []byte {
	if r.short || len(r.data) < n {
		r.short = true
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

func (r *reader) uint16() uint16 {
	b := r.bytes(2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}
