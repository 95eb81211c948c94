package tiered

import (
	"errors"
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

	// MaxTags is how many tags one entry may have: each read of it from Redis asks for the versions of all of them.
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

// Keyring holds the AES-256 keys that values are encrypted with: Keys, of 32 bytes each, by an id, and Active, the id
// of the key for new values. Values under the other keys stay readable, so that a key is replaced by adding one and
// making it active. It never prints a key.
type Keyring = codec.Keyring

// CacheOptions configure a Cache, and are the defaults of its calls. The zero value is useful.
type CacheOptions struct {
	// TTL is how long entries live in the remote tier. NoExpiration is for ever. Defaults to the Client's default, which
	// is DefaultTTL, or Config.DefaultTTL.
	TTL time.Duration
	// LocalTTL is how long a local copy is served at most; it never outlives the entry. Defaults to no bound but that.
	LocalTTL time.Duration
	// FailSafe keeps entries past their TTL for when loads fail: see the option of the same name, as for those that
	// follow. Defaults to off.
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
	// WhenIncoherent says what this cache does while the local tier cannot be trusted; all handles of a name must agree.
	// Defaults to Options.WhenIncoherent.
	WhenIncoherent Incoherence

	// Codec encodes values. Defaults by type: Raw for []byte and string, Protobuf for proto.Message, decimal digits for
	// integers, JSON for the rest.
	Codec Codec
	// Compression is applied to values above CompressAbove. Defaults to NoCompression.
	Compression Compression
	// CompressAbove is in bytes of the encoded value. Defaults to 1024.
	CompressAbove int
	// Keyring encrypts values with AES-256-GCM. An encrypted cache cannot Increment. Defaults to nil: no encryption.
	Keyring *Keyring
	// MaxValueBytes bounds an encoded value, and what a compressed one may expand to. Defaults to DefaultMaxValueBytes, 64 MiB.
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

// codecOptions are what the codec checks itself; a bad MaxValueBytes is reported by validate, under its own name.
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

// sameEncoding reports whether two handles of a cache store values alike. A codec is known by its type, id and name: it
// may hold what cannot be compared.
func sameEncoding(a, b codec.Options) bool {
	x, y := a.Codec, b.Codec
	if (x == nil) != (y == nil) || x != nil && (reflect.TypeOf(x) != reflect.TypeOf(y) || x.ID() != y.ID() || x.Name() != y.Name()) {
		return false
	}
	a.Codec, b.Codec = nil, nil
	return reflect.DeepEqual(a, b)
}
