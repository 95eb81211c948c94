package conformance

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/doppio-cache/doppio/tiered"
)

type point struct {
	X, Y int
	Name string            `json:"name,omitempty"`
	Tags []string          `json:"tags"`
	More map[string]*point `json:"more,omitempty"`
	At   time.Time
}

type (
	count int32
	label string
	blob  []byte
)

var somePoint = point{
	X: math.MaxInt64, Y: math.MinInt64, Name: "naïve 名 \U0001F600 \u2028<&>\x00", Tags: []string{},
	More: map[string]*point{"": {}, "n": nil}, At: time.Date(2024, 2, 29, 23, 59, 59, 999_999_999, time.UTC),
}

const text = "plain, naïve, 名前, \U0001F600, \u2028, <&>, \x00, \r\n"

// valueRows: every way to store with every kind of value. All read back what was stored, local or remote.
func valueRows() []row {
	var none tiered.CacheOptions
	return concat(
		stored("struct", none, somePoint),
		stored("zero struct", none, point{}),
		stored("pointer", none, &somePoint),
		stored[*point]("nil pointer", none, nil),
		stored("bool", none, true),
		stored("false", none, false),
		stored("float64", none, -math.MaxFloat64),
		stored("tiny float64", none, math.SmallestNonzeroFloat64),
		stored("whole float64", none, 3.0),
		stored("int64 max", none, int64(math.MaxInt64)),
		stored("int64 min", none, int64(math.MinInt64)),
		stored("int64 beyond 2^53", none, int64(1<<53+1)),
		stored("zero int64", none, int64(0)),
		stored("int", none, -42),
		stored("int8", none, int8(math.MinInt8)),
		stored("uint64 max", none, uint64(math.MaxUint64)),
		stored("named int", none, count(math.MaxInt32)),
		stored("string", none, text),
		stored("empty string", none, ""),
		stored("string that is not UTF-8", none, "\xff\x00\xfe"),
		stored("named string", none, label(text)),
		stored("bytes", none, []byte{0, 1, 0xff}),
		stored("empty bytes", none, []byte{}),
		stored[[]byte]("nil bytes", none, nil),
		stored("named bytes", none, blob("b")),
		stored("map", none, map[string]int{"a": 1, "": 0, "ä": -1}),
		stored("empty map", none, map[string]int{}),
		stored[map[string]int]("nil map", none, nil),
		stored("slice", none, []point{{}, somePoint}),
		stored("empty slice", none, []string{}),
		stored[[]string]("nil slice", none, nil),
		stored("array", none, [2]string{"a", "b"}),
		stored("time", none, time.Date(1969, 7, 20, 20, 17, 40, 1, time.FixedZone("", -4*3600))),
		stored("message", none, timestamppb.New(time.Unix(1, 2))),
		stored("empty message", none, &wrapperspb.StringValue{}),
		stored("text message", none, wrapperspb.String(text)),
		stored[*wrapperspb.StringValue]("nil message", none, nil),

		stored[any]("any nil", none, nil),
		storedAs[any]("any int", none, 5, int64(5)),
		storedAs[any]("any int64 min", none, int64(math.MinInt64), int64(math.MinInt64)),
		storedAs[any]("any uint64 max", none, uint64(math.MaxUint64), uint64(math.MaxUint64)),
		storedAs[any]("any json.Number", none, json.Number("12"), int64(12)),
		storedAs[any]("any float", none, float32(0.5), 0.5),
		storedAs[any]("any string", none, text, text),
		storedAs[any]("any bool", none, true, true),
		storedAs[any]("any nested map", none,
			map[string]any{"n": 1, "f": 1.5, "s": "x", "z": nil, "m": map[string]string{"a": "b"}, "l": []int{1}},
			map[string]any{"n": 1.0, "f": 1.5, "s": "x", "z": nil, "m": map[string]any{"a": "b"}, "l": []any{1.0}}),
		storedAs[any]("any struct", none, struct{ A int }{1}, map[string]any{"A": 1.0}),
		storedAs("map of any", none, map[string]any{"n": 1}, map[string]any{"n": 1.0}),
	)
}

func concat(groups ...[]row) []row {
	var rows []row
	for _, g := range groups {
		rows = append(rows, g...)
	}
	return rows
}

func stored[V any](name string, o tiered.CacheOptions, v V) []row { return storedAs(name, o, v, v) }

// storedAs: what is stored as give is read as got, by the instance that stored it and by one that has nothing local.
func storedAs[V any](name string, o tiered.CacheOptions, give, got V) []row {
	const key = "k"
	both := func(op string, run func(t *testing.T, w, r *tiered.Cache[V])) row {
		return row{op: op, name: "value/" + name, once: true, run: func(t *testing.T, e *env) {
			run(t, cache[V](t, e.first, e.name, o), cache[V](t, e.second, e.name, o))
		}}
	}
	return []row{
		both("Set", func(t *testing.T, w, r *tiered.Cache[V]) {
			check(t, w.Set(t.Context(), key, give))
			finds(t, r, key, got, nil)
			finds(t, w, key, got, nil)
		}),
		both("SetMany", func(t *testing.T, w, r *tiered.Cache[V]) {
			want(t, 2)(w.SetMany(t.Context(), []tiered.Item[V]{{Key: key, Value: give}, {Key: "k2", Value: give}}))
			want(t, map[string]V{key: got, "k2": got})(r.GetMany(t.Context(), []string{"k2", key, "k3"}))
			want(t, map[string]V{key: got, "k2": got})(w.GetMany(t.Context(), []string{"k2", key, "k3"}))
		}),
		both("SetIfAbsent", func(t *testing.T, w, r *tiered.Cache[V]) {
			want(t, true)(w.SetIfAbsent(t.Context(), key, give))
			want(t, false)(r.SetIfAbsent(t.Context(), key, *new(V)))
			finds(t, r, key, got, nil)
			finds(t, w, key, got, nil)
		}),
		both("GetOrSetValue", func(t *testing.T, w, r *tiered.Cache[V]) {
			want(t, got)(w.GetOrSetValue(t.Context(), key, give))
			want(t, got)(r.GetOrSetValue(t.Context(), key, *new(V)))
			want(t, got)(w.GetOrSetValue(t.Context(), key, *new(V)))
		}),
		both("GetOrSet", func(t *testing.T, w, r *tiered.Cache[V]) {
			want(t, got)(w.GetOrSet(t.Context(), key, func(context.Context) (V, error) { return give, nil }))
			want(t, got)(r.GetOrSet(t.Context(), key, mustNotLoad[V](t)))
			want(t, got)(w.GetOrSet(t.Context(), key, mustNotLoad[V](t)))
		}),
		both("GetOrSetMany", func(t *testing.T, w, r *tiered.Cache[V]) {
			load := func(expected string) func(context.Context, []string) (map[string]V, error) {
				return func(_ context.Context, missing []string) (map[string]V, error) {
					if len(missing) != 1 || missing[0] != expected {
						t.Errorf("asked to load %q", missing)
					}
					return map[string]V{expected: give}, nil
				}
			}
			want(t, map[string]V{key: got})(w.GetOrSetMany(t.Context(), []string{key}, load(key)))
			want(t, map[string]V{key: got, "k2": got})(r.GetOrSetMany(t.Context(), []string{key, "k2"}, load("k2")))
			want(t, map[string]V{key: got, "k2": got})(w.GetOrSetMany(t.Context(), []string{key, "k2"}, load("nothing")))
		}),
	}
}

// refused: a value that cannot be encoded is stored nowhere.
func refused[V any](name string, o tiered.CacheOptions, v V, errWant error) []row {
	name = "value/" + name
	failsWith := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("no error")
		}
		if errWant != nil {
			wantErr(t, err, errWant)
		}
	}
	return []row{
		{op: "Set", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			failsWith(t, r.Set(t.Context(), "k", v))
			finds(t, r, "k", v, tiered.ErrNotFound)
		}},
		{op: "SetMany", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			n, err := r.SetMany(t.Context(), []tiered.Item[V]{{Key: "k", Value: v}, {Key: "fine"}})
			failsWith(t, err)
			want(t, 1)(n, nil)
			batchNames(t, err, "k")
			finds(t, r, "k", v, tiered.ErrNotFound)
			finds(t, r, "fine", *new(V), nil)
		}},
		{op: "SetIfAbsent", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			_, err := r.SetIfAbsent(t.Context(), "k", v)
			failsWith(t, err)
			finds(t, r, "k", v, tiered.ErrNotFound)
		}},
		{op: "GetOrSetValue", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			_, err := r.GetOrSetValue(t.Context(), "k", v)
			failsWith(t, err)
			finds(t, r, "k", v, tiered.ErrNotFound)
		}},
		{op: "GetOrSet", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			// The caller has what it loaded; that it cannot be stored is counted.
			_, err := r.GetOrSet(t.Context(), "k", func(context.Context) (V, error) { return v, nil })
			check(t, err)
			finds(t, r, "k", v, tiered.ErrNotFound)
			if n := e.asked().Stats().Caches[e.name].StoreErrors; n != 1 {
				t.Fatalf("StoreErrors is %d", n)
			}
		}},
		{op: "GetOrSetMany", name: name, run: func(t *testing.T, e *env) {
			_, r := pair[V](t, e, o)
			got, err := r.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]V, error) {
				return map[string]V{"k": v}, nil
			})
			want(t, 1)(len(got), err)
			finds(t, r, "k", v, tiered.ErrNotFound)
		}},
	}
}

func refusedRows() []row {
	return concat(
		refused("too large", tiered.CacheOptions{MaxValueBytes: 64}, strings.Repeat("x", 65), tiered.ErrValueTooLarge),
		refused("not a number", tiered.CacheOptions{}, math.NaN(), nil),
		refused("a string in JSON that is not UTF-8", tiered.CacheOptions{}, []string{"\xff"}, nil),
		refused[any]("a channel", tiered.CacheOptions{}, make(chan int), nil),
	)
}
