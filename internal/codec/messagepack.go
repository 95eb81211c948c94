package codec

import (
	"errors"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// MessagePack stores values by the rules and struct tags of github.com/vmihailenco/msgpack. Inside
// an interface, sized integers, floats, strings and byte slices come back as the types they were;
// int and uint come back as the smallest sized integer that the library chose to write.
func MessagePack() Codec { return messagePackCodec{} }

type messagePackCodec struct{}

func (messagePackCodec) ID() uint8    { return idMessagePack }
func (messagePackCodec) Name() string { return "msgpack" }

// messagePackWriter appends what an encoder writes.
type messagePackWriter struct {
	b   []byte
	enc *msgpack.Encoder
}

func (w *messagePackWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// WriteByte spares the encoder a wrapper of its own.
func (w *messagePackWriter) WriteByte(c byte) error {
	w.b = append(w.b, c)
	return nil
}

var messagePackWriters = sync.Pool{New: func() any {
	w := new(messagePackWriter)
	w.enc = msgpack.NewEncoder(w)
	return w
}}

func (c messagePackCodec) Append(dst []byte, v any) ([]byte, error) {
	w := messagePackWriters.Get().(*messagePackWriter)
	w.b = dst
	w.enc.Reset(w)
	err := w.enc.Encode(v)
	out := w.b
	w.b = nil // the memory is the caller's
	messagePackWriters.Put(w)
	if err != nil {
		return nil, &ValueError{Codec: c.Name(), Detail: "a part of it has no form in MessagePack", kind: ErrEncode}
	}
	return out, nil
}

func (c messagePackCodec) appendPointer(dst []byte, p any) ([]byte, error) { return c.Append(dst, p) }

// errNoMap ends what would be read as a map. Decode's error does not repeat it.
var errNoMap = errors.New("the body of an extension is no map")

type messagePackReader struct {
	src messagePackSource
	dec *msgpack.Decoder
}

var messagePackReaders = sync.Pool{New: func() any {
	r := new(messagePackReader)
	r.dec = msgpack.NewDecoder(&r.src)
	return r
}}

// Decode checks the data before the library reads it: the library makes room for as many elements
// as the data declare, and recurses as deep as they nest. It does not use msgpack.Unmarshal, which
// starts a goroutine for every type and never ends it.
func (c messagePackCodec) Decode(data []byte, into any) error {
	noMaps, err := scanMessagePack(data)
	if err != nil {
		return err
	}
	r := messagePackReaders.Get().(*messagePackReader)
	r.src.Reset(data)
	r.src.noMaps = noMaps
	r.dec.Reset(&r.src)
	err = r.dec.Decode(into)
	left := r.src.Len()
	r.src.Reset(nil) // the memory is the caller's
	r.src.noMaps = nil
	r.dec.Reset(&r.src)
	messagePackReaders.Put(r)
	if err != nil {
		return &ValueError{Codec: c.Name(), Detail: "not a value of this type", kind: ErrDecode}
	}
	if left != 0 {
		return &ValueError{Codec: c.Name(), Detail: "data after the value", kind: ErrDecode}
	}
	return nil
}
