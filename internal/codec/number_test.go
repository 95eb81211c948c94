package codec

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strconv"
	"testing"
	"time"
)

func checkNumber[V comparable](t *testing.T, text string, want V, wantErr error) {
	t.Helper()
	c := mustNew[V](t, Options{})
	got := want
	err := c.Decode("k", []byte(text), Number, &got)
	if !errors.Is(err, wantErr) || err == nil && got != want {
		t.Errorf("%T from %q: %v, %v; want %v, %v", want, text, got, err, want, wantErr)
	}
	if err != nil && got != *new(V) {
		t.Errorf("%T from %q: %v left behind", want, text, got)
	}
	if err == nil {
		if data, form := mustEncode(t, c, "k", want); form != Number || string(data) != text {
			t.Errorf("%T %v: encoded as %q, form %d", want, want, data, form)
		}
	}
}

func TestNumber_hasOneFormWithinTheBoundsOfItsType(t *testing.T) {
	checkNumber(t, "0", 0, nil)
	checkNumber(t, "-1", int8(-1), nil)
	checkNumber(t, "127", int8(127), nil)
	checkNumber(t, "-128", int8(-128), nil)
	checkNumber(t, "128", int8(0), ErrDecode)
	checkNumber(t, "-129", int8(0), ErrDecode)
	checkNumber(t, "32768", namedInt(0), ErrDecode)
	checkNumber(t, "-32768", namedInt(-32768), nil)
	checkNumber(t, "-1", uint16(0), ErrDecode)
	checkNumber(t, "65536", uint16(0), ErrDecode)
	checkNumber(t, "65535", uint16(65535), nil)
	checkNumber(t, "9223372036854775807", int64(math.MaxInt64), nil)
	checkNumber(t, "-9223372036854775808", int64(math.MinInt64), nil)
	checkNumber(t, "9223372036854775808", int64(0), ErrDecode)
	checkNumber(t, "-9223372036854775809", int64(0), ErrDecode)
	checkNumber(t, "18446744073709551615", uint64(math.MaxUint64), nil)
	checkNumber(t, "18446744073709551616", uint64(0), ErrDecode)
	checkNumber(t, "99999999999999999999999", uint64(0), ErrDecode)
	checkNumber(t, "60000000000", time.Minute, nil)
	for _, garbage := range []string{"", "-", "+1", "1.0", " 1", "1 ", "01", "-0", "-01", "00", "1e3", "0x1", "１", "1_000", "--1", "1\n", "\x00", "1-"} {
		checkNumber(t, garbage, 0, ErrCorrupt)
		checkNumber(t, garbage, uint8(0), ErrCorrupt)
		checkNumber[any](t, garbage, nil, ErrCorrupt)
	}
	checkNumber(t, "5", "", ErrWrongCodec)
	checkNumber(t, "5", 0.0, ErrWrongCodec)
	checkNumber(t, "5", user{}, ErrWrongCodec)
	checkNumber(t, "5", loudInt(0), ErrWrongCodec)
}

func TestNumber_inAnInterface(t *testing.T) {
	type hidden int8
	tests := []struct {
		in   any
		form Form
		out  any
	}{
		{5, Number, int64(5)}, {int8(-5), Number, int64(-5)}, {uint32(5), Number, int64(5)}, {int64(math.MinInt64), Number, int64(math.MinInt64)},
		{uint64(math.MaxInt64), Number, int64(math.MaxInt64)}, {uint64(math.MaxInt64) + 1, Number, uint64(math.MaxInt64) + 1},
		{time.Second, Number, int64(1e9)}, {hidden(3), Number, int64(3)},
		{json.Number("12"), Number, int64(12)}, {json.Number("18446744073709551615"), Number, uint64(math.MaxUint64)},
		{json.Number("1.50"), Enveloped, 1.5}, {json.Number("1e2"), Enveloped, 100.0}, {json.Number("18446744073709551616"), Enveloped, 18446744073709551616.0},
		{3.0, Enveloped, 3.0}, {float32(2), Enveloped, 2.0}, {"5", Enveloped, "5"}, {true, Enveloped, true}, {nil, Enveloped, nil}, {loudInt(1), Enveloped, "loud"},
		{big.NewInt(5), Enveloped, 5.0},
	}
	for _, test := range tests {
		c := mustNew[any](t, Options{})
		data, form := mustEncode(t, c, "k", test.in)
		var got any
		if err := c.Decode("k", data, form, &got); err != nil || form != test.form || got != test.out {
			t.Errorf("%T %v: form %d, %T %v, %v", test.in, test.in, form, got, got, err)
		}
	}
}

func TestNumeric_givesTheBoundsOfTheType(t *testing.T) {
	type result struct {
		ok       bool
		min, max int64
		bounded  bool
	}
	of := func(c interface {
		Numeric() (bool, int64, int64, bool)
	}) result {
		ok, lo, hi, bounded := c.Numeric()
		return result{ok, lo, hi, bounded}
	}
	all := result{true, math.MinInt64, math.MaxInt64, false}
	tests := []struct {
		name string
		got  result
		want result
	}{
		{"int8", of(mustNew[int8](t, Options{})), result{true, -128, 127, true}},
		{"named", of(mustNew[namedInt](t, Options{Codec: MessagePack()})), result{true, -32768, 32767, true}},
		{"int32", of(mustNew[int32](t, Options{})), result{true, math.MinInt32, math.MaxInt32, true}},
		{"int", of(mustNew[int](t, Options{})), result{true, math.MinInt, math.MaxInt, strconv.IntSize < 64}},
		{"int64", of(mustNew[int64](t, Options{Compression: S2})), all},
		{"uint8", of(mustNew[uint8](t, Options{Codec: JSON()})), result{true, 0, 255, true}},
		{"uint64", of(mustNew[uint64](t, Options{})), result{true, 0, math.MaxInt64, true}},
		{"any", of(mustNew[any](t, Options{})), all},
		{"duration", of(mustNew[time.Duration](t, Options{})), all},
		{"method", of(mustNew[loudInt](t, Options{})), result{}},
		{"float", of(mustNew[float64](t, Options{})), result{}},
		{"pointer", of(mustNew[*int](t, Options{})), result{}},
		{"uintptr", of(mustNew[uintptr](t, Options{})), result{}},
		{"string", of(mustNew[string](t, Options{})), result{}},
		{"encrypted", of(mustNew[int](t, Options{Keyring: keyring("k")})), result{}},
		{"user's codec", of(mustNew[any](t, Options{Codec: reverser{id: 64}})), result{}},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, test.got, test.want)
		}
	}
}

// A number is not authenticated, so a cache with a keyring refuses it.
func TestKeyring_refusesNumbers(t *testing.T) {
	n := 5
	if err := mustNew[int](t, Options{Keyring: keyring("k")}).Decode("k", []byte("5"), Number, &n); !errors.Is(err, ErrWrongCodec) || n != 0 {
		t.Error(n, err)
	}
}
