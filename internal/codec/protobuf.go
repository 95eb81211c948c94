package codec

import (
	"reflect"

	"google.golang.org/protobuf/proto"
)

// Protobuf stores messages; values are pointers to generated types.
func Protobuf() Codec { return protobufCodec{} }

type protobufCodec struct{}

func (protobufCodec) ID() uint8    { return idProtobuf }
func (protobufCodec) Name() string { return "protobuf" }

var messageType = reflect.TypeFor[proto.Message]()

// isMessage reports whether Protobuf can hold values of type t, and make new ones.
func isMessage(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Implements(messageType)
}

func (c protobufCodec) Append(dst []byte, v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, &ValueError{Codec: c.Name(), Detail: "not a message", kind: ErrEncode}
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return nil, &ValueError{Codec: c.Name(), Detail: "a required field is missing or a string is not UTF-8", kind: ErrEncode}
	}
	return out, nil
}

// Decode makes a new message for a pointer to a message pointer, and fills the one it is given
// otherwise.
func (c protobufCodec) Decode(data []byte, into any) error {
	if m, ok := into.(proto.Message); ok {
		return c.unmarshal(data, m)
	}
	p := reflect.ValueOf(into)
	if p.Kind() != reflect.Pointer || p.IsNil() || !isMessage(p.Type().Elem()) {
		return &ValueError{Codec: c.Name(), Detail: "not a message", kind: ErrDecode}
	}
	fresh := reflect.New(p.Type().Elem().Elem())
	if err := c.unmarshal(data, fresh.Interface().(proto.Message)); err != nil {
		return err
	}
	p.Elem().Set(fresh)
	return nil
}

func (c protobufCodec) unmarshal(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return &ValueError{Codec: c.Name(), Detail: "not a message of this type", kind: ErrDecode}
	}
	return nil
}
