package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// settings are combinations of options that every value must survive.
func settings(c Codec) map[string]Options {
	return map[string]Options{
		"plain":     {Codec: c},
		"s2":        {Codec: c, Compression: S2, CompressAbove: 1},
		"zstd":      {Codec: c, Compression: Zstd, CompressAbove: 1},
		"encrypted": {Codec: c, Keyring: keyring("k")},
		"zstd+enc":  {Codec: c, Compression: Zstd, CompressAbove: 1, Keyring: keyring("k")},
	}
}

func checkRoundTrip[V any](t *testing.T, c Codec, old V, values ...V) {
	t.Helper()
	for name, o := range settings(c) {
		tc := mustNew[V](t, o)
		for _, v := range values {
			got := roundTrip(t, tc, v, old)
			if !reflect.DeepEqual(got, v) {
				t.Errorf("%s %s: got %#v, want %#v", tc.Name(), name, got, v)
			}
		}
	}
}

func TestDecode_givesTheEncodedValue(t *testing.T) {
	small := int8(-5)
	w := wide{
		embedded: embedded{Deep: 3, Plain: "p"}, User: ada, Ptr: &ada, List: []user{ada, {}},
		Map: map[string]any{"a": []any{1.5, "x", nil, true}, "b": map[string]any{"é": "\u2028<&>"}}, Counts: map[int]uint8{-1: 200},
		Time: time.Unix(1_700_000_000, 123).UTC(), Wait: time.Minute, Bytes: []byte{0, 1, 255}, Array: [3]byte{1, 2, 3}, Small: &small,
		Quoted: 9, Dynamic: "text", F32: 1.1, Uint: math.MaxUint64, Strings: []string{}, Text: 7,
	}
	for _, c := range []Codec{JSON(), MessagePack()} {
		t.Run(c.Name(), func(t *testing.T) {
			checkRoundTrip(t, c, user{Name: "old"}, ada, user{})
			checkRoundTrip(t, c, &user{Name: "old"}, nil, &user{}, &ada)
			checkRoundTrip(t, c, []int{9, 9, 9}, nil, []int{}, []int{1}, []int{1, 2, 3, 4})
			checkRoundTrip(t, c, map[string]int{"old": 1}, nil, map[string]int{}, map[string]int{"": 1})
			checkRoundTrip(t, c, []byte("old"), nil, []byte{}, []byte("new"))
			checkRoundTrip(t, c, "old", "", "new", "日本語\x00", strings.Repeat("long ", 1000))
			checkRoundTrip(t, c, true, true, false)
			checkRoundTrip(t, c, 1.0, 0, math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21)
			checkRoundTrip(t, c, [2]string{"a", "b"}, [2]string{"", "c"})
			checkRoundTrip(t, c, struct{}{}, struct{}{})
			checkRoundTrip[any](t, c, "old", nil, "s", true, 1.5, 3.0, []any{"a", nil}, map[string]any{"k": "v"})
			checkRoundTrip(t, c, []*user{}, []*user{nil, {}, &ada})
			for _, n := range []int64{0, -1, math.MaxInt64, math.MinInt64} {
				checkRoundTrip(t, c, int64(5), n)
				checkRoundTrip(t, c, uint64(5), uint64(n))
				checkRoundTrip(t, c, time.Second, time.Duration(n))
			}
		})
	}
	checkRoundTrip(t, JSON(), wide{Hidden: "old"}, w, wide{Text: 7})
	checkRoundTrip(t, JSON(), time.Time{}, time.Unix(1_700_000_000, 5).UTC())
	checkRoundTrip(t, JSON(), loudInt(1), 7)
	checkRoundTrip(t, JSON(), json.RawMessage("1"), json.RawMessage(`{"a":1}`))
	checkRoundTrip(t, nil, json.Number("5"), "12345678901234567890123", "")
}

func TestRaw_readsBack(t *testing.T) {
	checkRoundTrip(t, nil, []byte("old"), nil, []byte{}, []byte("new\x00\xff"))
	checkRoundTrip(t, nil, "old", "", "new\x00\xff")
	checkRoundTrip(t, nil, namedText("old"), "", "new")
	checkRoundTrip(t, nil, namedBytes("old"), nil, namedBytes{}, namedBytes("new"))
	checkRoundTrip(t, nil, net.IP{}, nil, net.IPv4(1, 2, 3, 4))
	checkRoundTrip(t, nil, bytes.Repeat([]byte("ab"), 1<<20), bytes.Repeat([]byte("abc"), 1<<20))
}

func TestProtobuf_readsBack(t *testing.T) {
	s, err := structpb.NewStruct(map[string]any{"k": strings.Repeat("v", 2000)})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range settings(nil) {
		c := mustNew[*structpb.Struct](t, o)
		for _, v := range []*structpb.Struct{{}, s} {
			if got := roundTrip(t, c, v, s); !proto.Equal(got, v) || got == v {
				t.Errorf("%s: got %v, want %v", name, got, v)
			}
		}
		if got := roundTrip(t, c, nil, s); got != nil {
			t.Errorf("%s: nil became %v", name, got)
		}
	}
	var stamp timestamppb.Timestamp
	if err := Protobuf().Decode([]byte{0x08, 0x05}, &stamp); err != nil || stamp.Seconds != 5 {
		t.Errorf("decode into a message: %v %v", &stamp, err)
	}
	c := mustNew[*structpb.Struct](t, Options{})
	if _, _, err := c.Encode(nil, "k", new(structpb.NewStringValue("\xff").GetStructValue())); err != nil {
		t.Error(err) // nil: not the string
	}
	bad := &structpb.Struct{Fields: map[string]*structpb.Value{"k": structpb.NewStringValue("\xffsecret")}}
	if _, _, err := c.Encode(nil, "k", &bad); !errors.Is(err, ErrEncode) || strings.Contains(err.Error(), "secret") {
		t.Errorf("invalid UTF-8: %v", err)
	}
}

// Bytes that one codec wrote are refused by another, even where they would make sense.
func TestDecode_refusesTheBytesOfAnotherCodec(t *testing.T) {
	data, form := mustEncode(t, mustNew[string](t, Options{Codec: JSON()}), "k", "v")
	for _, c := range []Codec{MessagePack(), Raw(), reverser{id: 64}} {
		var s string
		if err := mustNew[string](t, Options{Codec: c}).Decode("k", data, form, &s); !errors.Is(err, ErrWrongCodec) {
			t.Errorf("%s: %v", c.Name(), err)
		}
	}
}

// A record of another shape is an error that quotes nothing of it.
func TestValueError_holdsNoValue(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []Codec{JSON(), MessagePack()} {
		text, form := mustEncode(t, mustNew[any](t, Options{Codec: c}), "k", any(map[string]any{secret: secret, "ID": secret, "Time": secret, "id": secret}))
		check := func(name string, err error) {
			t.Helper()
			if !errors.Is(err, ErrDecode) {
				t.Errorf("%s %s: %v", c.Name(), name, err)
			}
			for ; err != nil; err = errors.Unwrap(err) {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s %s tells: %v", c.Name(), name, err)
				}
			}
		}
		check("struct", mustNew[user](t, Options{Codec: c}).Decode("k", text, form, new(user)))
		check("time", mustNew[struct{ Time time.Time }](t, Options{Codec: c}).Decode("k", text, form, new(struct{ Time time.Time })))
		check("map", mustNew[map[string]int](t, Options{Codec: c}).Decode("k", text, form, new(map[string]int)))
		check("slice", mustNew[[]string](t, Options{Codec: c}).Decode("k", text, form, new([]string)))
		check("bytes", mustNew[[]byte](t, Options{Codec: c}).Decode("k", text, form, new([]byte)))
	}
	for name, v := range map[string]any{
		"number": math.NaN(), "chan": make(chan int), "text": []any{secret + "\xff"}, "key": map[string]any{secret + "\xff": 1}, "method": failing{secret},
	} {
		_, _, err := mustNew[any](t, Options{}).Encode(nil, "k", &v)
		if !errors.Is(err, ErrEncode) || strings.Contains(err.Error(), secret) {
			t.Errorf("encode %s: %v", name, err)
		}
	}
}

type failing struct{ text string }

func (f failing) MarshalJSON() ([]byte, error) { return nil, errors.New(f.text) }

// A failure leaves nothing of the value behind.
func TestDecode_leavesZeroWhenItFails(t *testing.T) {
	data, form := mustEncode(t, mustNew[map[string]any](t, Options{}), "k", map[string]any{"a_name": "Ada", "id": 5.0, "score": "x"})
	got := ada
	if err := mustNew[user](t, Options{}).Decode("k", data, form, &got); err == nil || got != (user{}) {
		t.Errorf("%v, %+v", err, got)
	}
	got = ada
	if err := mustNew[user](t, Options{}).Decode("k", nil, Form(9), &got); !errors.Is(err, ErrUnknownVersion) || got != (user{}) {
		t.Errorf("%v, %+v", err, got)
	}
}

// reverser is a user's codec for strings.
type reverser struct {
	id       uint8
	fail     error
	panics   any
	spoilDst bool
}

func (r reverser) ID() uint8    { return r.id }
func (r reverser) Name() string { return "reverser" }
func (r reverser) Append(dst []byte, v any) ([]byte, error) {
	if r.panics != nil {
		panic(r.panics)
	}
	b := []byte(v.(string))
	slices.Reverse(b)
	if r.spoilDst {
		return b, r.fail // forgets to append
	}
	return append(dst, b...), r.fail
}

func (r reverser) Decode(data []byte, into any) error {
	if r.panics != nil {
		panic(r.panics)
	}
	b := bytes.Clone(data)
	slices.Reverse(b)
	*into.(*string) = string(b)
	return r.fail
}

func TestCodec_mayBeTheUsersOwn(t *testing.T) {
	checkRoundTrip(t, reverser{id: 64}, "old", "", "abc")
	checkRoundTrip(t, reverser{id: 255, spoilDst: true}, "old", "", "abc")
	if ok, _, _, _ := mustNew[int](t, Options{Codec: reverser{id: 64}}).Numeric(); ok {
		t.Error("a user's codec is Numeric")
	}
	data, form := mustEncode(t, mustNew[string](t, Options{Codec: reverser{id: 64}}), "k", "v")
	mine := errors.New("mine")
	for name, r := range map[string]reverser{
		"error": {id: 64, fail: mine}, "panic": {id: 64, panics: "the value is v"}, "panic error": {id: 64, panics: mine}, "nil map": {id: 64, panics: new(runtimePanic).get()},
	} {
		c := mustNew[string](t, Options{Codec: r})
		v := "v"
		out, _, err := c.Encode([]byte("pre"), "k", &v)
		if !errors.Is(err, ErrEncode) || string(out) != "pre" {
			t.Errorf("%s: encode %q %v", name, out, err)
		}
		if r.fail != nil && !errors.Is(err, mine) {
			t.Errorf("%s: the codec's own error is lost: %v", name, err)
		}
		if strings.Contains(err.Error(), "the value is") {
			t.Errorf("%s: tells: %v", name, err)
		}
		if err := c.Decode("k", data, form, &v); !errors.Is(err, ErrDecode) || v != "" {
			t.Errorf("%s: decode %q %v", name, v, err)
		}
	}
}

type runtimePanic struct{}

func (*runtimePanic) get() (r any) {
	defer func() { r = recover() }()
	one, two := []int{1}, 2
	return one[two]
}

func TestName_tellsCodecCompressionAndCipher(t *testing.T) {
	for want, got := range map[string]string{
		"json":                 mustNew[user](t, Options{}).Name(),
		"raw":                  mustNew[string](t, Options{}).Name(),
		"protobuf":             mustNew[*timestamppb.Timestamp](t, Options{}).Name(),
		"json+s2+aes-256-gcm":  mustNew[user](t, Options{Compression: S2, Keyring: keyring("k")}).Name(),
		"msgpack+zstd":         mustNew[user](t, Options{Codec: MessagePack(), Compression: Zstd}).Name(),
		"reverser+aes-256-gcm": mustNew[string](t, Options{Codec: reverser{id: 99}, Keyring: keyring("k")}).Name(),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if s := fmt.Sprint(NoCompression, S2, Zstd, Compression(3)); s != "none s2 zstd Compression(3)" {
		t.Error(s)
	}
}
