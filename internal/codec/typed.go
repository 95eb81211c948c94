package codec

import (
	"fmt"
	"reflect"
)

// Form says how a value's bytes are to be read; the remote tier's record carries it.
type Form uint8

const (
	// Enveloped bytes begin with this package's header.
	Enveloped Form = iota
	// Number bytes are a decimal integer and nothing else.
	Number
)

// Typed stores the values of one type. It is safe for concurrent use. Make one with New.
type Typed[V any] struct {
	codec     Codec
	byPointer pointerCodec // codec, if it takes pointers; resolved once
	codecID   uint8
	codecName string
	name      string

	nilable bool
	exact   bool    // see Exact
	costs   weights // of decoding
	number  numberKind

	compression     Compression
	compressAbove   int
	keys            *sealer // nil: no encryption
	maxEncodedBytes int
	maxDecodedBytes int
}

// New checks o, and reports everything that is wrong with it as joined *FieldError.
func New[V any](o Options) (*Typed[V], error) {
	vt := reflect.TypeFor[V]()
	userCodec := o.Codec != nil && !isBuiltin(o.Codec)
	o = o.withDefaults(vt)
	if err := o.validate(vt); err != nil {
		return nil, err
	}
	t := &Typed[V]{
		codec:           o.Codec,
		codecID:         o.Codec.ID(),
		codecName:       o.Codec.Name(),
		compression:     o.Compression,
		compressAbove:   o.CompressAbove,
		maxEncodedBytes: o.MaxEncodedBytes,
		maxDecodedBytes: o.MaxDecodedBytes,
	}
	t.name = t.codecName
	if o.Compression != NoCompression {
		t.name += "+" + o.Compression.String()
	}
	if o.Keyring != nil {
		keys, err := newSealer(o.Keyring)
		if err != nil {
			return nil, err
		}
		t.keys = keys
		t.name += "+aes-256-gcm"
	}
	if j, ok := o.Codec.(*jsonCodec); ok {
		t.codec = j.forType(vt)
	}
	if !userCodec {
		t.byPointer, _ = t.codec.(pointerCodec)
		if t.keys == nil {
			t.number = numberKindOf(vt)
		}
	}
	if !userCodec {
		t.exact = exact(o.Codec, vt)
		t.costs = weightsOf(o.Codec, vt)
	}
	switch vt.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		t.nilable = true
	}
	return t, nil
}

// Name names the format, such as "json+s2+aes-256-gcm", to find a cache's name reused with another
// one.
func (t *Typed[V]) Name() string { return t.name }

// Numeric reports whether values may be stored as a Number, so that they can be incremented where
// they are; within which bounds; and whether the bounds are narrower than those of int64.
func (t *Typed[V]) Numeric() (ok bool, lo, hi int64, bounded bool) {
	return t.number.bounds()
}

// Exact reports whether decoding gives every value back as it was encoded, in memory of its own:
// what Decode gives cannot be told from what Encode was given. Where it is false, a caller that
// keeps a value keeps a decoded one.
func (t *Typed[V]) Exact() bool { return t.exact }

// Sealed reports whether values are encrypted, and with them what EncodeBound is told is
// authenticated.
func (t *Typed[V]) Sealed() bool { return t.keys != nil }

// Encode appends *v, to be stored under key, to dst. If it fails, it returns dst as it was.
func (t *Typed[V]) Encode(dst []byte, key string, v *V) (out []byte, form Form, err error) {
	return t.EncodeBound(dst, key, nil, v)
}

// EncodeBound is Encode of a value that, encrypted, decodes only together with the same bound:
// bytes that are stored in the clear beside it. Without a keyring nothing is bound.
func (t *Typed[V]) EncodeBound(dst []byte, key string, bound []byte, v *V) (out []byte, form Form, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &ValueError{Codec: t.codecName, Detail: panicDetail(r), kind: ErrEncode}
		}
		if err != nil {
			out, form = dst, Enveloped
		}
	}()
	if out, ok := t.appendNumber(dst, v); ok {
		return out, Number, nil
	}
	out, err = t.appendEnvelope(dst, key, bound, v)
	return out, Enveloped, err
}

// Decode reads what Encode stored under key into *v, which is the zero value if it fails. *v shares
// no memory with data.
func (t *Typed[V]) Decode(key string, data []byte, form Form, v *V) (err error) {
	return t.DecodeBound(key, nil, data, form, v)
}

// DecodeBound reads what EncodeBound stored; see there.
func (t *Typed[V]) DecodeBound(key string, bound, data []byte, form Form, v *V) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &ValueError{Codec: t.codecName, Detail: panicDetail(r), kind: ErrDecode}
		}
		if err != nil {
			*v = *new(V)
		}
	}()
	*v = *new(V) // codecs merge into what is there
	switch form {
	case Enveloped:
		return t.decodeEnvelope(key, bound, data, v)
	case Number:
		return t.decodeNumber(data, v)
	default:
		return fmt.Errorf("%w: form %d", ErrUnknownVersion, form)
	}
}

// isNil reports whether the whole value is nil.
func (t *Typed[V]) isNil(v *V) bool {
	return t.nilable && reflect.ValueOf(v).Elem().IsNil()
}

// appendValue serialises *v after dst.
func (t *Typed[V]) appendValue(dst []byte, v *V) ([]byte, error) {
	if t.byPointer != nil {
		return t.byPointer.appendPointer(dst, v)
	}
	if t.codecID < minUserID {
		return t.codec.Append(dst, *v)
	}
	return t.appendUser(dst, v)
}

// appendUser gives a user's codec a buffer of its own, so that one that forgets to append cannot
// spoil the header, and does not keep what comes back, which may be the user's memory.
func (t *Typed[V]) appendUser(dst []byte, v *V) ([]byte, error) {
	buf := getScratch()
	defer putScratch(buf)
	payload, err := t.codec.Append(buf.b[:0], *v)
	if err != nil {
		return nil, &ValueError{Codec: t.codecName, kind: ErrEncode, cause: err}
	}
	return append(dst, payload...), nil
}

// decodeValue reads a payload into *v.
func (t *Typed[V]) decodeValue(payload []byte, v *V) error {
	err := t.codec.Decode(payload, v)
	if err != nil && t.codecID >= minUserID {
		return &ValueError{Codec: t.codecName, kind: ErrDecode, cause: err}
	}
	return err
}
