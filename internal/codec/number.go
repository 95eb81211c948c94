package codec

import (
	"encoding"
	stdjson "encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/vmihailenco/msgpack/v5"
)

// numberKind says how a type's values can be stored as numbers. The zero value: not at all.
type numberKind struct {
	class numberClass
	bits  int
}

type numberClass uint8

const (
	notNumber numberClass = iota
	signedNumber
	unsignedNumber
	dynamicNumber // an interface: some of its values can
)

// numberKindOf leaves types with a format of their own alone: they would lose it.
func numberKindOf(t reflect.Type) numberKind {
	if t.Kind() == reflect.Interface {
		if t.NumMethod() == 0 {
			return numberKind{class: dynamicNumber, bits: 64}
		}
		return numberKind{}
	}
	class := integerClass(t.Kind())
	if class == notNumber || hasOwnFormat(t) {
		return numberKind{}
	}
	return numberKind{class: class, bits: t.Bits()}
}

func integerClass(k reflect.Kind) numberClass {
	switch k {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return signedNumber
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return unsignedNumber
	default:
		return notNumber
	}
}

var ownFormats = []reflect.Type{
	reflect.TypeFor[stdjson.Marshaler](), reflect.TypeFor[stdjson.Unmarshaler](),
	reflect.TypeFor[json.MarshalerTo](), reflect.TypeFor[json.UnmarshalerFrom](),
	reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](), reflect.TypeFor[encoding.TextAppender](),
	reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.BinaryAppender](),
	reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder](),
	reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler](),
}

// hasOwnFormat reports whether t, or a pointer to it, has a method that a codec would call.
func hasOwnFormat(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return false // its methods do not help to decode into it
	}
	p := reflect.PointerTo(t)
	for _, own := range ownFormats {
		if p.Implements(own) {
			return true
		}
	}
	return false
}

// bounds are those of Increment, which counts in int64.
func (k numberKind) bounds() (ok bool, lo, hi int64, bounded bool) {
	switch k.class {
	case notNumber:
		return false, 0, 0, false
	case unsignedNumber:
		if k.bits == 64 {
			return true, 0, math.MaxInt64, true
		}
		return true, 0, 1<<k.bits - 1, true
	}
	return true, math.MinInt64 >> (64 - k.bits), math.MaxInt64 >> (64 - k.bits), k.bits < 64
}

// appendNumber appends *v if it is to be stored as a number.
func (t *Typed[V]) appendNumber(dst []byte, v *V) ([]byte, bool) {
	switch t.number.class {
	case signedNumber:
		return strconv.AppendInt(dst, reflect.ValueOf(v).Elem().Int(), 10), true
	case unsignedNumber:
		return strconv.AppendUint(dst, reflect.ValueOf(v).Elem().Uint(), 10), true
	case dynamicNumber:
		return appendDynamic(dst, *v)
	default:
		return nil, false
	}
}

// appendDynamic appends what an interface holds, if that is an integer. A float stays a float, even
// one without a fraction.
func appendDynamic(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case nil, string, bool, float64, map[string]any, []any:
		return nil, false // the common ones need no reflection
	case int:
		return strconv.AppendInt(dst, int64(v), 10), true
	case int64:
		return strconv.AppendInt(dst, v, 10), true
	case stdjson.Number:
		if _, _, err := parseNumber([]byte(v)); err != nil {
			return nil, false
		}
		return append(dst, v...), true
	}
	r := reflect.ValueOf(v)
	switch class := integerClass(r.Kind()); {
	case class == notNumber || hasOwnFormat(r.Type()):
		return nil, false
	case class == signedNumber:
		return strconv.AppendInt(dst, r.Int(), 10), true
	default:
		return strconv.AppendUint(dst, r.Uint(), 10), true
	}
}

// decodeNumber reads a number into *v, exactly or not at all.
func (t *Typed[V]) decodeNumber(data []byte, v *V) error {
	if t.number.class == notNumber {
		return fmt.Errorf("%w: a number, not %s", ErrWrongCodec, t.name)
	}
	signed, unsigned, err := parseNumber(data)
	if err != nil {
		return err
	}
	into := reflect.ValueOf(v).Elem()
	switch t.number.class {
	case dynamicNumber:
		if unsigned > math.MaxInt64 {
			into.Set(reflect.ValueOf(unsigned))
		} else {
			into.Set(reflect.ValueOf(signed))
		}
		return nil
	case unsignedNumber:
		if signed < 0 || into.OverflowUint(unsigned) {
			return outOfRange(into.Type())
		}
		into.SetUint(unsigned)
	default:
		if unsigned > math.MaxInt64 || into.OverflowInt(signed) {
			return outOfRange(into.Type())
		}
		into.SetInt(signed)
	}
	return nil
}

func outOfRange(t reflect.Type) error {
	return &ValueError{Codec: "number", Detail: "out of range of " + t.String(), kind: ErrDecode}
}

// parseNumber accepts only what this package and Redis write. A negative number is in signed alone,
// one above math.MaxInt64 in unsigned alone, and any other in both.
func parseNumber(b []byte) (signed int64, unsigned uint64, err error) {
	digits := b
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && (len(digits) > 1 || negative) {
		return 0, 0, errNotCanonical
	}
	for _, c := range digits {
		d := uint64(c - '0')
		if d > 9 {
			return 0, 0, errNotCanonical
		}
		if unsigned > (math.MaxUint64-d)/10 {
			return 0, 0, errBeyond64
		}
		unsigned = unsigned*10 + d
	}
	switch {
	case !negative && unsigned > math.MaxInt64:
		return 0, unsigned, nil
	case !negative:
		return int64(unsigned), unsigned, nil
	}
	if unsigned > 1<<63 {
		return 0, 0, errBeyond64
	}
	return -int64(unsigned), 0, nil
}

var (
	errNotCanonical = fmt.Errorf("%w: not a canonical decimal integer", ErrCorrupt)
	errBeyond64     = &ValueError{Codec: "number", Detail: "beyond 64 bits", kind: ErrDecode}
)
