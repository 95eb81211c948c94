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
	KindLease    Kind = 1 // an instance is loading the value
	KindValue    Kind = 2
	KindNegative Kind = 3 // the loader returned that there is no value
)

const (
	recordVersion = 1
	headerSize    = 51

	// The offsets that the scripts use too (there they count from 1).
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
	flagTagged = 1 << 1 // a reader of only the header sees that there are tags
	// Only scripts use bit 2: it marks a lease as awaited.

	// A duration of four bytes is in milliseconds, or in seconds when this bit is set.
	unitSeconds = 1 << 31

	// MaxTTL is the longest TTL of a record, 68 years: a longer one is without end.
	MaxTTL = (unitSeconds - 1) * time.Second
)

// Token identifies one acquisition of a lease, or one write. No two are alike. A Fill succeeds only
// with the token of the record that it replaces.
type Token [16]byte

// NewToken returns a random token. crypto/rand does not fail on the platforms that Go supports.
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

// Record is the remote tier's record of a key.
type Record struct {
	Kind     Kind
	Token    Token
	Stamp    uint64        // the id of the change's announcement, or the newest id known when the load began
	Created  time.Time     // the time of storing by the server's clock, in ms; before that by this machine's
	TTL      time.Duration // 0, or above MaxTTL: without end
	Grace    time.Duration // how long after TTL it is kept as a stale value (fail-safe)
	LoadTime time.Duration // how long the load of the value took
	Number   bool          // Payload is a decimal integer
	// Ends is when the TTL is over, by this machine's clock. A Store that reads the record derives
	// it from the server's time. It is not stored. It is zero if it was not derived, or if there is
	// no end.
	Ends    time.Time
	Tags    []Tag
	Payload []byte
}

// Expired reports whether the record has expired at now; it may still be within its grace. A record
// without a grace that a Store has read has not expired: Redis would not have returned it
// otherwise.
func (r *Record) Expired(now time.Time) bool {
	if r.finiteTTL() == 0 || r.Grace == 0 && !r.Ends.IsZero() {
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

// Remaining returns the remaining TTL at now. It is never more than TTL, however far the writer's
// clock is ahead. forever is true for a record without end.
func (r *Record) Remaining(now time.Time) (left time.Duration, forever bool) {
	if r.finiteTTL() == 0 {
		return 0, true
	}
	return min(r.TTL, r.ends().Sub(now)), false
}

// finiteTTL returns the TTL as it is stored: 0 is without end.
func (r *Record) finiteTTL() time.Duration {
	if r.TTL > MaxTTL {
		return 0
	}
	return r.TTL
}

// remoteTTL returns the TTL that Redis is given: the TTL and grace of the record as readers see
// them, in milliseconds, at least 1; 0 is without end.
func (r *Record) remoteTTL() int64 {
	if r.finiteTTL() == 0 {
		return 0
	}
	return max(1, (unpackDuration(packDuration(r.TTL)) + unpackDuration(packDuration(r.Grace))).Milliseconds())
}

// AppendRecord appends the encoded record for key to dst. Its error matches ErrTooLarge, and
// nothing is appended then.
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
	dst = binary.BigEndian.AppendUint32(dst, packDuration(r.finiteTTL()))
	dst = binary.BigEndian.AppendUint32(dst, packDuration(r.LoadTime))
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

// UnknownVersionError reports a record that was written by a later version of this library. It is a
// miss, and fills leave it alone.
type UnknownVersionError struct{ Version uint8 }

func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("remote: record of version %d, this library reads %d", e.Version, recordVersion)
}

// ParseRecord decodes the record that is stored under key. The payload aliases data. Its error is a
// *MalformedError or an *UnknownVersionError.
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
		// A tag takes 18 bytes at least: no memory is allocated for a count that cannot be true.
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

// parseHeader decodes the header, which is all that Stat and TTL fetch.
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
		Kind:     kind,
		Stamp:    binary.BigEndian.Uint64(data[offStamp:]),
		Created:  time.UnixMilli(int64(binary.BigEndian.Uint64(data[offCreated:]))),
		TTL:      unpackDuration(binary.BigEndian.Uint32(data[offTTL:])),
		LoadTime: unpackDuration(binary.BigEndian.Uint32(data[offDelta:])),
		Grace:    unpackDuration(binary.BigEndian.Uint32(data[offGrace:])),
		Number:   data[offFlags]&flagNumber != 0,
	}
	copy(r.Token[:], data[offToken:])
	return r, nil
}

func malformed(format string, args ...any) error {
	return &MalformedError{Reason: fmt.Sprintf(format, args...)}
}

// packDuration rounds up: a TTL is never shortened to nothing.
func packDuration(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	if ms := ceil(d, time.Millisecond); ms < unitSeconds {
		return uint32(ms)
	}
	return unitSeconds | uint32(ceil(min(d, MaxTTL), time.Second))
}

// ceil returns the number of units in d, rounded up. It does not add before it divides: the longest
// durations would overflow.
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

// reader takes fields off a slice and remembers whether one was missing.
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
