package inspect

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/doppio-cache/doppio/internal/codec"
)

// The envelope, as internal/codec writes it: version, codec, flags, checksum (4), then the size when compressed, and the id
// of the key when encrypted.
const (
	envelopeSize    = 7
	envelopeVersion = 1

	flagCompression = 0b0011
	flagEncrypted   = 0b0100
	flagNil         = 0b1000
	flagsKnown      = flagCompression | flagEncrypted | flagNil

	maxShown = 4 << 10 // bytes of a value
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codecs of the library by their ids.
var codecs = map[uint8]string{1: "json", 2: "msgpack", 3: "protobuf", 4: "raw"}

// payloadOf decodes the form of a value, and the value itself if it is asked for.
func payloadOf(key string, data []byte, number, showValue bool) *Payload {
	p := &Payload{Bytes: len(data), Compression: codec.NoCompression.String()}
	if number {
		p.Codec = "number"
		if showValue {
			p.show(string(data))
		}
		return p
	}
	id, fault := p.envelope(key, data)
	p.Fault = fault
	if showValue && fault == "" {
		p.value(key, id, data)
	}
	return p
}

// envelope reads the header, and gives the codec's id and what is wrong.
func (p *Payload) envelope(key string, data []byte) (id uint8, fault string) {
	p.Codec = "unknown"
	if len(data) < envelopeSize {
		return 0, fmt.Sprintf("%d bytes are less than an envelope's header", len(data))
	}
	if data[0] != envelopeVersion {
		return 0, fmt.Sprintf("an envelope of version %d, this tool reads %d", data[0], envelopeVersion)
	}
	sum := crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, data[:3])
	if crc32.Update(sum, castagnoli, data[envelopeSize:]) != binary.BigEndian.Uint32(data[3:]) {
		return 0, "its checksum does not agree: it was changed, or written for another key"
	}
	id, flags := data[1], data[2]
	name, ok := codecs[id]
	if !ok {
		name = fmt.Sprintf("codec %d", id)
	}
	p.Codec = name
	compression := codec.Compression(flags & flagCompression)
	if flags&^flagsKnown != 0 || compression > codec.Zstd {
		return id, fmt.Sprintf("flags %#02x, which this tool does not know", flags)
	}
	p.Compression, p.Nil, p.Encrypted = compression.String(), flags&flagNil != 0, flags&flagEncrypted != 0
	rest := data[envelopeSize:]
	if compression != codec.NoCompression {
		size, n := binary.Uvarint(rest)
		if n <= 0 {
			return id, "no decompressed size"
		}
		p.DecodedBytes, rest = size, rest[n:]
	}
	if p.Encrypted {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return id, "no id of its key"
		}
		p.KeyID = string(rest[1 : 1+int(rest[0])])
	}
	return id, ""
}

// value decodes what can be decoded without the type that was stored.
func (p *Payload) value(key string, id uint8, data []byte) {
	var text string
	var err error
	switch {
	case p.Encrypted:
		p.Note = "encrypted: only who has the key can read it"
		return
	case p.Nil:
		text = "nil"
	case id == codec.JSON().ID():
		var raw json.RawMessage
		if raw, err = decode[json.RawMessage](codec.JSON(), key, data); err == nil {
			text = pretty(raw)
		}
	case id == codec.MessagePack().ID():
		var v any
		if v, err = decode[any](codec.MessagePack(), key, data); err == nil {
			text = fmt.Sprintf("%#v", v)
		}
	case id == codec.Raw().ID():
		var b []byte
		if b, err = decode[[]byte](codec.Raw(), key, data); err == nil {
			text = strconv.Quote(string(b))
		}
	default:
		p.Note = p.Codec + ": only who knows the type can read it"
		return
	}
	if err != nil {
		p.Fault = err.Error()
		return
	}
	p.show(text)
}

// show keeps a value within bounds, and terminals from what it may hold.
func (p *Payload) show(text string) {
	if len(text) > maxShown {
		text, p.ValueCut = text[:maxShown], true
		for !utf8.ValidString(text) && len(text) > maxShown-utf8.UTFMax {
			text = text[:len(text)-1]
		}
	}
	p.Value = printable(text)
}

func decode[V any](c codec.Codec, key string, data []byte) (V, error) {
	var v V
	t, err := codec.New[V](codec.Options{Codec: c})
	if err != nil {
		return v, err
	}
	err = t.Decode(key, data, codec.Enveloped, &v)
	return v, err
}

// pretty indents JSON.
func pretty(raw json.RawMessage) string {
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return strconv.Quote(string(raw))
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return strconv.Quote(string(raw))
	}
	return string(out)
}

// printable writes control characters, which could command a terminal, as escapes; lines stay lines.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}
