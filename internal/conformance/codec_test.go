package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/doppio-cache/doppio/tiered"
)

// backwards is a user's own codec.
type backwards struct{}

func (backwards) ID() uint8    { return 64 }
func (backwards) Name() string { return "backwards" }

func (backwards) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	slices.Reverse(b)
	return append(dst, b...), err
}

func (backwards) Decode(data []byte, into any) error {
	b := bytes.Clone(data)
	slices.Reverse(b)
	return json.Unmarshal(b, into)
}

func keyring(active string, ids ...string) *tiered.Keyring {
	k := &tiered.Keyring{Active: active, Keys: make(map[string][]byte)}
	for _, id := range ids {
		k.Keys[id] = bytes.Repeat([]byte(id), 32)[:32]
	}
	return k
}

// codecRows: codecs, compression and encryption, alone and together.
func codecRows() []row {
	long := strings.Repeat("compress me ", 4096)
	big := strings.Repeat("0123456789abcdef", 10<<20/16) // 10 MiB
	o := func(c tiered.Codec, z tiered.Compression, k *tiered.Keyring) tiered.CacheOptions {
		return tiered.CacheOptions{Codec: c, Compression: z, Keyring: k}
	}
	packed := point{X: 1, Name: text, Tags: []string{"a"}, At: time.Unix(5, 6).UTC()}
	return concat(
		refusedRows(),
		stored("JSON/string", o(tiered.JSON(), 0, nil), text),
		stored("JSON/bytes", o(tiered.JSON(), 0, nil), []byte{0, 0xff}),
		stored("MessagePack/string", o(tiered.MessagePack(), 0, nil), "\xff"),
		stored("MessagePack/bytes", o(tiered.MessagePack(), 0, nil), []byte{0, 0xff}),
		stored("MessagePack/struct", o(tiered.MessagePack(), 0, nil), struct{ A, B string }{"a", text}),
		stored("MessagePack/map", o(tiered.MessagePack(), 0, nil), map[string]int64{"a": 1}),
		storedAs[any]("MessagePack/any", o(tiered.MessagePack(), 0, nil), []any{"a", []byte{1}, 1.5}, []any{"a", []byte{1}, 1.5}),
		stored("Raw/named", o(tiered.Raw(), 0, nil), label(text)),
		stored("Protobuf", o(tiered.Protobuf(), 0, nil), timestamppb.New(time.Unix(7, 8))),
		stored("own codec", o(backwards{}, 0, nil), packed),
		stored("own codec/int", o(backwards{}, 0, nil), 5),
		stored("S2/string", o(nil, tiered.S2, nil), long),
		stored("S2/incompressible", tiered.CacheOptions{Compression: tiered.S2, CompressAbove: 1}, "\x00\x01\x02"),
		stored("Zstd/struct", o(nil, tiered.Zstd, nil), point{Name: long}),
		stored("Zstd/own codec", o(backwards{}, tiered.Zstd, nil), long),
		stored("encrypted/string", o(nil, 0, keyring("a", "a")), text),
		stored("encrypted/int", o(nil, 0, keyring("a", "a")), int64(5)),
		stored[*point]("encrypted/nil", o(nil, 0, keyring("a", "a")), nil),
		stored("encrypted/S2", o(nil, tiered.S2, keyring("a", "a")), long),
		stored("encrypted/message", o(nil, tiered.Zstd, keyring("a", "a")), timestamppb.New(time.Unix(9, 9))),

		large("10 MiB string", o(nil, 0, nil), big),
		large("10 MiB bytes", o(nil, 0, nil), []byte(big)),
		large("10 MiB S2", o(nil, tiered.S2, nil), big),
		[]row{
			{op: "Get", name: "key rotation", once: true, run: keyRotation},
			{op: "Get", name: "compression changed", once: true, run: compressionChanged},
			{op: "Get", name: "plain value where encryption is on", once: true, run: plainWhereEncrypted},
			{op: "Get", name: "ciphertext moved to another key", once: true, run: movedCiphertext},
		},
	)
}

// large are only stored and read: they are slow.
func large[V any](name string, o tiered.CacheOptions, v V) []row {
	return []row{{op: "Set", name: "value/" + name, once: true, run: func(t *testing.T, e *env) {
		check(t, cache[V](t, e.first, e.name, o).Set(t.Context(), "k", v))
		finds(t, cache[V](t, e.second, e.name, o), "k", v, nil)
		check(t, e.raw.Del(t.Context(), e.remoteKey("k")).Err())
	}}}
}

// A fleet adds the new key everywhere, then makes it active, then drops the old one.
func keyRotation(t *testing.T, e *env) {
	before := cache[string](t, e.first, e.name, tiered.CacheOptions{Keyring: keyring("old", "old")})
	check(t, before.Set(t.Context(), "k", "one"))
	during := cache[string](t, e.second, e.name, tiered.CacheOptions{Keyring: keyring("new", "old", "new")})
	finds(t, during, "k", "one", nil)
	check(t, during.Set(t.Context(), "k", "two"))
	after := cache[string](t, e.stranger, e.name, tiered.CacheOptions{Keyring: keyring("new", "new")})
	finds(t, after, "k", "two", nil)
	sees(t, before, "k", "", errDecode) // it lacks the new key
	want(t, "three")(before.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { return "three", nil }))
	finds(t, after, "k2", "", tiered.ErrNotFound)
}

func compressionChanged(t *testing.T, e *env) {
	long := strings.Repeat("z", 1<<16)
	check(t, cache[string](t, e.first, e.name, tiered.CacheOptions{Compression: tiered.S2}).Set(t.Context(), "k", long))
	finds(t, cache[string](t, e.second, e.name, tiered.CacheOptions{Compression: tiered.Zstd}), "k", long, nil)
	finds(t, cache[string](t, e.stranger, e.name), "k", long, nil)
}

func plainWhereEncrypted(t *testing.T, e *env) {
	check(t, cache[int64](t, e.first, e.name).Set(t.Context(), "k", 5))
	sealed := cache[int64](t, e.second, e.name, tiered.CacheOptions{Keyring: keyring("a", "a")})
	finds(t, sealed, "k", 0, errDecode)
	want(t, int64(6))(sealed.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) { return 6, nil }))
	finds(t, cache[int64](t, e.stranger, e.name, tiered.CacheOptions{Keyring: keyring("a", "a")}), "k", 6, nil)
}

func movedCiphertext(t *testing.T, e *env) {
	o := tiered.CacheOptions{Keyring: keyring("a", "a")}
	check(t, cache[string](t, e.first, e.name, o).Set(t.Context(), "k", "secret"))
	data, err := e.raw.Get(t.Context(), e.remoteKey("k")).Bytes()
	check(t, err)
	if bytes.Contains(data, []byte("secret")) {
		t.Fatal("the value is in Redis in the clear")
	}
	check(t, e.raw.Set(t.Context(), e.remoteKey("l"), data, 0).Err())
	finds(t, cache[string](t, e.second, e.name, o), "l", "", errDecode)
}
