package codec

import (
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxProtobufDepth is the depth that the library allows.
const maxProtobufDepth = 10_000

// protobufWeights are those of messages of type t, a pointer to a generated struct. A message
// inside a message takes two bytes where it is empty, and a whole struct in memory. Whatever else
// there is takes at most as much as growth allows.
func protobufWeights(t reflect.Type) weights {
	if !isMessage(t) {
		return weights{}
	}
	m := reflect.New(t.Elem()).Interface().(proto.Message).ProtoReflect()
	sizes := make(map[protoreflect.FullName]uint64)
	measure(m, sizes)
	w := weights{count: func(payload []byte) parts {
		return parts{containers: countMessages(m.Descriptor(), payload, 0)}
	}}
	for _, size := range sizes {
		w.object = max(w.object, size)
	}
	return w
}

// measure notes what a message of each type takes that one of m's type can hold: its struct, the
// word that points to it, and what a map takes for it.
func measure(m protoreflect.Message, sizes map[protoreflect.FullName]uint64) {
	name := m.Descriptor().FullName()
	if _, seen := sizes[name]; seen {
		return
	}
	sizes[name] = uint64(reflect.TypeOf(m.Interface()).Elem().Size()) + 2*wordBytes
	for i := range m.Descriptor().Fields().Len() {
		switch fd := m.Descriptor().Fields().Get(i); {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				measure(m.NewField(fd).Map().NewValue().Message(), sizes)
			}
			entry := fd.Message().FullName()
			sizes[entry] = max(sizes[entry], mapBytes+64) // the first member makes room for more
		case fd.Message() == nil:
		case fd.IsList():
			measure(m.NewField(fd).List().NewElement().Message(), sizes)
		default:
			measure(m.NewField(fd).Message(), sizes)
		}
	}
}

// countMessages counts the messages inside a message, up to where it is malformed: no decoder gets
// further.
func countMessages(md protoreflect.MessageDescriptor, b []byte, depth int) (n uint64) {
	for len(b) > 0 && depth < maxProtobufDepth {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return n
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			return n
		}
		fd := md.Fields().ByNumber(number)
		if fd != nil && fd.Message() != nil {
			n++
			switch kind {
			case protowire.BytesType:
				inner, _ := protowire.ConsumeBytes(b[tag:])
				n += countMessages(fd.Message(), inner, depth+1)
			case protowire.StartGroupType:
				inner, _ := protowire.ConsumeGroup(number, b[tag:])
				n += countMessages(fd.Message(), inner, depth+1)
			}
		}
		b = b[tag+size:]
	}
	return n
}
