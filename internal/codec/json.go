package codec

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// JSON stores values as encoding/json would, decoded in less than half its time; see the package's
// documentation for the differences, and docs/adr/0002-json-library.md for why this library.
func JSON() Codec { return anyJSON }

// jsonCodec holds options that are resolved once.
type jsonCodec struct {
	encode json.Options
	decode json.Options
	// unique, if set, is tried first: decode, but a name that occurs twice in an object is an
	// error. Only then does the library take its short cut for interfaces, which halves the time,
	// and hardly any document has such a name.
	unique json.Options
}

// The codec with nothing known of its values, and the two that spare them the functions that they
// do not need.
var (
	anyJSON     = newJSON(true, true, true)
	dynamicJSON = newJSON(true, false, true)
	staticJSON  = newJSON(false, false, false)
)

func newJSON(encodeNumbers, decodeNumbers, dynamic bool) *jsonCodec {
	c := &jsonCodec{
		encode: json.JoinOptions(
			jsonv1.DefaultOptionsV1(),
			jsonv1.ReportErrorsWithLegacySemantics(false), // the first error is enough
			jsontext.AllowInvalidUTF8(false),              // not to store another string than was given
			jsontext.EscapeForHTML(false),
			jsontext.EscapeForJS(false),
			json.Deterministic(false),
		),
		decode: json.JoinOptions(
			jsonv1.DefaultOptionsV1(),
			jsonv1.ReportErrorsWithLegacySemantics(false),
		),
	}
	if encodeNumbers && foreignNumber {
		c.encode = json.JoinOptions(c.encode, json.WithMarshalers(json.MarshalToFunc(encodeNumber)))
	}
	if decodeNumbers && foreignNumber {
		c.decode = json.JoinOptions(c.decode, json.WithUnmarshalers(json.UnmarshalFromFunc(decodeNumber)))
	}
	if dynamic {
		c.unique = json.JoinOptions(c.decode, jsontext.AllowDuplicateNames(false))
	}
	return c
}

func (*jsonCodec) ID() uint8    { return idJSON }
func (*jsonCodec) Name() string { return "json" }

var jsonBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (c *jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	// The library writes into the spare room of a bytes.Buffer, so that dst is extended without
	// another copy.
	buf := jsonBuffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(dst)
	err := json.MarshalWrite(buf, v, c.encode)
	out := buf.Bytes()
	*buf = bytes.Buffer{} // the memory is the caller's
	jsonBuffers.Put(buf)
	if err != nil {
		return nil, &ValueError{Codec: c.Name(), Detail: jsonDetail(err), kind: ErrEncode}
	}
	return out, nil
}

func (c *jsonCodec) appendPointer(dst []byte, p any) ([]byte, error) { return c.Append(dst, p) }

func (c *jsonCodec) Decode(data []byte, into any) error {
	if err := c.unmarshal(data, into); err != nil {
		return &ValueError{Codec: c.Name(), Detail: jsonDetail(err), kind: ErrDecode}
	}
	return nil
}

func (c *jsonCodec) unmarshal(data []byte, into any) error {
	if c.unique != nil {
		err := json.Unmarshal(data, into, c.unique)
		if !errors.Is(err, jsontext.ErrDuplicateName) {
			return err
		}
		reflect.ValueOf(into).Elem().SetZero() // begin again
	}
	return json.Unmarshal(data, into, c.decode)
}

// jsonDetail tells where and of what type, but not what: names and values, and the errors of
// methods that quote them, stay out.
func jsonDetail(err error) string {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case strings.Contains(err.Error(), "invalid UTF-8"):
		return "a string is not valid UTF-8"
	case errors.As(err, &semantic):
		s := fmt.Sprintf("byte %d", semantic.ByteOffset)
		if semantic.JSONKind != 0 {
			s += ", JSON " + semantic.JSONKind.String()
		}
		if semantic.GoType != nil {
			s += ", Go " + semantic.GoType.String()
		}
		return s
	case errors.As(err, &syntactic):
		return fmt.Sprintf("malformed JSON at byte %d", syntactic.ByteOffset)
	default:
		return "malformed JSON"
	}
}

// foreignNumber is true while the library has a Number of its own and so treats encoding/json's as
// any string. Where the library is an alias of the standard one (Go 1.27) the two are the same
// type, and nothing needs to be done.
var foreignNumber = reflect.TypeFor[stdjson.Number]() != reflect.TypeFor[jsonv1.Number]()

func encodeNumber(enc *jsontext.Encoder, n stdjson.Number) error {
	return json.MarshalEncode(enc, jsonv1.Number(n))
}

func decodeNumber(dec *jsontext.Decoder, n *stdjson.Number) error {
	return json.UnmarshalDecode(dec, (*jsonv1.Number)(n))
}

// forType spares values that can hold no json.Number the look for one: functions for a type switch
// off the library's short cuts for interfaces. Interfaces can hold one when encoding; decoding
// never makes one by itself.
func (c *jsonCodec) forType(t reflect.Type) *jsonCodec {
	if c != anyJSON {
		return c
	}
	number, dynamic := reaches(t, map[reflect.Type]bool{})
	switch {
	case number:
		return anyJSON
	case dynamic:
		return dynamicJSON
	default:
		return staticJSON
	}
}

// reaches reports whether a value of type t can hold a json.Number, and whether it can hold an
// interface.
func reaches(t reflect.Type, seen map[reflect.Type]bool) (number, dynamic bool) {
	if seen[t] {
		return false, false
	}
	seen[t] = true
	add := func(t reflect.Type) {
		n, d := reaches(t, seen)
		number, dynamic = number || n, dynamic || d
	}
	switch t.Kind() {
	case reflect.Interface:
		return false, true
	case reflect.String:
		return t == reflect.TypeFor[stdjson.Number](), false
	case reflect.Map:
		add(t.Key())
		add(t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		add(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			add(t.Field(i).Type)
		}
	}
	return number, dynamic
}
