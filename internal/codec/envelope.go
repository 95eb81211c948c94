package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unsafe"
)

const (
	envelopeVersion = 1
	headerSize      = 7

	flagCompression = 0b0000_0011
	flagEncrypted   = 0b0000_0100
	flagNil         = 0b0000_1000
	flagBound       = 0b0001_0000 // encrypted, and bound to what stands beside it: see Typed.EncodeBound
	flagsKnown      = flagCompression | flagEncrypted | flagNil | flagBound
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEnvelope appends header and payload. The payload is serialised in place where nothing
// stands between: with compression it goes through a buffer, because its size precedes it.
func (t *Typed[V]) appendEnvelope(dst []byte, key string, bound []byte, v *V) ([]byte, error) {
	start := len(dst)
	out := append(dst, envelopeVersion, t.codecID, 0, 0, 0, 0, 0)
	if t.keys != nil && len(bound) > 0 {
		out[start+2] |= flagBound
	}
	var body int
	var err error
	switch {
	case t.isNil(v):
		out[start+2] |= flagNil
		out, body = t.appendKeyID(out, start)
	case t.compression == NoCompression:
		out, body = t.appendKeyID(out, start)
		out, err = t.appendValue(out, v)
	default:
		out, body, err = t.appendCompressed(out, start, v)
	}
	if err != nil {
		return nil, err
	}
	size := len(out) - start
	if t.keys != nil {
		size += t.keys.overhead()
	}
	if size > t.maxEncodedBytes {
		return nil, &SizeError{Field: "MaxEncodedBytes", Size: uint64(size), Limit: t.maxEncodedBytes}
	}
	if t.keys != nil {
		out = t.keys.seal(out, start, body, key, bound)
	}
	binary.BigEndian.PutUint32(out[start+3:], checksum(key, out[start:]))
	return out, nil
}

// appendCompressed serialises *v, compresses it if that is worth it, and appends what stands before
// it and then it.
func (t *Typed[V]) appendCompressed(out []byte, start int, v *V) ([]byte, int, error) {
	plain := getScratch()
	defer putScratch(plain)
	payload, err := t.appendValue(plain.b[:0], v)
	if err != nil {
		return nil, 0, err
	}
	plain.b = payload
	if len(payload) >= t.compressAbove {
		if len(payload) > t.maxDecodedBytes {
			// It would be refused when it is read.
			return nil, 0, &SizeError{Field: "MaxDecodedBytes", Size: uint64(len(payload)), Limit: t.maxDecodedBytes}
		}
		small := getScratch()
		defer putScratch(small)
		small.b = t.compression.compress(small.b[:0], payload)
		smaller := len(small.b)+uvarintLen(uint64(len(payload))) < len(payload)
		if smaller && uint64(len(payload)) <= mostExpanded(len(small.b)) { // else a reader would refuse it
			out[start+2] |= uint8(t.compression)
			out = binary.AppendUvarint(out, uint64(len(payload)))
			payload = small.b
		}
	}
	out, body := t.appendKeyID(out, start)
	return append(out, payload...), body, nil
}

// appendKeyID appends the key's id and room for the nonce, if values are encrypted, and returns
// where the body begins.
func (t *Typed[V]) appendKeyID(out []byte, start int) ([]byte, int) {
	if t.keys != nil {
		out[start+2] |= flagEncrypted
		out = append(out, uint8(len(t.keys.active)))
		out = append(out, t.keys.active...)
		out = append(out, make([]byte, nonceSize)...)
	}
	return out, len(out)
}

// decodeEnvelope takes off what appendEnvelope put on, in the opposite order.
func (t *Typed[V]) decodeEnvelope(key string, bound, data []byte, v *V) error {
	e, err := openEnvelope(key, data)
	if err != nil {
		return err
	}
	if err := t.accepts(e); err != nil {
		return err
	}
	if t.keys != nil && (e.flags&flagBound != 0) != (len(bound) > 0) {
		return fmt.Errorf("%w: what stands beside it is not what it was encrypted with", ErrCorrupt)
	}
	payload := e.body
	if e.flags&flagEncrypted != 0 {
		plain := getScratch()
		defer putScratch(plain)
		if plain.b, err = t.keys.open(plain.b[:0], e, key, bound); err != nil {
			return err
		}
		payload = plain.b
	}
	if e.flags&flagNil != 0 {
		if len(payload) != 0 || e.compression() != NoCompression {
			return fmt.Errorf("%w: a nil value with a payload", ErrCorrupt)
		}
		return nil // *v is zero
	}
	if e.compression() != NoCompression {
		if e.size > uint64(t.maxDecodedBytes) {
			return &SizeError{Field: "MaxDecodedBytes", Size: e.size, Limit: t.maxDecodedBytes}
		}
		if most := mostExpanded(len(payload)); e.size > most {
			return &CostError{Cost: e.size, Size: len(payload), Limit: most}
		}
		plain := getScratch()
		defer putScratch(plain)
		if plain.b, err = e.compression().decompress(plain.b[:0], payload, int(e.size)); err != nil {
			return err
		}
		payload = plain.b
	}
	suspect, err := t.costs.check(payload, len(e.body))
	if err != nil {
		return err
	}
	if suspect {
		var trial V
		if err := t.decodeValue(abridgeMessagePack(payload), &trial); err != nil {
			return err
		}
	}
	return t.decodeValue(payload, v)
}

// accepts refuses what was written in another format, by id and by whether it is encrypted.
func (t *Typed[V]) accepts(e envelope) error {
	if e.codecID != t.codecID {
		return fmt.Errorf("%w: codec id %d, not %d (%s)", ErrWrongCodec, e.codecID, t.codecID, t.codecName)
	}
	if encrypted := e.flags&flagEncrypted != 0; !encrypted && t.keys != nil {
		return fmt.Errorf("%w: not encrypted, and this cache has a keyring", ErrWrongCodec)
	} else if encrypted && t.keys == nil {
		return fmt.Errorf("%w: encrypted with key %q, and this cache has no keyring", ErrUnknownKey, e.keyID)
	}
	return nil
}

// envelope is a parsed one; its slices are parts of the data.
type envelope struct {
	codecID uint8
	flags   uint8
	size    uint64 // once decompressed, if compressed
	extra   []byte // what stands between checksum and nonce
	keyID   []byte
	nonce   []byte
	body    []byte
}

func (e envelope) compression() Compression { return Compression(e.flags & flagCompression) }

// openEnvelope parses data, and believes nothing in it before the checksum agrees.
func openEnvelope(key string, data []byte) (envelope, error) {
	if len(data) < headerSize {
		return envelope{}, fmt.Errorf("%w: %d bytes are less than a header", ErrCorrupt, len(data))
	}
	if data[0] != envelopeVersion {
		return envelope{}, fmt.Errorf("%w: %d", ErrUnknownVersion, data[0])
	}
	if binary.BigEndian.Uint32(data[3:]) != checksum(key, data) {
		return envelope{}, fmt.Errorf("%w: checksum does not agree with key and data", ErrCorrupt)
	}
	e := envelope{codecID: data[1], flags: data[2]}
	if e.flags&^flagsKnown != 0 || e.compression() > Zstd || e.flags&(flagBound|flagEncrypted) == flagBound {
		return envelope{}, fmt.Errorf("%w: flags %#02x", ErrUnknownVersion, e.flags)
	}
	rest := data[headerSize:]
	if e.compression() != NoCompression {
		size, n := binary.Uvarint(rest)
		if n <= 0 {
			return envelope{}, fmt.Errorf("%w: no decompressed size", ErrCorrupt)
		}
		e.size, rest = size, rest[n:]
	}
	if e.flags&flagEncrypted != 0 {
		if len(rest) < 1 || len(rest) < 1+int(rest[0])+nonceSize {
			return envelope{}, fmt.Errorf("%w: no key id and nonce", ErrCorrupt)
		}
		n := 1 + int(rest[0])
		e.keyID, e.nonce, rest = rest[1:n], rest[n:n+nonceSize], rest[n+nonceSize:]
		e.extra = data[headerSize : len(data)-len(rest)-nonceSize]
	}
	e.body = rest
	return e, nil
}

// checksum covers the key and all of an envelope but the checksum itself.
func checksum(key string, data []byte) uint32 {
	// The bytes of a string are only read here; a conversion would copy every key to the heap.
	sum := crc32.Update(0, castagnoli, unsafe.Slice(unsafe.StringData(key), len(key)))
	// Three bytes are added faster by hand than by the call, which is made for many.
	sum = ^sum
	for _, b := range data[:3] {
		sum = castagnoli[byte(sum)^b] ^ sum>>8
	}
	return crc32.Update(^sum, castagnoli, data[headerSize:])
}

func uvarintLen(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}
