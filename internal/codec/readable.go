package codec

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// unreadable tells why what c writes of a value of type t could never be read back, or "". It looks
// at every depth, before the first value is written: another instance must not be the one to find
// out.
func unreadable(c Codec, t reflect.Type) string {
	w := readability{codec: c, seen: make(map[reached]bool)}
	return w.check(t, "V", false)
}

type readability struct {
	codec Codec
	seen  map[reached]bool
}

// reached is a type, and whether it was reached as something that may be absent.
type reached struct {
	t        reflect.Type
	optional bool
}

// check looks at a type that is reached by path; optional: it is what a field points to, and may be
// absent.
func (w *readability) check(t reflect.Type, path string, optional bool) string {
	if w.seen[reached{t, optional}] {
		return ""
	}
	w.seen[reached{t, optional}] = true
	writes, reads := methods(w.codec, t)
	switch {
	case writes && !reads:
		return fmt.Sprintf("%s cannot read back %s, of type %s: it has a method that writes it, and none that reads it",
			w.codec.Name(), path, t)
	case reads:
		return ""
	}
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Sprintf("%s cannot decode into %s, of type %s: an interface with methods does not say which type to make",
				w.codec.Name(), path, t)
		}
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Sprintf("%s cannot hold %s, of type %s", w.codec.Name(), path, t)
	case reflect.Pointer:
		return w.check(t.Elem(), path, optional)
	case reflect.Slice, reflect.Array:
		return w.check(t.Elem(), path+"[]", false)
	case reflect.Map:
		if reason := w.mapKey(t.Key(), path); reason != "" {
			return reason
		}
		return w.check(t.Elem(), path+"[]", false)
	case reflect.Struct:
		return w.fields(t, path, optional)
	}
	return ""
}

// mapKey says of a map's key what check says of values. JSON has names only.
func (w *readability) mapKey(t reflect.Type, path string) string {
	if _, ok := w.codec.(*jsonCodec); !ok {
		return w.check(t, path+" (key)", false)
	}
	writes := implements(t, jsonWriters)
	switch kind := t.Kind(); {
	case kind != reflect.Interface && implements(t, []reflect.Type{reflect.TypeFor[encoding.TextUnmarshaler]()}):
		return ""
	case !writes && (kind == reflect.String || integerClass(kind) != notNumber):
		return ""
	}
	return fmt.Sprintf("%s cannot read back the keys of %s, of type %s: they are no strings or integers, and have no UnmarshalText",
		w.codec.Name(), path, t)
}

func (w *readability) fields(t reflect.Type, path string, optional bool) string {
	if !optional && hides(w.codec, t) {
		return fmt.Sprintf("%s stores nothing of %s, of type %s: its fields are not exported", w.codec.Name(), path, t)
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if ignored(w.codec, f) {
			continue
		}
		if f.Anonymous && !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			return fmt.Sprintf("%s cannot decode into %s.%s: an embedded pointer to the type %s, which is not exported, cannot be set",
				w.codec.Name(), path, f.Name, f.Type.Elem())
		}
		into := f.Type.Kind() == reflect.Pointer || f.Anonymous // what is embedded is a part of t, which was asked about
		if reason := w.check(f.Type, path+"."+f.Name, into); reason != "" {
			return reason
		}
	}
	return ""
}

// ignored reports whether c takes no notice of a field.
func ignored(c Codec, f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get(tagOf(c)), ",")
	if name == "-" && f.Tag.Get(tagOf(c)) == "-" {
		return true
	}
	if f.IsExported() {
		return false
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return !f.Anonymous || t.Kind() != reflect.Struct
}

// hides reports whether a struct type has fields that are not exported, and none that c stores.
func hides(c Codec, t reflect.Type) bool {
	hidden := false
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "_":
		case ignored(c, f):
			hidden = hidden || !f.IsExported()
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			if writes, reads := methods(c, f.Type); writes || reads || !hides(c, f.Type) {
				return false
			}
			hidden = true
		default:
			return false
		}
	}
	return hidden
}
