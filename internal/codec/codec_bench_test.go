package codec

import (
	"bytes"
	"encoding/json"
	"testing"
)

// Run with: go test -run '^$' -bench . -benchmem -count 6 ./internal/codec
//
// doppio is Typed.Encode and Typed.Decode, so with envelope, checksum and checks; encoding-json is the bare library.

func benchDecode[V any](b *testing.B, name string, o Options, v V) {
	c := mustNew[V](b, o)
	data, form := mustEncode(b, c, "user:1234567", v)
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var got V
			if err := c.Decode("user:1234567", data, form, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchEncode[V any](b *testing.B, name string, o Options, v V) {
	c := mustNew[V](b, o)
	var buf []byte
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out, _, err := c.Encode(buf[:0], "user:1234567", &v)
			if err != nil {
				b.Fatal(err)
			}
			buf = out
		}
	})
}

func benchStandard[V any](b *testing.B, v V) {
	data, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var got V
			if err := json.Unmarshal(data, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeStruct(b *testing.B) {
	benchDecode(b, "doppio", Options{}, ada)
	benchStandard(b, ada)
	benchDecode(b, "msgpack", Options{Codec: MessagePack()}, ada)
	benchDecode(b, "s2", Options{Compression: S2, CompressAbove: 1}, ada)
	benchDecode(b, "zstd", Options{Compression: Zstd, CompressAbove: 1}, ada)
	benchDecode(b, "encrypted", Options{Keyring: keyring("k")}, ada)
}

func BenchmarkEncodeStruct(b *testing.B) {
	benchEncode(b, "doppio", Options{}, ada)
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&ada); err != nil {
				b.Fatal(err)
			}
		}
	})
	benchEncode(b, "msgpack", Options{Codec: MessagePack()}, ada)
	benchEncode(b, "s2", Options{Compression: S2, CompressAbove: 1}, ada)
	benchEncode(b, "zstd", Options{Compression: Zstd, CompressAbove: 1}, ada)
	benchEncode(b, "encrypted", Options{Keyring: keyring("k")}, ada)
}

func BenchmarkDecodeAny(b *testing.B) {
	var v any = map[string]any{"id": 1.0, "name": "Ada Lovelace", "tags": []any{"a", "b", "c"}, "nested": map[string]any{"score": 98.25, "active": true}}
	benchDecode(b, "doppio", Options{}, v)
	benchStandard(b, v)
}

func BenchmarkDecodeList(b *testing.B) {
	users := make([]user, 40)
	for i := range users {
		users[i] = ada
	}
	benchDecode(b, "doppio", Options{}, users)
	benchStandard(b, users)
}

func BenchmarkNumber(b *testing.B) {
	benchEncode(b, "encode", Options{}, int64(1234567))
	benchDecode(b, "decode", Options{}, int64(1234567))
}

func BenchmarkRaw10MB(b *testing.B) {
	v := bytes.Repeat([]byte("0123456789"), 1<<20)
	benchEncode(b, "encode", Options{}, v)
	benchDecode(b, "decode", Options{}, v)
}
