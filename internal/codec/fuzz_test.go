package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/doppio-cache/doppio/internal/alloctest"
)

// mayAllocate is how many bytes decoding data in a sound envelope with these flags may allocate. Packages free for each
// record, and garbage times what its bytes may become: decoders let slices and maps grow step by step, a slice by a
// quarter at a time, and all but the last step is garbage.
func mayAllocate(data []byte, flags uint8, limit int) uint64 {
	const free, garbage = 4 << 20, 8
	size := uint64(len(data))
	if flags&flagCompression == 0 {
		return free + garbage*growth*size
	}
	expanded := min(uint64(limit), mostExpanded(len(data)))
	return free + expanded + garbage*growth*min(expanded, growthAt*size)
}

// decodeWithin decodes data, and fails t if that allocates more than they justify, or leaves a part of a value behind.
func decodeWithin[V any](t *testing.T, c *Typed[V], data []byte, form Form, old V) (err error) {
	t.Helper()
	var flags uint8
	if form == Enveloped && len(data) >= headerSize {
		flags = data[2]
	}
	alloctest.AtMost(t, mayAllocate(data, flags, c.maxDecodedBytes), fmt.Sprintf("%T from %d bytes", old, len(data)), func() {
		v := old
		if err = c.Decode("key", data, form, &v); err != nil && !reflect.ValueOf(&v).Elem().IsZero() {
			t.Errorf("%T: %v left behind after %v", v, v, err)
		}
	})
	return err
}

// decodeOnto decodes data as they are, and as the payload of a sound envelope: the first exercises the envelope, the
// second what lies behind it.
func decodeOnto[V any](t *testing.T, o Options, data []byte, old V) {
	c := mustNew[V](t, o)
	before := bytes.Clone(data)
	for _, form := range []Form{Enveloped, Number} {
		_ = decodeWithin(t, c, data, form, old)
	}
	if len(data) < 1 {
		return
	}
	if c.keys != nil {
		_ = decodeWithin(t, c, sealed(c, "key", data), Enveloped, old)
	}
	sound := append([]byte{1, c.codecID, data[0] & flagsKnown, 0, 0, 0, 0}, data[1:]...)
	err := decodeWithin(t, c, reseal("key", sound), Enveloped, old)
	if err == nil && c.keys != nil && data[0]&flagEncrypted == 0 {
		t.Fatalf("%T: accepted without authentication", old)
	}
	if !bytes.Equal(before, data) {
		t.Fatal("Decode changed its data")
	}
}

// sealed is the sound envelope of data, as decodeOnto wants them, with an encrypted body.
func sealed[V any](c *Typed[V], key string, data []byte) []byte {
	out, rest := []byte{1, c.codecID, data[0]&flagCompression | flagEncrypted, 0, 0, 0, 0}, data[1:]
	if data[0]&flagCompression != 0 {
		if _, n := binary.Uvarint(rest); n > 0 {
			out, rest = append(out, rest[:n]...), rest[n:]
		}
	}
	out, body := c.appendKeyID(out, 0)
	return reseal(key, c.keys.seal(append(out, rest...), 0, body, key, nil))
}

// bombs are small records that claim, or hold, much more than they are, as decodeOnto wants them.
func bombs() map[string][]byte {
	compressed := func(c Compression, size int, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{byte(c)}, uint64(size)), body...)
	}
	zeros := make([]byte, 16<<20)
	nils := append(binary.BigEndian.AppendUint32([]byte{0xdd}, 200_000), bytes.Repeat([]byte{0xc0}, 200_000)...)
	maps := append(binary.BigEndian.AppendUint32([]byte{0xdd}, 100_000), bytes.Repeat([]byte{0x80}, 100_000)...)
	empties := []byte("[" + strings.Repeat("{},", 99_999) + "{}]")
	ones := append(binary.BigEndian.AppendUint32([]byte{0xdd}, 1_000_000), bytes.Repeat([]byte{1}, 1_000_000)...)
	messages := bytes.Repeat([]byte{0x0a, 0}, 500_000)
	return map[string][]byte{
		"MessagePack numbers":         append([]byte{0}, ones...),
		"MessagePack numbers in zstd": compressed(Zstd, len(ones), Zstd.compress(nil, ones)),
		"MessagePack map as ext":      {0, 0xc7, 5, 1, 0xdf, 255, 255, 255, 255},
		"MessagePack map as ext 32":   {0, 0xc9, 0, 0, 0, 5, 1, 0xdf, 0, 255, 255, 255},
		"MessagePack map as a time":   {0, 0xd7, 0xff, 0xde, 255, 255, 1, 1, 1, 1, 1},
		"MessagePack map in exts":     {0, 0xc7, 9, 1, 0x81, 0xd6, 1, 0xde, 255, 255, 1, 1, 1},
		"messages":                    append([]byte{0}, messages...),
		"messages in zstd":            compressed(Zstd, len(messages), Zstd.compress(nil, messages)),
		"zstd without a size":         compressed(Zstd, 64<<20, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 1 | 1<<1 | 8, 0, 0, 'a'}),
		"zstd":                        compressed(Zstd, len(zeros), Zstd.compress(nil, zeros)),
		"s2":                          compressed(S2, len(zeros), S2.compress(nil, zeros)),
		"MessagePack nils":            append([]byte{0}, nils...),
		"MessagePack nils in zstd":    compressed(Zstd, len(nils), Zstd.compress(nil, nils)),
		"MessagePack maps in s2":      compressed(S2, len(maps), S2.compress(nil, maps)),
		"MessagePack array":           {0, 0xdd, 255, 255, 255, 255},
		"MessagePack map":             {0, 0xdf, 255, 255, 255, 255},
		"MessagePack string":          {0, 0xdb, 255, 255, 255, 255},
		"MessagePack bytes":           {0, 0xc6, 255, 255, 255, 255},
		"JSON objects":                append([]byte{0}, empties...),
		"JSON objects in zstd":        compressed(Zstd, len(empties), Zstd.compress(nil, empties)),
		"JSON nulls in zstd":          compressed(Zstd, 500_001, Zstd.compress(nil, []byte("["+strings.Repeat("null,", 99_999)+"null]"))),
		"JSON numbers in s2":          compressed(S2, 200_001, S2.compress(nil, []byte("["+strings.Repeat("1,", 99_999)+"1]"))),
		"JSON arrays in arrays":       append([]byte{0}, strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)...),
	}
}

// decodeAnyhow decodes data onto types of all kinds.
func decodeAnyhow(t *testing.T, data []byte) {
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
	decodeOnto(t, Options{MaxDecodedBytes: 1 << 20, Keyring: keyring("k")}, data, ada)
	decodeOntoLarge(t, data)
}

// decodeOntoLarge decodes data onto types of which a few bytes make many.
func decodeOntoLarge(t *testing.T, data []byte) {
	type large struct{ A [64]int64 }
	for _, o := range []Options{{}, {Codec: MessagePack()}, {Keyring: keyring("k")}} {
		decodeOnto(t, o, data, []large{{}})
		decodeOnto(t, o, data, []*large{{}})
		decodeOnto(t, o, data, map[string]large{"": {}})
		decodeOnto(t, o, data, [][]map[string]large{{{}}})
		decodeOnto[any](t, o, data, "old")
	}
	decodeOnto(t, Options{}, data, &descriptorpb.FileDescriptorSet{})
}

// A payload that is small and claims or holds much costs what its size justifies, whatever it is
// decoded onto.
func TestBombs_costWhatTheyAre(t *testing.T) {
	for name, bomb := range bombs() {
		t.Run(name, func(t *testing.T) { decodeAnyhow(t, bomb) })
	}
}

func FuzzDecode(f *testing.F) {
	for _, bomb := range bombs() {
		if len(bomb) < 4<<10 { // what is larger takes the fuzzer's time, and TestBombs_costWhatTheyAre has it
			f.Add(bomb)
		}
	}
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
	f.Fuzz(decodeAnyhow)
}

// FuzzDecodeRepeated decodes payloads that compress well: a fuzzer that changes compressed bytes hardly ever finds one.
func FuzzDecodeRepeated(f *testing.F) {
	f.Add([]byte("["), []byte("{},"), []byte("{}]"), uint16(60_000), uint8(2))
	f.Add([]byte("["), []byte(`{"":null},`), []byte("null]"), uint16(60_000), uint8(1))
	f.Add([]byte(`{"`), []byte(`a":{"b":[[]]},"`), []byte(`":0}`), uint16(10_000), uint8(0))
	f.Add([]byte("[{"), []byte(`"\u0000":1,`), []byte(`"":1}]`), uint16(60_000), uint8(2))
	f.Add([]byte{0xdd, 0, 0, 0xea, 0x60}, []byte{1}, []byte{}, uint16(60_000), uint8(1))
	f.Add([]byte{}, []byte{0x0a, 2, 0x22, 0}, []byte{}, uint16(60_000), uint8(2))
	f.Add([]byte{0xdd, 0, 0, 0xea, 0x60}, []byte{0xc0}, []byte{}, uint16(60_000), uint8(2))
	f.Add([]byte{0xdd, 0, 0, 0xea, 0x60}, []byte{0x80}, []byte{}, uint16(60_000), uint8(1))
	f.Add([]byte{0xdc, 0xea, 0x60}, []byte{0x81, 0xa0, 0xc0}, []byte{}, uint16(60_000), uint8(0))
	f.Add([]byte{0xdf, 0, 0, 0xea, 0x60}, []byte{0xa0, 0x90}, []byte{}, uint16(60_000), uint8(2))
	f.Fuzz(func(t *testing.T, head, unit, tail []byte, times uint16, compression uint8) {
		payload := slices.Concat(head, bytes.Repeat(unit, min(int(times), 1<<20/max(1, len(unit)))), tail)
		c := Compression(compression % 3)
		data := []byte{byte(c)}
		if c == NoCompression {
			data = append(data, payload...)
		} else {
			data = append(binary.AppendUvarint(data, uint64(len(payload))), c.compress(nil, payload)...)
		}
		decodeOntoLarge(t, data)
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
