package invalidation

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

var trace25 = bytes.Repeat([]byte{0xAB}, traceSize)

func sameMessage(a, b Message) bool {
	return a.Type == b.Type && a.Publisher == b.Publisher && bytes.Equal(a.Trace, b.Trace) && slices.Equal(a.Hashes, b.Hashes)
}

func mustAppend(t testing.TB, m Message) []byte {
	t.Helper()
	data, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestMessage_readsBack(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		size int
	}{
		{"one key", Message{Type: TypeKeys, Publisher: 7, Hashes: []uint64{9}}, 44},
		{"two keys", Message{Type: TypeKeys, Publisher: 7, Hashes: []uint64{9, math.MaxUint64}}, 52},
		{"with trace context", Message{Type: TypeKeys, Publisher: 7, Trace: trace25, Hashes: []uint64{1}}, 69},
		{"scope", Message{Type: TypeCaches, Publisher: math.MaxUint64, Hashes: []uint64{0}}, 44},
		{"everything", Message{Type: TypeAll, Publisher: 1}, 36},
		{"everything, with trace context", Message{Type: TypeAll, Trace: trace25}, 61},
		{"as many as fit", Message{Type: TypeKeys, Hashes: make([]uint64, maxHashes)}, 36 + 8*maxHashes},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := mustAppend(t, c.m)
			if len(data) != c.size {
				t.Errorf("%d bytes, want %d", len(data), c.size)
			}
			got, err := Parse(data)
			if err != nil || !sameMessage(got, c.m) {
				t.Errorf("Parse: %v; type %d publisher %d, %d hashes", err, got.Type, got.Publisher, len(got.Hashes))
			}
		})
	}
}

func TestMessage_appendsToABuffer(t *testing.T) {
	data, err := (&Message{Type: TypeKeys, Hashes: []uint64{1}}).Append([]byte("before"))
	if err != nil || !bytes.HasPrefix(data, []byte("before")) || len(data) != 6+44 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
}

func TestMessage_thatCannotBeSentIsRefused(t *testing.T) {
	for name, m := range map[string]Message{
		"too many hashes":     {Type: TypeKeys, Hashes: make([]uint64, maxHashes+1)},
		"short trace context": {Type: TypeKeys, Trace: trace25[:24]},
		"long trace context":  {Type: TypeKeys, Trace: append(slices.Clone(trace25), 0)},
		"no type":             {Hashes: []uint64{1}},
		"unknown type":        {Type: TypeCleared + 1},
		"type with the flag":  {Type: flagTrace | TypeKeys},
	} {
		if data, err := m.Append([]byte("x")); err == nil || string(data) != "x" {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

func TestParse_refusesMalformedMessages(t *testing.T) {
	good := mustAppend(t, Message{Type: TypeKeys, Publisher: 7, Trace: trace25, Hashes: []uint64{1, 2}})
	changed := func(at int, b byte) []byte {
		d := bytes.Clone(good)
		d[at] = b
		return d
	}
	cases := map[string][]byte{
		"nothing":               {},
		"text":                  []byte("hello"),
		"long text":             bytes.Repeat([]byte("hello"), 20),
		"another magic":         changed(0, 0xC2),
		"type 0":                changed(1, flagTrace),
		"type 6":                changed(1, flagTrace|6),
		"trace flag taken away": changed(1, byte(TypeKeys)),
		"one hash more":         changed(offCount+traceSize+1, 3),
		"one hash less":         changed(offCount+traceSize+1, 1),
		"a byte too many":       append(bytes.Clone(good), 0),
	}
	for i := range good {
		cases["cut at "+string(rune('0'+i%10))+" of "+string(rune('a'+i/10))] = good[:i]
	}
	for name, data := range cases {
		if m, err := Parse(data); !errors.Is(err, ErrMalformed) || !sameMessage(m, Message{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(mustAppend(f, Message{Type: TypeKeys, Publisher: 1, Hashes: []uint64{1, 2, 3}}))
	f.Add(mustAppend(f, Message{Type: TypeCaches, Trace: trace25, Hashes: []uint64{5}}))
	f.Add(mustAppend(f, Message{Type: TypeAll}))
	carried := mustAppend(f, Message{Type: TypeAll})
	carried[offPrevious+8] = 1
	f.Add(carried)
	f.Add(append(mustAppend(f, Message{Type: TypeAll})[:offCount], 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		within(t, len(data), func() { _, _ = Parse(data) })
		m, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := m.Append(nil)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		want := bytes.Clone(data)
		back, err := Parse(again)
		if err != nil || back.Previous != m.Previous || back.ID != m.ID {
			t.Fatalf("the places %v and %v became %v and %v, %v", m.Previous, m.ID, back.Previous, back.ID, err)
		}
		clear(want[offPrevious:offPub]) // a large second part is carried into the first
		clear(again[offPrevious:offPub])
		if !bytes.Equal(again, want) {
			t.Fatalf("%x became %x", data, again)
		}
	})
}
