package trace

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/ulikunitz/xz"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func int32s(keys ...uint64) []byte {
	var b []byte
	for _, k := range keys {
		b = binary.BigEndian.AppendUint32(b, uint32(k))
	}
	return b
}

func int64s(keys ...uint64) []byte {
	var b []byte
	for _, k := range keys {
		b = binary.BigEndian.AppendUint64(b, k)
	}
	return b
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	return finish(t, b, w, &out)
}

func xzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, b, w, &out)
}

func finish(t testing.TB, b []byte, w io.WriteCloser, out *bytes.Buffer) []byte {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// skewed draws keys of which some are popular, each passed through f.
func skewed(n int, f func(uint64) uint64) []uint64 {
	z, err := NewZipf(ZipfConfig{Requests: n, Keys: 5000, Exponent: 1.2, Seed: 7})
	if err != nil {
		panic(err)
	}
	var keys []uint64
	for k, err := range All(z) {
		if err != nil {
			panic(err)
		}
		keys = append(keys, f(k))
	}
	return keys
}

func identity(k uint64) uint64 { return k }
func hashed(k uint64) uint64   { return xxhash.Sum64(int64s(k)) }
func hashed32(k uint64) uint64 { return hashed(k) >> 32 }

func collect(r *Reader) (keys []uint64, err error) {
	for k, err := range r.All() {
		if err != nil {
			return keys, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func TestReadersRead(t *testing.T) {
	sum := func(s string) uint64 { return xxhash.Sum64String(s) }
	small, hashes, ids := skewed(20_000, identity), skewed(20_000, hashed), skewed(20_000, hashed32)
	cases := []struct {
		name    string
		content []byte
		format  Format // told, or Auto
		detects Format
		want    []uint64
	}{
		{"small int32", int32s(small...), Auto, Int32, small},
		{"hashed int32", int32s(ids...), Auto, Int32, ids},
		{"small int64", int64s(small...), Auto, Int64, small},
		{"hashed int64", int64s(hashes...), Auto, Int64, hashes},
		{"few int32", int32s(1, 2, 3, 4), Auto, Int32, []uint64{1, 2, 3, 4}},
		{"few int64", int64s(1, 2, 3, 4), Auto, Int64, []uint64{1, 2, 3, 4}},
		{"odd words", int32s(0x81234567, 0xff7654aa, 0xff7654ab), Auto, Int32, []uint64{0x81234567, 0xff7654aa, 0xff7654ab}},
		{"told int64", int64s(hashed(1), hashed(2)), Int64, Int64, []uint64{hashed(1), hashed(2)}},
		{"arc", []byte("10 3 0 1\n7 1 0 2\n"), Auto, ARC, []uint64{10, 11, 12, 7}},
		{"arc, two columns, no last newline", []byte("10\t2\n\n7   1"), Auto, ARC, []uint64{10, 11, 7}},
		{"arc, a count of none", []byte("10 0\n7 1\n"), Auto, ARC, []uint64{7}},
		{"lines", []byte("user:1\r\nüser 2\nuser:1"), Auto, Lines, []uint64{sum("user:1"), sum("üser 2"), sum("user:1")}},
		{"numbers as lines", []byte("42\n43\n"), Auto, Lines, []uint64{sum("42"), sum("43")}},
		{"arc told to be lines", []byte("10 3\n"), Lines, Lines, []uint64{sum("10 3")}},
		{"nothing", nil, Auto, Lines, nil},
	}
	for _, c := range cases {
		for _, packed := range []struct {
			name string
			pack func(testing.TB, []byte) []byte
		}{
			{"plain", func(_ testing.TB, b []byte) []byte { return b }},
			{"gzip", gzipped},
			{"xz", xzipped},
			{"zstd", func(t testing.TB, b []byte) []byte { t.Helper(); return zstded(t, b) }},
		} {
			t.Run(c.name+"/"+packed.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "any.name")
				if err := os.WriteFile(path, packed.pack(t, c.content), 0o600); err != nil {
					t.Fatal(err)
				}
				r, err := Open(path, Options{Format: c.format})
				if err != nil {
					t.Fatal(err)
				}
				if r.Format() != c.detects {
					t.Errorf("read as %s, want %s", r.Format(), c.detects)
				}
				got, err := collect(r)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("read %d keys, want %d, or they differ", len(got), len(c.want))
				}
				if _, err := r.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("after the end: %v, want io.EOF", err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestReadersRefuse(t *testing.T) {
	small := skewed(50_000, identity)
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]uint64, 50_000)
	for i := range noise {
		noise[i] = random.Uint64() | 1<<31
	}
	short := xzipped(t, int32s(1, 2))
	hugeDictionary := xzipped(t, []byte("x"))
	hugeDictionary[xzDictionaryByte] = 40

	cases := []struct {
		name    string
		content []byte
		format  Format
		keys    int // at least, before the error
		offset  int64
		want    error
	}{
		{"int32 cut", int32s(1, 2, 3)[:10], Int32, 2, 8, ErrTruncated},
		{"int64 cut", int64s(1, 2, 3)[:17], Int64, 2, 16, ErrTruncated},
		{"gzip cut", gzipped(t, int32s(small...))[:20_000], Int32, 1, -1, ErrTruncated},
		{"gzip cut in the header", gzipped(t, int32s(small...))[:5], Int32, 0, 0, ErrTruncated},
		{"xz cut", xzipped(t, int64s(noise...))[:200_000], Int64, 1, -1, ErrTruncated},
		{"xz cut, to be detected", xzipped(t, int32s(small...))[:20_000], Auto, 0, -1, ErrTruncated},
		{"xz cut in the header", xzipped(t, int32s(small...))[:8], Int32, 0, 0, ErrTruncated},
		{"xz cut in the index", short[:len(short)-16], Int32, 2, 8, ErrTruncated},
		{"xz that wants 4 GiB", hugeDictionary, Auto, 0, 0, ErrMalformed},
		{"noise", int64s(noise...), Auto, 0, 0, ErrAmbiguous},
		{"arc with a word", []byte("1 2\n3 x\n"), ARC, 2, 4, ErrMalformed},
		{"arc with one column", []byte("1 2\n3\n"), ARC, 2, 4, ErrMalformed},
		{"arc without end", []byte("1 99999999999\n"), ARC, 0, 0, ErrMalformed},
		{"arc past the last block", []byte("18446744073709551615 1\n"), ARC, 0, 0, ErrMalformed},
		{"a line without end", bytes.Repeat([]byte("k"), bufferSize+1), Lines, 0, 0, ErrMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var keys []uint64
			r, err := NewReader(bytes.NewReader(c.content), "some.trace", Options{Format: c.format})
			if err == nil {
				keys, err = collect(r)
			}
			var e *Error
			if !errors.Is(err, c.want) || !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error that is %v", err, c.want)
			}
			if len(keys) < c.keys {
				t.Errorf("%d keys before the error, want %d", len(keys), c.keys)
			}
			if c.offset >= 0 && e.Offset != c.offset {
				t.Errorf("at byte %d, want %d", e.Offset, c.offset)
			}
			if !strings.Contains(err.Error(), "some.trace") {
				t.Errorf("%q does not name the file", err)
			}
			if r == nil {
				return
			}
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("the error did not stay: %v", again)
			}
		})
	}
}

func TestOpenNamesTheMissingFile(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "absent.trace"), Options{Format: Auto})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent.trace") {
		t.Errorf("got %v", err)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := ParseFormat("int16"); err == nil {
		t.Error("ParseFormat took int16")
	}
	if _, err := NewReader(strings.NewReader("1\n"), "x", Options{Format: "int16"}); err == nil {
		t.Error("NewReader took int16")
	}
}

func TestCloseEndsReading(t *testing.T) {
	r, err := NewReader(strings.NewReader("a\nb\n"), "x", Options{Format: Auto})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want os.ErrClosed", err)
	}
}

func TestZipfIsDeterministic(t *testing.T) {
	draw := func(seed uint64) (keys []uint64) {
		z, err := NewZipf(ZipfConfig{Requests: 5000, Keys: 100, Exponent: 1.1, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		for k, err := range All(z) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		return keys
	}
	a, b, c := draw(1), draw(1), draw(2)
	if len(a) != 5000 || !slices.Equal(a, b) {
		t.Error("the same seed gave another trace")
	}
	if slices.Equal(a, c) {
		t.Error("another seed gave the same trace")
	}
	if slices.Max(a) > 99 {
		t.Errorf("key %d of 100", slices.Max(a))
	}
	counts := map[uint64]int{}
	for _, k := range a {
		counts[k]++
	}
	if counts[0] < counts[1] || counts[1] < counts[50] {
		t.Errorf("not skewed: %d, %d, %d requests for keys 0, 1, 50", counts[0], counts[1], counts[50])
	}
}

func TestZipfRefuses(t *testing.T) {
	for _, cfg := range []ZipfConfig{
		{Requests: -1, Keys: 1, Exponent: 2},
		{Requests: 1, Keys: 0, Exponent: 2},
		{Requests: 1, Keys: 1, Exponent: 1},
	} {
		if _, err := NewZipf(cfg); err == nil {
			t.Errorf("took %+v", cfg)
		}
	}
}
