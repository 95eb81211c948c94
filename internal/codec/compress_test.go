package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

func TestCompression_isUsedOnlyWhenItHelps(t *testing.T) {
	long := strings.Repeat("doppio ", 1000)
	for _, compression := range []Compression{S2, Zstd} {
		c := mustNew[string](t, Options{Compression: compression, CompressAbove: 50})
		for _, test := range []struct {
			v          string
			compressed bool
		}{{long, true}, {long[:50], true}, {long[:49], false}, {"", false}, {incompressible(), false}} {
			data, _ := mustEncode(t, c, "k", test.v)
			if got := data[2]&flagCompression != 0; got != test.compressed {
				t.Errorf("%v of %d bytes: compressed %v", compression, len(test.v), got)
			}
			if len(data) > len(test.v)+headerSize {
				t.Errorf("%v: %d bytes became %d", compression, len(test.v), len(data))
			}
		}
		// Whatever one writes, another with other settings reads.
		data, form := mustEncode(t, c, "k", long)
		var s string
		if err := mustNew[string](t, Options{}).Decode("k", data, form, &s); err != nil || s != long {
			t.Error(err)
		}
	}
}

func incompressible() string {
	b, x := make([]byte, 4096), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// A value that could not be read back is not written.
func TestMaxDecodedBytes_boundsReadingAndWriting(t *testing.T) {
	long := strings.Repeat("a", 5000)
	for _, compression := range []Compression{S2, Zstd} {
		data, form := mustEncode(t, mustNew[string](t, Options{Compression: compression}), "k", long)
		tight := mustNew[string](t, Options{Compression: compression, MaxDecodedBytes: 4999})
		var size *SizeError
		if _, _, err := tight.Encode(nil, "k", &long); !errors.As(err, &size) || size.Field != "MaxDecodedBytes" {
			t.Error(err)
		}
		var s string
		if err := tight.Decode("k", data, form, &s); !errors.As(err, &size) || size.Size != 5000 || s != "" {
			t.Error(err)
		}
		if err := mustNew[string](t, Options{MaxDecodedBytes: 5000}).Decode("k", data, form, &s); err != nil || s != long {
			t.Error(err)
		}
	}
}

// A bomb, whether it confesses its size or not, costs no more memory than it claims and the limit allows.
func TestBombs_costNoMoreThanTheyClaim(t *testing.T) {
	const bomb = 64 << 20
	zeros := make([]byte, bomb)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer // without the size in the frame
	w, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]struct {
		compression Compression
		body        []byte
	}{
		"s2":          {S2, s2.Encode(nil, zeros)},
		"zstd":        {Zstd, enc.EncodeAll(zeros, nil)},
		"zstd stream": {Zstd, stream.Bytes()},
		"zstd many":   {Zstd, bytes.Repeat(enc.EncodeAll(zeros[:1<<20], nil), 64)},
		// A frame that claims 2^62 bytes, in a window as large.
		"zstd claim":  {Zstd, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0)},
		"zstd window": {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0}},
		"s2 claim":    {S2, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}},
	}
	c := mustNew[[]byte](t, Options{MaxDecodedBytes: 1 << 20})
	for name, b := range bodies {
		for _, declared := range []uint64{0, 1, 1 << 10, 1 << 20, 1<<20 + 1, bomb, 1 << 62} {
			data := append([]byte{1, idRaw, byte(b.compression), 0, 0, 0, 0}, binary.AppendUvarint(nil, declared)...)
			data = reseal("k", append(data, b.body...))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var got []byte
			err := c.Decode("k", data, Enveloped, &got)
			runtime.ReadMemStats(&after)
			want := ErrCorrupt
			if declared > 1<<20 {
				want = ErrTooLarge
			}
			if name == "zstd window" && declared == 0 {
				want = err // nothing in it, and nothing declared: either answer is right
			}
			if !errors.Is(err, want) {
				t.Errorf("%s, declared %d: %v", name, declared, err)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 24<<20 {
				t.Errorf("%s, declared %d: %d bytes allocated", name, declared, cost)
			}
		}
	}
}

func TestCompression_isConcurrent(t *testing.T) {
	for _, compression := range []Compression{S2, Zstd} {
		c := mustNew[string](t, Options{Compression: compression, CompressAbove: 1, Keyring: keyring("k")})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 50 {
					want := strings.Repeat(string(rune('a'+g)), 100*i)
					data, form, err := c.Encode(nil, "k", &want)
					var got string
					if err == nil {
						err = c.Decode("k", data, form, &got)
					}
					if err != nil || got != want {
						t.Errorf("%v: %v", compression, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}
