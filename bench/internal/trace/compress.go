package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	bufferSize = 64 << 10

	// maxXZDictionary bounds what a compressed file can make its reader allocate. The strongest preset of xz asks for 64 MiB.
	maxXZDictionary = 128 << 20

	// maxZstdWindow does the same. It is what zstd itself grants unless told otherwise.
	maxZstdWindow = 128 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	xzMagic   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress returns the plain content of src, and what to close besides src, if anything.
func decompress(src io.Reader) (*bufio.Reader, func() error, error) {
	raw := bufio.NewReaderSize(src, bufferSize)
	head, err := raw.Peek(xzHeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(raw)
		if err != nil {
			return nil, nil, compressedError("gzip", err)
		}
		return bufio.NewReaderSize(compressed{"gzip", z}, bufferSize), z.Close, nil
	case bytes.HasPrefix(head, xzMagic):
		if err := checkXZDictionary(head); err != nil {
			return nil, nil, err
		}
		z, err := xz.NewReader(raw)
		if err != nil {
			return nil, nil, compressedError("xz", err)
		}
		return bufio.NewReaderSize(compressed{"xz", z}, bufferSize), nil, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(raw,
			zstd.WithDecoderConcurrency(1), // in the goroutine that reads
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, compressedError("zstd", err)
		}
		return bufio.NewReaderSize(compressed{"zstd", z}, bufferSize), func() error { z.Close(); return nil }, nil
	default:
		return raw, nil, nil
	}
}

// compressed names the compression in what its reader complains of.
type compressed struct {
	kind string
	r    io.Reader
}

func (c compressed) Read(p []byte) (n int, err error) {
	n, err = c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = compressedError(c.kind, err)
	}
	return n, err
}

func compressedError(kind string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // an end inside a header is no end of the trace
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = fmt.Errorf("%w: a window of over %d bytes", ErrMalformed, maxZstdWindow)
	}
	return fmt.Errorf("%s: %w", kind, err)
}

// The head of an xz file: a stream header of 12 bytes, then a block header: its size, flags, optional sizes, and the filters.
// Nearly every file has the LZMA2 filter alone and no sizes, which puts the dictionary's size in byte 16.
const (
	xzHeadSize       = 17
	xzBlockFlags     = 13
	xzFilterID       = 14
	xzDictionaryByte = 16
	xzLZMA2          = 0x21
)

// checkXZDictionary refuses a file whose first block wants a dictionary too large to grant.
func checkXZDictionary(head []byte) error {
	if len(head) < xzHeadSize || head[xzBlockFlags] != 0 || head[xzFilterID] != xzLZMA2 {
		return nil
	}
	size, err := lzma.DecodeDictCap(head[xzDictionaryByte])
	if err != nil {
		return compressedError("xz", err)
	}
	if size > maxXZDictionary {
		return fmt.Errorf("xz: %w: a dictionary of %d bytes, allowed are %d", ErrMalformed, size, maxXZDictionary)
	}
	return nil
}
