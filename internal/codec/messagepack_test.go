package codec

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Declared lengths that are not there must cost nothing, and nesting must not exhaust the stack.
func TestMessagePack_hostileCostsNothing(t *testing.T) {
	docs := map[string][]byte{
		"array32": {0xdd, 255, 255, 255, 255}, "map32": {0xdf, 255, 255, 255, 255}, "map 2^31": {0xdf, 0x80, 0, 0, 0, 1, 1}, "bin32": {0xc6, 255, 255, 255, 255}, "str32": {0xdb, 255, 255, 255, 255},
		"ext32": {0xc9, 255, 255, 255, 255, 0}, "array16": {0xdc, 255, 255, 1}, "unused": {0xc1}, "empty": {}, "trailing": {1, 1}, "short": {0xcd, 1},
		"inner":    append([]byte{0x92, 1}, 0xdd, 255, 255, 255, 255),
		"nested":   bytes.Repeat([]byte{0x91}, 5_000_000),
		"unclosed": append(bytes.Repeat([]byte{0x81, 0xa1, 'x'}, 100_000), 0xc0),
	}
	for name, doc := range docs {
		for _, into := range []any{new(any), new([]int64), new([]any), new(map[string]any), new([]string), new([]byte), new(string), new(map[string]string), new(user), new([][]user)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := MessagePack().Decode(doc, into)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrDecode) {
				t.Errorf("%s into %T: %v", name, into, err)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 1<<20 {
				t.Errorf("%s into %T: %d bytes allocated", name, into, cost)
			}
		}
	}
}

// The scanner accepts everything that the library writes.
func TestMessagePack_scannerAcceptsAllForms(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536} {
		for _, v := range []any{
			bytes.Repeat([]byte{1}, n), string(bytes.Repeat([]byte{'a'}, n)), make([]bool, n), numbered(n), int64(n), int64(-n), uint64(n) << 32, float32(n), float64(n),
			time.Unix(int64(n)<<20, int64(n)), &msgpack.RawMessage{0xc0}, nil,
		} {
			b, err := msgpack.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := scanMessagePack(b); err != nil {
				t.Errorf("%T %d: %v", v, n, err)
			}
			for _, cut := range []int{len(b) - 1, len(b) / 2} {
				if _, err := scanMessagePack(b[:cut]); err == nil {
					t.Errorf("%T %d: accepted %d of %d bytes", v, n, cut, len(b))
				}
			}
		}
	}
}

func numbered(n int) map[int]bool {
	m := make(map[int]bool, n)
	for i := range n {
		m[i] = true
	}
	return m
}

func TestMessagePack_interfaceTypes(t *testing.T) {
	checkRoundTrip[any](t, MessagePack(), nil, []any{int64(1), int64(-200), uint64(1 << 63), int8(5), uint16(6), 1.5, float32(2), "s", []byte("b"), nil, true})
	now := time.Unix(1_700_000_000, 5)
	if got := roundTrip(t, mustNew[time.Time](t, Options{Codec: MessagePack()}), now, time.Time{}); !got.Equal(now) {
		t.Error(got)
	}
}
