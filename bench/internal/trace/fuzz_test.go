package trace

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// FuzzReader feeds a reader any bytes, as any format: it ends in io.EOF or an *Error that stays, yields what the
// content can hold, and yields the same when the bytes arrive one at a time.
func FuzzReader(f *testing.F) {
	formats := Formats
	seeds := [][]byte{
		nil,
		int32s(1, 2, 3, 1, 2, 3),
		int64s(1, 2, 3),
		int32s(1, 2, 3)[:11],
		[]byte("1 3 0 0\n9 1 0 1\n"),
		[]byte("user:1\nuser:2\r\n\n"),
		[]byte("*\n7\n-8\n"),
		[]byte(cloudPhysics),
		[]byte("1,a,2\n1,\"b\"\"\",3\n"),
		[]byte(twitter),
	}
	for _, seed := range seeds {
		for i := range formats {
			f.Add(seed, byte(i))
		}
		f.Add(gzipped(f, seed), byte(0))
		f.Add(xzipped(f, seed), byte(0))
		f.Add(zstded(f, seed), byte(0))
	}
	const most = 10_000
	f.Fuzz(func(t *testing.T, content []byte, which byte) {
		format := formats[int(which)%len(formats)]
		read := func(src io.Reader) (Format, []uint64, error) {
			r, err := NewReader(src, "fuzz", Options{Format: format})
			if err != nil {
				return "", nil, err
			}
			var keys []uint64
			for len(keys) < most {
				key, err := r.Next()
				if err != nil {
					if _, again := r.Next(); !errors.Is(again, err) {
						t.Fatalf("%v, then %v", err, again)
					}
					return r.Format(), keys, err
				}
				keys = append(keys, key)
			}
			return r.Format(), keys, nil
		}
		format1, keys1, err1 := read(bytes.NewReader(content))
		var e *Error
		if err1 != nil && !errors.Is(err1, io.EOF) && !errors.As(err1, &e) {
			t.Fatalf("an error of no place: %v", err1)
		}
		packed := bytes.HasPrefix(content, gzipMagic) || bytes.HasPrefix(content, xzMagic) || bytes.HasPrefix(content, zstdMagic)
		if !packed && format1 != ARC && len(keys1) > len(content) {
			t.Fatalf("%d keys of %d bytes", len(keys1), len(content))
		}
		format2, keys2, err2 := read(iotest.OneByteReader(bytes.NewReader(content)))
		if format1 != format2 || !slices.Equal(keys1, keys2) || (err1 == nil) != (err2 == nil) {
			t.Fatalf("read whole: %s, %d keys, %v; a byte at a time: %s, %d keys, %v",
				format1, len(keys1), err1, format2, len(keys2), err2)
		}
	})
}
