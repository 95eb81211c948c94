package codec

import (
	"encoding"
	stdjson "encoding/json"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/vmihailenco/msgpack/v5"
)

// exact reports whether what c reads back of any value of type t is the value itself, and shares no
// memory with it. It answers no where it does not know: then the value is decoded once more than
// needed, which is never wrong.
func exact(c Codec, t reflect.Type) bool {
	switch c.(type) {
	case rawCodec:
		return t.Kind() == reflect.String
	case *jsonCodec, messagePackCodec:
		return exactShape(c, t)
	}
	return false
}

func exactShape(c Codec, t reflect.Type) bool {
	if hasOwnFormat(t) || t == reflect.TypeFor[stdjson.Number]() {
		return false
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true // both codecs refuse to encode what they could not give back: a NaN or a broken string in JSON
	case reflect.Array:
		return exactShape(c, t.Elem())
	case reflect.Struct:
		names := make(map[string]bool, t.NumField())
		for i := range t.NumField() {
			f := t.Field(i)
			name, plain := plainName(c, f)
			// JSON falls back to names without regard to case: two such fields are for the codec to
			// tell apart.
			if folded := strings.ToLower(name); !plain || names[folded] || !exactShape(c, f.Type) {
				return false
			} else {
				names[folded] = true
			}
		}
		return true
	}
	return false
}

// plainName is the name under which c stores a field, and whether it is stored as it is, always,
// under that name.
func plainName(c Codec, f reflect.StructField) (name string, plain bool) {
	if !f.IsExported() || f.Anonymous {
		return "", false
	}
	tag := f.Tag.Get(tagOf(c))
	if tag == "" {
		return f.Name, true
	}
	for _, r := range tag {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "", false // options, quotes, and names that a codec may not take
		}
	}
	return tag, tag != "-"
}

// tagOf is the key of a codec's struct tags.
func tagOf(c Codec) string {
	if _, ok := c.(messagePackCodec); ok {
		return "msgpack"
	}
	return "json"
}

// The methods that a codec calls to write a type, and to read it.
var (
	jsonWriters = []reflect.Type{
		reflect.TypeFor[stdjson.Marshaler](), reflect.TypeFor[json.MarshalerTo](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextAppender](),
	}
	jsonReaders = []reflect.Type{
		reflect.TypeFor[stdjson.Unmarshaler](), reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[encoding.TextUnmarshaler](),
	}
	packWriters = []reflect.Type{
		reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.Marshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.TextMarshaler](),
	}
	packReaders = []reflect.Type{
		reflect.TypeFor[msgpack.CustomDecoder](), reflect.TypeFor[msgpack.Unmarshaler](),
		reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
	}
)

// methods reports whether c calls methods of t to write it, and to read it.
func methods(c Codec, t reflect.Type) (writes, reads bool) {
	if t.Kind() == reflect.Interface {
		return false, false // its methods do not help to decode into it
	}
	writers, readers := jsonWriters, jsonReaders
	if _, ok := c.(messagePackCodec); ok {
		writers, readers = packWriters, packReaders
	}
	return implements(t, writers), implements(t, readers)
}

func implements(t reflect.Type, interfaces []reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, i := range interfaces {
		if p.Implements(i) {
			return true
		}
	}
	return false
}
