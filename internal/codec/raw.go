package codec

import "reflect"

// Raw stores strings, byte slices and named types of these as they are.
func Raw() Codec { return rawCodec{} }

type rawCodec struct{}

func (rawCodec) ID() uint8    { return idRaw }
func (rawCodec) Name() string { return "raw" }

// isRaw reports whether Raw can hold values of type t.
func isRaw(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func (c rawCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	case nil:
		return nil, c.mismatch(ErrEncode)
	}
	return c.appendKind(dst, reflect.ValueOf(v))
}

func (c rawCodec) appendPointer(dst []byte, p any) ([]byte, error) {
	switch p := p.(type) {
	case *[]byte:
		return append(dst, *p...), nil
	case *string:
		return append(dst, *p...), nil
	}
	return c.appendKind(dst, reflect.ValueOf(p).Elem())
}

func (c rawCodec) appendKind(dst []byte, v reflect.Value) ([]byte, error) {
	switch {
	case !isRaw(v.Type()):
		return nil, c.mismatch(ErrEncode)
	case v.Kind() == reflect.String:
		return append(dst, v.String()...), nil
	default:
		return append(dst, v.Bytes()...), nil
	}
}

// Decode copies once. The empty slice is not nil: nil never gets here.
func (c rawCodec) Decode(data []byte, into any) error {
	switch into := into.(type) {
	case *[]byte:
		*into = append(make([]byte, 0, len(data)), data...)
		return nil
	case *string:
		*into = string(data)
		return nil
	}
	p := reflect.ValueOf(into)
	if p.Kind() != reflect.Pointer || p.IsNil() || !isRaw(p.Type().Elem()) {
		return c.mismatch(ErrDecode)
	}
	if v := p.Elem(); v.Kind() == reflect.String {
		v.SetString(string(data))
	} else {
		v.SetBytes(append(make([]byte, 0, len(data)), data...))
	}
	return nil
}

func (c rawCodec) mismatch(kind error) error {
	return &ValueError{Codec: c.Name(), Detail: "neither a string nor a byte slice", kind: kind}
}
