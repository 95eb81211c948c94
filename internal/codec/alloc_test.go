//go:build !race

package codec

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// checkAllocs holds encoding into a buffer that is large enough, and decoding, to budgets.
func checkAllocs[V any](t *testing.T, name string, o Options, v V, encode, decode float64) {
	t.Helper()
	c := mustNew[V](t, o)
	data, form := mustEncode(t, c, "user:1234567", v)
	buf := make([]byte, 0, 4096)
	var got V
	if n := testing.AllocsPerRun(200, func() {
		if _, _, err := c.Encode(buf, "user:1234567", &v); err != nil {
			t.Fatal(err)
		}
	}); n > encode {
		t.Errorf("%s: %v allocations to encode, not %v", name, n, encode)
	}
	if n := testing.AllocsPerRun(200, func() {
		if err := c.Decode("user:1234567", data, form, &got); err != nil {
			t.Fatal(err)
		}
	}); n > decode {
		t.Errorf("%s: %v allocations to decode, not %v", name, n, decode)
	}
}

func TestTyped_allocatesLittle(t *testing.T) {
	checkAllocs(t, "json", Options{}, ada, 0, 0)
	checkAllocs(t, "json, strings", Options{}, user{Name: string(make([]byte, 300)), Email: "@"}, 0, 2)
	checkAllocs(t, "json, s2", Options{Compression: S2, CompressAbove: 1}, ada, 0, 0)
	checkAllocs(t, "json, zstd", Options{Compression: Zstd, CompressAbove: 1}, ada, 0, 0)
	checkAllocs(t, "json, encrypted", Options{Keyring: keyring("k")}, ada, 0, 0)
	checkAllocs(t, "msgpack", Options{Codec: MessagePack()}, ada, 0, 2)
	checkAllocs(t, "raw string", Options{}, "text", 0, 1)
	checkAllocs(t, "raw bytes", Options{}, []byte("text"), 0, 1)
	checkAllocs(t, "protobuf", Options{}, timestamppb.Now(), 0, 1)
	checkAllocs(t, "number", Options{}, int64(1234567), 0, 0)
	checkAllocs[any](t, "number in an interface", Options{}, 1234567, 0, 2)
}
