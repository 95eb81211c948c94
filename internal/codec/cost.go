package codec

import "reflect"

// What a record may cost is bounded by what it is, before room is made for anything.
const (
	// freeCost is what a record may take whatever its size, in bytes of memory.
	freeCost = 1 << 20
	// expansion is how many bytes a byte of compressed payload may become. No text comes near it;
	// what does is stored as it is.
	expansion = 1024
	// growth is how many bytes of memory a byte of payload may become. An array of maps with one
	// small member each, the densest that honest values get, takes about 50.
	growth = 128
	// growthAt is how many bytes of a payload a byte of its compressed form stands for, at most,
	// where growth is reckoned.
	growthAt = 64
)

// mostExpanded is how large the payload of a compressed body of size bytes may be.
func mostExpanded(size int) uint64 { return freeCost + expansion*uint64(size) }

// weights are what the parts of a payload can take at most when they are decoded into one type, in
// bytes. All are zero where the type has neither pointers nor elements that a payload could
// multiply.
type weights struct {
	count  func([]byte) parts // nil: nothing is counted
	object uint64             // an array or object: the largest element, and what a pointer or a map of this type takes
	group  uint64             // the first member of a map, which makes room for eight
	member uint64             // each member of a map
	null   uint64             // a null, which is short and may be an element of any type
	scalar uint64             // any other value
	// stray is the largest element of a slice that no scalar can be read into. The library for
	// MessagePack makes room for such elements before it finds a scalar in their place; see
	// abridgeMessagePack.
	stray uint64
}

// parts are how many of what weights has weights for a payload has.
type parts struct{ containers, filled, members, nulls, scalars uint64 }

// add counts the parts of what is inside.
func (p *parts) add(o parts) {
	p.containers += o.containers
	p.filled += o.filled
	p.members += o.members
	p.nulls += o.nulls
	p.scalars += o.scalars
}

// object counts an object with n members.
func (p *parts) object(n uint64) {
	p.containers++
	p.members += n
	if n > 0 {
		p.filled++
	}
}

// check refuses a payload that would take more memory than a record with a body of size bytes may.
// Small payloads, and types for which no byte can cost much, are not even counted. It reports
// whether the payload is suspect: it takes too much if there are scalars in the place of what no
// scalar can be read into.
func (w *weights) check(payload []byte, size int) (suspect bool, err error) {
	if w.count == nil || uint64(len(payload))*w.sum() <= freeCost {
		return false, nil
	}
	p := w.count(payload)
	cost := p.containers*w.object + p.filled*w.group + p.members*w.member + p.nulls*w.null + p.scalars*w.scalar
	limit := freeCost + growth*min(uint64(len(payload)), growthAt*uint64(size))
	if cost > limit {
		return false, &CostError{Cost: cost, Size: size, Limit: limit}
	}
	return cost+p.scalars*w.stray > limit, nil
}

// sum is more than a byte of a payload can cost.
func (w *weights) sum() uint64 { return w.object + w.group + w.member + w.null + w.scalar + w.stray }

const (
	wordBytes = 8
	mapBytes  = 48 // of an empty map
)

// weightsOf looks at all types that decoding into t can make.
func weightsOf(c Codec, t reflect.Type) weights {
	w := weighing{seen: make(map[reflect.Type]bool)}
	switch c.(type) {
	case *jsonCodec:
		w.count = countJSON
	case messagePackCodec:
		w.count = countMessagePack
	case protobufCodec:
		return protobufWeights(t)
	default:
		return weights{} // raw copies
	}
	w.add(t)
	w.object += w.element + w.target
	w.scalar = max(w.scalar, w.pointed)
	if _, packed := c.(messagePackCodec); !packed {
		w.stray = 0
	}
	if w.sum() == 0 {
		return weights{}
	}
	return w.weights
}

type weighing struct {
	weights
	seen    map[reflect.Type]bool
	element uint64 // the largest element of a slice
	target  uint64 // the largest that a pointer points to
	pointed uint64 // the largest of these that is made from a value without parts
}

func (w *weighing) add(t reflect.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	size := uint64(t.Size())
	if hasOwnFormat(t) {
		w.scalar, w.element = max(w.scalar, size), max(w.element, size)
		return
	}
	switch t.Kind() {
	case reflect.Interface:
		w.scalar = max(w.scalar, size+16)
		w.add(reflect.TypeFor[map[string]any]())
		w.add(reflect.TypeFor[[]any]())
	case reflect.Pointer:
		w.target = max(w.target, uint64(t.Elem().Size()))
		if isScalar(t.Elem()) {
			w.pointed = max(w.pointed, uint64(t.Elem().Size()))
		}
		w.add(t.Elem())
	case reflect.Slice:
		each := uint64(t.Elem().Size())
		w.element, w.null = max(w.element, each), max(w.null, each)
		if isScalar(t.Elem()) {
			w.scalar = max(w.scalar, each)
		} else {
			w.stray = max(w.stray, each)
		}
		w.add(t.Elem())
	case reflect.Array:
		w.add(t.Elem())
	case reflect.Map:
		each := uint64(t.Key().Size() + t.Elem().Size())
		w.object = max(w.object, mapBytes)
		w.group = max(w.group, 8*each+wordBytes)
		w.member = max(w.member, 2*each)
		w.add(t.Key())
		w.add(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() || f.Anonymous {
				w.add(f.Type)
			}
		}
	}
}

// isScalar reports whether a value of type t can be read from one without parts, other than null.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return hasOwnFormat(t)
	case reflect.Array:
		return hasOwnFormat(t) || t.Elem().Kind() == reflect.Uint8
	}
	return true
}

// countMessagePack counts the parts of a payload up to where it is malformed: no decoder gets
// further.
func countMessagePack(payload []byte) parts {
	s := messagePackScanner{data: payload}
	s.value(0)
	return s.parts
}

// countJSON counts the parts of a payload. What is malformed may be counted as anything: it does
// not decode.
func countJSON(payload []byte) parts {
	var p parts
	var before byte // the last one that is no space
	strings := uint64(0)
	for i := 0; i < len(payload); i++ {
		c := payload[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			strings++
			for i++; i < len(payload) && payload[i] != '"'; i++ {
				if payload[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			p.containers++
		case ':':
			p.members++
		case 'n':
			if before != ':' {
				p.nulls++
			}
			i += len("ull")
		case ',', '}', ']':
		default:
			p.scalars++
			for i+1 < len(payload) && !endsScalar(payload[i+1]) {
				i++
			}
		}
		if before == '{' && c == '"' {
			p.filled++
		}
		before = c
	}
	if strings > p.members {
		p.scalars += strings - p.members
	}
	return p
}

func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\r', '\n', ':', '"', '[', '{':
		return true
	}
	return false
}
