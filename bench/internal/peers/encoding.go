package peers

import (
	"encoding/json"

	jsonv2 "github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// encoding is what those who talk to Redis themselves store values with.
type encoding[V any] interface {
	encode(v V) ([]byte, error)
	decode(data []byte) (V, error)
}

// raw stores bytes as they are. Nobody in his senses would put them into JSON, which makes them a third longer.
type raw struct{}

func (raw) encode(v []byte) ([]byte, error)    { return v, nil }
func (raw) decode(data []byte) ([]byte, error) { return data, nil }

// unlessRaw is e, but raw where the values are bytes.
func unlessRaw[V any](e encoding[V]) encoding[V] {
	if r, ok := any(raw{}).(encoding[V]); ok {
		return r
	}
	return e
}

// standardJSON is encoding/json.
type standardJSON[V any] struct{}

func (standardJSON[V]) encode(v V) ([]byte, error) { return json.Marshal(v) }

func (standardJSON[V]) decode(data []byte) (V, error) {
	var v V
	err := json.Unmarshal(data, &v)
	return v, err
}

// doppioJSON is what the baselines have: it decodes with the library and the options of doppio's default codec for structs, see internal/codec.
type doppioJSON[V any] struct{ options jsonv2.Options }

func newDoppioJSON[V any]() doppioJSON[V] {
	return doppioJSON[V]{options: jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false), jsonv2.Deterministic(false))}
}

func (e doppioJSON[V]) encode(v V) ([]byte, error) { return jsonv2.Marshal(v, e.options) }

func (e doppioJSON[V]) decode(data []byte) (V, error) {
	var v V
	err := jsonv2.Unmarshal(data, &v, e.options)
	return v, err
}
