package codec

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

// decodeOnto decodes data as they are, and as the payload of a sound envelope: the first exercises the envelope, the
// second what lies behind it.
func decodeOnto[V any](t *testing.T, o Options, data []byte, old V) {
	c := mustNew[V](t, o)
	before := bytes.Clone(data)
	for _, form := range []Form{Enveloped, Number} {
		v := old
		if err := c.Decode("key", data, form, &v); err != nil && !reflect.ValueOf(&v).Elem().IsZero() {
			t.Fatalf("%T: %v left behind after %v", v, v, err)
		}
	}
	if len(data) < 1 {
		return
	}
	sound := append([]byte{1, c.codecID, data[0] & flagsKnown, 0, 0, 0, 0}, data[1:]...)
	v := old
	err := c.Decode("key", reseal("key", sound), Enveloped, &v)
	if err != nil && !reflect.ValueOf(&v).Elem().IsZero() {
		t.Fatalf("%T: %v left behind after %v", v, v, err)
	}
	if err == nil && c.keys != nil && data[0]&flagEncrypted == 0 {
		t.Fatalf("%T: accepted without authentication", v)
	}
	if !bytes.Equal(before, data) {
		t.Fatal("Decode changed its data")
	}
}

func FuzzDecode(f *testing.F) {
	long := bytes.Repeat([]byte("abc"), 1000)
	for _, o := range settings(nil) {
		c := mustNew[[]byte](f, o)
		data, _ := mustEncode(f, c, "key", long)
		f.Add(data)
		f.Add(append([]byte{data[2]}, data[headerSize:]...)) // as decodeOnto wants it
	}
	for _, doc := range documents {
		f.Add(append([]byte{0}, doc...))
	}
	for _, doc := range [][]byte{nil, {0}, {flagNil}, {0, 0xdd, 255, 255, 255, 255}, {0, 0x82, 0xa1, 'a', 1}, {1, 255, 255, 255, 255, 15, 0}, {2, 4, 0x28, 0xb5, 0x2f, 0xfd}, {4, 1, 'k'}, []byte("-9223372036854775808")} {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		limited := Options{MaxDecodedBytes: 1 << 20}
		packed := Options{MaxDecodedBytes: 1 << 20, Codec: MessagePack()}
		decodeOnto(t, limited, data, ada)
		decodeOnto(t, limited, data, wide{User: ada})
		decodeOnto(t, limited, data, 5)
		decodeOnto(t, limited, data, uint8(5))
		decodeOnto[any](t, limited, data, "old")
		decodeOnto(t, limited, data, "old")
		decodeOnto(t, limited, data, namedBytes("old"))
		decodeOnto(t, limited, data, &structpb.Struct{})
		decodeOnto(t, packed, data, ada)
		decodeOnto(t, packed, data, wide{User: ada})
		decodeOnto[any](t, packed, data, "old")
		decodeOnto(t, packed, data, map[any]any{1: 1})
		decodeOnto(t, Options{Keyring: keyring("k")}, data, ada)
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("key", int64(5), "name", []byte("bytes"), 1.5, true, uint8(0), 3, uint8(1))
	f.Add("", int64(math.MinInt64), "", []byte(nil), 0.0, false, uint8(7), 0, uint8(0x80))
	f.Add("k\x00\xff", int64(-1), "日本", bytes.Repeat([]byte("a"), 3000), math.Inf(1), true, uint8(13), 1000, uint8(4))
	f.Fuzz(func(t *testing.T, key string, id int64, name string, b []byte, score float64, active bool, setting uint8, at int, flip uint8) {
		o := Options{Compression: Compression(setting % 3), CompressAbove: 1}
		if setting&4 != 0 {
			o.Keyring = keyring("k")
		}
		if setting&8 != 0 {
			o.Codec = MessagePack()
		}
		survives(t, o, key, user{ID: id, Name: name, Age: int32(id), Active: active, Score: score}, at, flip)
		survives(t, o, key, id, at, flip)
		survives(t, o, key, []any{name, score, nil, map[string]any{name: active}}, at, flip)
		o.Codec = nil
		survives(t, o, key, b, at, flip)
		survives(t, o, key, name, at, flip)
	})
}

// survives proves that what can be encoded comes back, and that its damaged bytes do not.
func survives[V any](t *testing.T, o Options, key string, v V, at int, flip uint8) {
	t.Helper()
	c := mustNew[V](t, o)
	data, form, err := c.Encode(nil, key, &v)
	if err != nil {
		return // not UTF-8, or not a number
	}
	var got V
	if err := c.Decode(key, data, form, &got); err != nil {
		t.Fatalf("%s: %#v: %v", c.Name(), v, err)
	}
	if !reflect.DeepEqual(got, v) && !bothNaN(got, v) {
		t.Fatalf("%s: %#v became %#v", c.Name(), v, got)
	}
	if form == Number {
		return // a script must be able to change it, so nothing protects it
	}
	at = int(uint(at) % uint(len(data)))
	if err := c.Decode(key, data[:at], form, &got); err == nil {
		t.Fatalf("%s: %#v from %d of %d bytes", c.Name(), got, at, len(data))
	}
	if err := c.Decode(key+"x", data, form, &got); err == nil {
		t.Fatalf("%s: %#v from another key", c.Name(), got)
	}
	if flip != 0 {
		data[at] ^= flip
		if err := c.Decode(key, data, form, &got); err == nil {
			t.Fatalf("%s: %#v with byte %d changed", c.Name(), got, at)
		}
	}
}

// bothNaN: MessagePack can store what does not equal itself.
func bothNaN(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 != nil && err2 != nil || bytes.Equal(x, y)
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "0", "-0", "01", "-1", "9223372036854775808", "18446744073709551616", "+1", " 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		c := mustNew[any](t, Options{})
		if c.Decode("k", data, Number, &v) != nil {
			return
		}
		again, form := mustEncode(t, c, "k", v)
		if form != Number || !bytes.Equal(again, data) {
			t.Fatalf("%q became %q", data, again)
		}
	})
}

func FuzzJSONLikeStandard(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) { sameForAll(t, doc) })
}
