package tiered

import (
	"reflect"

	"github.com/doppio-cache/doppio/local"
)

// weigh gives the bytes that a local copy counts for when Local.MaxBytes bounds the local tier: what Local.Cost says of
// the key and the value, of type V, or else what the value is found to hold. What it takes in the remote tier is no
// measure: that may be compressed.
func weigh[V any](o local.Options, key string, v *V) int64 {
	switch {
	case o.MaxBytes == 0:
		return 0
	case v == nil:
		return int64(len(key))
	case o.Cost != nil:
		return max(1, o.Cost(key, *v))
	}
	w := weigher{left: maxWeighed}
	t := reflect.ValueOf(v).Elem()
	return int64(len(key)) + int64(t.Type().Size()) + w.beyond(t)
}

// maxWeighed bounds how many parts of a value are looked at; a larger value is extrapolated by nobody, and a cycle ends.
const maxWeighed = 1 << 16

type weigher struct{ left int }

// beyond gives the bytes that a value refers to, besides its own.
func (w *weigher) beyond(v reflect.Value) int64 {
	if w.left--; w.left < 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Slice:
		if v.IsNil() {
			return 0
		}
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + w.elements(v)
	case reflect.Array:
		return w.elements(v)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int64(v.Elem().Type().Size()) + w.beyond(v.Elem())
	case reflect.Map:
		if v.IsNil() {
			return 0
		}
		// A map's groups are at most 7/8 full, and half full on average after growing; a control byte each.
		slot := int64(v.Type().Key().Size()) + int64(v.Type().Elem().Size()) + 1
		sum := 48 + int64(v.Len())*slot*3/2
		for it := v.MapRange(); it.Next() && w.left > 0; {
			sum += w.beyond(it.Key()) + w.beyond(it.Value())
		}
		return sum
	case reflect.Struct:
		var sum int64
		for i := range v.NumField() {
			sum += w.beyond(v.Field(i))
		}
		return sum
	}
	return 0
}

func (w *weigher) elements(v reflect.Value) int64 {
	switch v.Type().Elem().Kind() {
	case reflect.String, reflect.Slice, reflect.Array, reflect.Pointer, reflect.Interface, reflect.Map, reflect.Struct:
	default:
		return 0 // numbers refer to nothing
	}
	var sum int64
	for i := 0; i < v.Len() && w.left > 0; i++ {
		sum += w.beyond(v.Index(i))
	}
	return sum
}
