package codec

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression of payloads. The values are part of the stored format.
type Compression uint8

const (
	// NoCompression stores payloads as they are.
	NoCompression Compression = iota
	// S2 costs little time.
	S2
	// Zstd saves more space.
	Zstd
)

func (c Compression) String() string {
	switch c {
	case NoCompression:
		return "none"
	case S2:
		return "s2"
	case Zstd:
		return "zstd"
	default:
		return fmt.Sprintf("Compression(%d)", uint8(c))
	}
}

// compress appends the compressed form of src to dst.
func (c Compression) compress(dst, src []byte) []byte {
	if c == Zstd {
		enc := zstdEncoders.Get().(*zstd.Encoder)
		defer zstdEncoders.Put(enc)
		return enc.EncodeAll(src, dst)
	}
	start, room := len(dst), s2.MaxEncodedLen(len(src))
	dst = slices.Grow(dst, room)
	return dst[:start+len(s2.Encode(dst[start:start+room], src))]
}

// decompress appends what src holds, which must be exactly size bytes, to dst. The caller has
// checked size against the limit; no more than size is ever allocated for the result, whatever src
// claims.
func (c Compression) decompress(dst, src []byte, size int) ([]byte, error) {
	start := len(dst)
	if c == Zstd {
		dec := zstdDecoders.Get().(*zstd.Decoder)
		defer zstdDecoders.Put(dec)
		// Claims are compared before room is made for them: an honest encoder wrote the size into
		// the frame.
		var frame zstd.Header
		if err := frame.Decode(src); err != nil || frame.HasFCS && frame.FrameContentSize != uint64(size) {
			return dst, fmt.Errorf("%w: zstd frame does not hold the declared size", ErrCorrupt)
		}
		dst = slices.Grow(dst, size)
		out, err := dec.DecodeAll(src, dst[:start:start+size])
		if err != nil || len(out) != start+size {
			return dst, fmt.Errorf("%w: zstd data do not hold the declared size", ErrCorrupt)
		}
		return out, nil
	}
	if n, err := s2.DecodedLen(src); err != nil || n != size {
		return dst, fmt.Errorf("%w: s2 block does not hold the declared size", ErrCorrupt)
	}
	dst = slices.Grow(dst, size)
	if _, err := s2.Decode(dst[start:start+size], src); err != nil {
		return dst, fmt.Errorf("%w: s2 data", ErrCorrupt)
	}
	return dst[:start+size], nil
}

// Encoders and decoders of zstd are large, so they are shared. Each works for one caller at a time
// and starts no goroutine; a pool of them, unlike a single one with many workers, lets all cores
// work and shrinks when idle.
var (
	zstdEncoders = sync.Pool{New: func() any {
		enc, err := zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), // the envelope has one
		)
		if err != nil {
			panic(err) // the options are constant
		}
		return enc
	}}
	zstdDecoders = sync.Pool{New: func() any {
		dec, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxDecodedLimit),
			zstd.WithDecodeAllCapLimit(true), // the room made is all that may be filled
		)
		if err != nil {
			panic(err) // the options are constant
		}
		return dec
	}}
)
