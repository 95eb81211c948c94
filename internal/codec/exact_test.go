package codec

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// quiet writes itself, and not all of it.
type quiet struct{ Said, Meant string }

func (q quiet) MarshalText() ([]byte, error)   { return []byte(q.Said), nil }
func (q *quiet) UnmarshalText(b []byte) error  { q.Said = string(b); return nil }
func (q quiet) MarshalBinary() ([]byte, error) { return []byte(q.Said), nil }
func (q *quiet) UnmarshalBinary(b []byte) error {
	q.Said = string(b)
	return nil
}

type Point struct{ X, Y int }

// shares reports whether a value of type t may share memory with a copy of it, other than that of strings.
func shares(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func:
		return true
	case reflect.Array:
		return shares(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if shares(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// honest checks that a type which is called exact is: v is read back as it was, and shares no
// memory. want is whether it is to be called so, by JSON and by MessagePack.
func honest[V any](v V, jsonExact, packExact bool) func(*testing.T) {
	return func(t *testing.T) {
		for _, o := range []struct {
			Options
			want bool
		}{{Options{Codec: JSON()}, jsonExact}, {Options{Codec: MessagePack()}, packExact}} {
			c, err := New[V](o.Options)
			if err != nil {
				t.Logf("refused: %v", err)
				continue
			}
			if c.Exact() != o.want {
				t.Errorf("%s calls it exact: %t", c.Name(), c.Exact())
			}
			if !c.Exact() {
				continue
			}
			if shares(reflect.TypeFor[V]()) {
				t.Errorf("%s calls it exact, and a copy shares memory with it", c.Name())
			}
			data, form := mustEncode(t, c, "key", v)
			var got V
			if err := c.Decode("key", data, form, &got); err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("%s calls it exact, and reads %#v of %#v, %v", c.Name(), got, v, err)
			}
		}
	}
}

// A type is called exact only if every value of it is read back as it was, in memory of its own.
func TestExact_typesAreReadBackAsTheyWere(t *testing.T) {
	one := 1
	for i, check := range []func(*testing.T){
		honest(struct {
			A int    `json:"a" msgpack:"a"`
			B string `json:"b_b" msgpack:"b-b"`
			C [2]bool
			D float32
			E Point
		}{1, "b", [2]bool{true, false}, 0.1, Point{1, 2}}, true, true),
		honest(struct {
			A int `json:"-"`
		}{1}, false, true),
		honest(struct {
			A int `msgpack:"-"`
		}{1}, true, false),
		honest(struct {
			A int `json:"-,"` //nolint:staticcheck // a name that looks like an instruction
		}{1}, false, true),
		honest(struct {
			A [1]int `json:"a,omitempty"`
		}{}, false, true),
		honest(struct {
			A string `json:"a,omitzero"`
		}{}, false, true),
		honest(struct {
			A string `msgpack:"a,omitempty"`
		}{}, true, false),
		honest(struct {
			A int `json:"a,string"`
		}{1}, false, true),
		honest(struct {
			A int `json:"b"`
			B int `json:"B"`
		}{1, 2}, false, true),
		honest(struct {
			A int `msgpack:"b"`
			B int `msgpack:"b"`
		}{1, 2}, true, false),
		honest(struct{ A, b int }{1, 2}, false, false),
		honest(struct {
			Point
			Z int
		}{Point{1, 2}, 3}, false, false),
		honest(quiet{"said", "meant"}, false, false),
		honest(struct{ Q quiet }{quiet{"said", "meant"}}, false, false),
		honest([1]quiet{{"said", "meant"}}, false, false),
		honest(struct{ At time.Time }{time.Now()}, false, false),
		honest(struct{ N stdjson.Number }{"1"}, false, false),
		honest(struct{ P *int }{&one}, false, false),
		honest(struct{ P *int }{}, false, false),
		honest(struct{ S []int }{[]int{}}, false, false),
		honest([1][]byte{[]byte("b")}, false, false),
		honest(struct{ M map[string]int }{map[string]int{}}, false, false),
		honest(struct{ X any }{1}, false, false),
		honest([]string{"a"}, false, false),
		honest(&one, false, false),
	} {
		t.Run(fmt.Sprint(i), check)
	}
}
