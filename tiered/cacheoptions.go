package tiered

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/doppio-cache/doppio/internal/codec"
)

// Defaults and limits of CacheOptions.
const (
	DefaultTTL           = time.Hour
	DefaultHardTimeout   = 30 * time.Second
	DefaultMaxValueBytes = 64 << 20
	MaxKeyBytes          = 1024
	maxValueBytesLimit   = 512 << 20 // what Redis accepts as one string

	// MaxTags is how many tags one entry may have: each read of it from Redis asks for the versions
	// of all of them.
	MaxTags = 1024
)

// Codec turns values into bytes and back. Implement it to bring your own:
//
//	ID() uint8                                // 64 or above; it must not change its meaning while records with it live
//	Name() string
//	Append(dst []byte, v any) ([]byte, error) // appends the encoded v, a value of the cache's type, to dst
//	Decode(data []byte, into any) error       // into is a pointer to the cache's type; data must not be kept
type Codec = codec.Codec

// JSON is the default codec of structs, maps and slices.
func JSON() Codec { return codec.JSON() }

// MessagePack is smaller than JSON and keeps []byte as it is.
func MessagePack() Codec { return codec.MessagePack() }

// Protobuf is the default codec of types that are a proto.Message.
func Protobuf() Codec { return codec.Protobuf() }

// Raw is the default codec of []byte and string, and of types made of them.
func Raw() Codec { return codec.Raw() }

// Compression says how large values are compressed.
type Compression = codec.Compression

// The compressions.
const (
	NoCompression = codec.NoCompression
	S2            = codec.S2
	Zstd          = codec.Zstd
)

// Keyring holds the AES-256 keys that values are encrypted with: Keys, of 32 bytes each, by an id,
// and Active, the id of the key for new values. Values under the other keys stay readable, so that
// a key is replaced by adding one and making it active. It never prints a key.
type Keyring = codec.Keyring

// CacheOptions configure a Cache, and are the defaults of its calls. The zero value is useful.
type CacheOptions struct {
	// TTL is how long entries live in the remote tier. NoExpiration is for ever. Defaults to the
	// Client's default, which is DefaultTTL, or Config.DefaultTTL.
	TTL time.Duration
	// LocalTTL is how long a local copy is served at most; it never outlives the entry. Defaults to
	// no bound but that.
	LocalTTL time.Duration
	// FailSafe keeps entries past their TTL for when loads fail: see the option of the same name,
	// as for those that follow. Defaults to off.
	FailSafe time.Duration
	// RefreshAhead loads entries anew before they end. Defaults to off.
	RefreshAhead time.Duration
	// SoftTimeout returns a stale value when a load is slower than this. Defaults to off.
	SoftTimeout time.Duration
	// HardTimeout ends a load. Defaults to DefaultHardTimeout.
	HardTimeout time.Duration
	// NegativeTTL keeps a loader's ErrNotFound. Defaults to off.
	NegativeTTL time.Duration
	// Jitter shortens TTLs at random. Defaults to off.
	Jitter time.Duration
	// WhenIncoherent says what this cache does while the local tier cannot be trusted; all handles
	// of a name must agree. Defaults to Options.WhenIncoherent.
	WhenIncoherent Incoherence

	// Codec encodes values. Defaults by type: Raw for []byte and string, Protobuf for
	// proto.Message, decimal digits for integers, JSON for the rest.
	Codec Codec
	// Compression is applied to values above CompressAbove. Defaults to NoCompression.
	Compression Compression
	// CompressAbove is in bytes of the encoded value. Defaults to 1024.
	CompressAbove int
	// Keyring encrypts values with AES-256-GCM. An encrypted cache cannot Increment. Defaults to
	// nil: no encryption.
	Keyring *Keyring
	// MaxValueBytes bounds an encoded value, and what a compressed one may expand to. Defaults to
	// DefaultMaxValueBytes, 64 MiB.
	MaxValueBytes int
}

func (o CacheOptions) withDefaults(ttl time.Duration, policy Incoherence) CacheOptions {
	if o.TTL == 0 {
		o.TTL = ttl
	}
	if o.WhenIncoherent.mode == inherited {
		o.WhenIncoherent = policy
	}
	if o.HardTimeout == 0 {
		o.HardTimeout = DefaultHardTimeout
	}
	if o.MaxValueBytes == 0 {
		o.MaxValueBytes = DefaultMaxValueBytes
	}
	return o
}

func (o CacheOptions) validate() error {
	var f faults
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"TTL", o.TTL}, {"LocalTTL", o.LocalTTL}, {"FailSafe", o.FailSafe}, {"RefreshAhead", o.RefreshAhead}, {"SoftTimeout", o.SoftTimeout},
		{"HardTimeout", o.HardTimeout}, {"NegativeTTL", o.NegativeTTL}, {"Jitter", o.Jitter},
	} {
		f.check(d.value >= 0, d.field, "is %v, must not be negative; NoExpiration is for ever", d.value)
	}
	f.check(o.WhenIncoherent.maxAge >= 0, "WhenIncoherent", "ServeStale(%v) must not be negative", o.WhenIncoherent.maxAge)
	f.check(o.MaxValueBytes > 0 && o.MaxValueBytes <= maxValueBytesLimit, "MaxValueBytes", "is %d, must be from 1 to 512 MiB, Redis's own limit", o.MaxValueBytes)
	return f.err()
}

func (o CacheOptions) settings() settings {
	return settings{
		ttl: o.TTL, localTTL: o.LocalTTL, failSafe: o.FailSafe, refreshAhead: o.RefreshAhead,
		softTimeout: o.SoftTimeout, hardTimeout: o.HardTimeout, negative: o.NegativeTTL, jitter: o.Jitter,
	}
}

// codecOptions are what the codec checks itself; a bad MaxValueBytes is reported by validate, under
// its own name.
func (o CacheOptions) codecOptions() codec.Options {
	most := min(max(o.MaxValueBytes, 0), maxValueBytesLimit)
	return codec.Options{
		Codec: o.Codec, Compression: o.Compression, CompressAbove: o.CompressAbove, Keyring: o.Keyring,
		MaxEncodedBytes: most, MaxDecodedBytes: most,
	}
}

// codecFaults turns the codec's complaints into OptionErrors.
func codecFaults(err error) error {
	var f faults
	for _, e := range joined(err) {
		if field := (*codec.FieldError)(nil); errors.As(e, &field) {
			f = append(f, &OptionError{Field: field.Field, Reason: field.Reason})
		}
	}
	if len(f) == 0 {
		return err
	}
	return f.err()
}

// encodeFault says in this package's terms why a value cannot be stored.
func (s *shared[V]) encodeFault(key string, err error) error {
	if errors.Is(err, codec.ErrTooLarge) {
		err = errors.Join(ErrValueTooLarge, err)
	}
	return &EncodeError{Cache: s.name, Key: key, Type: reflect.TypeFor[V]().String(), Codec: s.codec.Name(), Err: err}
}

// sameEncoding reports whether two handles of a cache store values alike. A codec is known by its
// type, id and name: it may hold what cannot be compared.
func sameEncoding(a, b codec.Options) bool {
	x, y := a.Codec, b.Codec
	if (x == nil) != (y == nil) || x != nil && (reflect.TypeOf(x) != reflect.TypeOf(y) || x.ID() != y.ID() || x.Name() != y.Name()) {
		return false
	}
	a.Codec, b.Codec = nil, nil
	return reflect.DeepEqual(a, b)
}

// NoExpiration as a TTL keeps an entry for ever; Cache.TTL returns it for such an entry.
const NoExpiration time.Duration = math.MaxInt64

// EntryOption changes one setting for one call; the defaults are in CacheOptions. Of several
// options of the same kind in one call the last counts, but Tags add up. It is a value, not a
// closure, so that a local hit allocates nothing even when options are passed.
type EntryOption struct {
	kind optionKind
	d    time.Duration
	tags []string
}

type optionKind uint8

const (
	optTTL optionKind = iota + 1
	optLocalTTL
	optTags
	optFailSafe
	optRefreshAhead
	optSoftTimeout
	optHardTimeout
	optNegativeTTL
	optJitter
)

// TTL is how long the entry lives. 0 is the cache's default; NoExpiration is for ever, and so is
// anything longer than remote.MaxTTL, 68 years; a life below a millisecond is a millisecond, and
// one above 24 days is rounded up to a second.
func TTL(d time.Duration) EntryOption { return EntryOption{kind: optTTL, d: d} }

// LocalTTL is how long a copy of the entry is served by a local tier at most; it never outlives the
// entry. 0 is the cache's default; less than a millisecond keeps nothing local.
func LocalTTL(d time.Duration) EntryOption { return EntryOption{kind: optLocalTTL, d: d} }

// Tags lets the entry be invalidated by any of these tags; see Cache.InvalidateTags. A tag belongs
// to its cache. Given more than once in a call, Tags adds up. An entry has at most MaxTags of them;
// more are an *OptionError.
func Tags(tags ...string) EntryOption { return EntryOption{kind: optTags, tags: tags} }

// FailSafe keeps the entry for d past its TTL, to be returned when a load fails (or is slower than
// SoftTimeout). With Redis down as well, a local copy serves only where Options.WhenIncoherent is
// ServeStale. 0 is the cache's default.
func FailSafe(d time.Duration) EntryOption { return EntryOption{kind: optFailSafe, d: d} }

// RefreshAhead lets a GetOrSet that hits in the last d of the entry's local life load it anew in
// the background, once, while the old value is served. Each copy picks its moment in that span at
// random, so that a fleet does not refresh at once. 0 is the cache's default.
func RefreshAhead(d time.Duration) EntryOption { return EntryOption{kind: optRefreshAhead, d: d} }

// SoftTimeout is how long a caller waits for a load when a stale value is at hand (see FailSafe);
// the load goes on. 0 is the cache's default.
func SoftTimeout(d time.Duration) EntryOption { return EntryOption{kind: optSoftTimeout, d: d} }

// HardTimeout is when a load is given up: its context ends, and its callers get a *LoadError. 0 is
// the cache's default.
func HardTimeout(d time.Duration) EntryOption { return EntryOption{kind: optHardTimeout, d: d} }

// NegativeTTL keeps the loader's word that there is no such thing. 0 is the cache's default.
func NegativeTTL(d time.Duration) EntryOption { return EntryOption{kind: optNegativeTTL, d: d} }

// Jitter shortens each TTL by a random part of d, but never by more than half, so that entries
// stored together do not end together. 0 is the cache's default.
func Jitter(d time.Duration) EntryOption { return EntryOption{kind: optJitter, d: d} }

// maxGrace bounds FailSafe.
const maxGrace = 10 * 365 * 24 * time.Hour

// settings are what holds for one call.
type settings struct {
	ttl, localTTL                      time.Duration // localTTL 0: as long as the entry
	failSafe, refreshAhead             time.Duration
	softTimeout, hardTimeout, negative time.Duration
	jitter                             time.Duration
	tags                               []string
}

// with gives the settings that opts leave, and what is wrong with them. It copies tags, so that
// opts need not outlive the caller's frame.
func (s settings) with(opts []EntryOption) (settings, error) {
	defaults := s
	for i := range opts {
		o := &opts[i]
		if o.kind == optTags {
			s.tags = addTags(s.tags, o.tags)
			continue
		}
		if o.d == 0 {
			*s.field(o.kind) = *defaults.field(o.kind)
			continue
		}
		if o.d < 0 {
			return s, &OptionError{Field: o.kind.String(), Reason: "is " + o.d.String() + ", must not be negative; NoExpiration is for ever"}
		}
		*s.field(o.kind) = o.d
	}
	if len(s.tags) > MaxTags {
		return s, &OptionError{Field: "Tags", Reason: fmt.Sprintf("has %d tags, an entry has at most %d", len(s.tags), MaxTags)}
	}
	for _, tag := range s.tags {
		if tag == "" || len(tag) > MaxKeyBytes {
			return s, &OptionError{Field: "Tags", Reason: "a tag must have 1 to 1024 bytes"}
		}
	}
	return s, nil
}

// addTags gives the tags of both, each once, in a slice of its own.
func addTags(have, more []string) []string {
	out := make([]string, 0, len(have)+len(more))
	out = append(out, have...)
	seen := make(map[string]struct{}, cap(out))
	for _, t := range have {
		seen[t] = struct{}{}
	}
	for _, t := range more {
		if _, twice := seen[t]; !twice {
			seen[t] = struct{}{}
			out = append(out, t)
		}
	}
	return out
}

func (s *settings) field(k optionKind) *time.Duration {
	switch k {
	case optTTL:
		return &s.ttl
	case optLocalTTL:
		return &s.localTTL
	case optFailSafe:
		return &s.failSafe
	case optRefreshAhead:
		return &s.refreshAhead
	case optSoftTimeout:
		return &s.softTimeout
	case optHardTimeout:
		return &s.hardTimeout
	case optNegativeTTL:
		return &s.negative
	default:
		return &s.jitter
	}
}

// String is the option's name.
func (k optionKind) String() string {
	return [...]string{"", "TTL", "LocalTTL", "Tags", "FailSafe", "RefreshAhead", "SoftTimeout", "HardTimeout", "NegativeTTL", "Jitter"}[k]
}
