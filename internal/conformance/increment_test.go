package conformance

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// incremented: what was stored as give is, after adding delta, got.
func incremented[V any](name string, give V, by, sum int64, got V) row {
	return row{op: "Increment", name: "sum/" + name, run: func(t *testing.T, e *env) {
		w, r := pair[V](t, e)
		check(t, w.Set(t.Context(), "k", give))
		finds(t, r, "k", give, nil)
		want(t, sum)(r.Increment(t.Context(), "k", by))
		finds(t, r, "k", got, nil)
		sees(t, w, "k", got, nil)
	}}
}

// notIncremented: the error leaves what was stored as it was, its life included.
func notIncremented[V any](name string, o tiered.CacheOptions, give V, by int64, got V, errWant error) row {
	return row{op: "Increment", name: "refused/" + name, run: func(t *testing.T, e *env) {
		w, r := pair[V](t, e, o)
		check(t, w.Set(t.Context(), "k", give, tiered.TTL(time.Minute)))
		n, err := r.Increment(t.Context(), "k", by)
		wantErr(t, err, errWant)
		if n != 0 {
			t.Fatalf("sum %d beside an error", n)
		}
		finds(t, r, "k", got, nil)
		left, err := r.TTL(t.Context(), "k")
		if err != nil || left > time.Minute {
			t.Fatalf("TTL is %v, %v", left, err)
		}
	}}
}

func incrementRows() []row {
	const most, least = int64(math.MaxInt64), int64(math.MinInt64)
	var none tiered.CacheOptions
	return []row{
		incremented("int64", int64(40), 2, 42, 42),
		incremented("by zero", int64(40), 0, 40, 40),
		incremented("by less", int64(1), -3, -2, -2),
		incremented("beyond 2^53", int64(1<<53), 1, 1<<53+1, 1<<53+1),
		incremented("to the most", most-1, 1, most, most),
		incremented("to the least", least+1, -1, least, least),
		incremented("over everything", most, least, -1, -1),
		incremented("from the least", least, most, -1, -1),
		incremented("int", 5, 1, 6, 6),
		incremented("int8 to its most", int8(126), 1, 127, 127),
		incremented("uint64", uint64(5), 1, 6, 6),
		incremented("uint8 to zero", uint8(5), -5, 0, 0),
		incremented("named int", count(5), 1, 6, 6),
		{op: "Increment", name: "sum/any int", run: func(t *testing.T, e *env) { incrementAny(t, e, 5) }},
		{op: "Increment", name: "sum/any int64", run: func(t *testing.T, e *env) { incrementAny(t, e, int64(5)) }},
		{op: "Increment", name: "sum/any uint8", run: func(t *testing.T, e *env) { incrementAny(t, e, uint8(5)) }},
		{op: "Increment", name: "sum/any JSON integer", run: func(t *testing.T, e *env) { incrementAny(t, e, json.Number("5")) }},

		notIncremented("over the most", none, most, 1, most, tiered.ErrOverflow),
		notIncremented("under the least", none, least, -1, least, tiered.ErrOverflow),
		notIncremented("most and most", none, most, most, most, tiered.ErrOverflow),
		notIncremented("least and least", none, least, least, least, tiered.ErrOverflow),
		notIncremented("int8 over its most", none, int8(127), 1, int8(127), tiered.ErrOverflow),
		notIncremented("uint8 below zero", none, uint8(0), -1, uint8(0), tiered.ErrOverflow),
		notIncremented("uint64 below zero", none, uint64(1), -2, uint64(1), tiered.ErrOverflow),
		notIncremented("uint64 beyond int64", none, uint64(math.MaxUint64), 1, uint64(math.MaxUint64), tiered.ErrOverflow),
		notIncremented("text", none, "5", 1, "5", tiered.ErrNotNumeric),
		notIncremented("struct", none, point{X: 5}, 1, point{X: 5}, tiered.ErrNotNumeric),
		notIncremented("float", none, 5.0, 1, 5.0, tiered.ErrNotNumeric),
		notIncremented[any]("any text", none, "5", 1, "5", tiered.ErrNotNumeric),
		notIncremented[any]("any float", none, 5.0, 1, 5.0, tiered.ErrNotNumeric),
		notIncremented[any]("any nil", none, nil, 1, nil, tiered.ErrNotNumeric),
		notIncremented[any]("any map", none, map[string]any{}, 1, map[string]any{}, tiered.ErrNotNumeric),
		notIncremented("encrypted", tiered.CacheOptions{Keyring: keyring("a", "a")}, int64(5), 1, 5, tiered.ErrNotNumeric),
		notIncremented("own codec", tiered.CacheOptions{Codec: backwards{}}, int64(5), 1, 5, tiered.ErrNotNumeric),

		{op: "Increment", name: "missing", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e, tiered.CacheOptions{TTL: 5 * time.Minute})
			want(t, least)(r.Increment(t.Context(), "k", least))
			ttlWithin(t, r, "k", 4*time.Minute, 5*time.Minute)
			finds(t, r, "k", least, nil)
			sees(t, w, "k", least, nil)
			want(t, most)(r.Increment(t.Context(), "l", most))
			want(t, int64(0))(r.Increment(t.Context(), "m", 0))
			finds(t, w, "m", 0, nil)
		}},
		{op: "Increment", name: "missing, out of bounds", run: func(t *testing.T, e *env) {
			_, r := pair[int8](t, e)
			_, err := r.Increment(t.Context(), "k", 128)
			wantErr(t, err, tiered.ErrOverflow)
			finds(t, r, "k", 0, tiered.ErrNotFound)
		}},
		{op: "Increment", name: "text, missing", run: func(t *testing.T, e *env) {
			_, r := pair[string](t, e)
			_, err := r.Increment(t.Context(), "k", 1)
			wantErr(t, err, tiered.ErrNotNumeric)
			finds(t, r, "k", "", tiered.ErrNotFound)
		}},
		{op: "Increment", name: "keeps the TTL", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1, tiered.TTL(10*time.Minute)))
			want(t, int64(2))(r.Increment(t.Context(), "k", 1))
			ttlWithin(t, r, "k", 9*time.Minute, 10*time.Minute)
		}},
		{op: "Increment", name: "keeps for ever", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1, tiered.TTL(tiered.NoExpiration)))
			want(t, int64(2))(r.Increment(t.Context(), "k", 1))
			want(t, tiered.NoExpiration)(r.TTL(t.Context(), "k"))
		}},
		{op: "Increment", name: "keeps the tags", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e, tiered.CacheOptions{TTL: 5 * time.Minute})
			check(t, w.Set(t.Context(), "k", 1, tiered.Tags("a", "b"), tiered.TTL(10*time.Minute)))
			want(t, int64(2))(r.Increment(t.Context(), "k", 1))
			check(t, w.InvalidateTags(t.Context(), "unknown"))
			want(t, int64(3))(w.Increment(t.Context(), "k", 1))
			ttlWithin(t, r, "k", 9*time.Minute, 10*time.Minute)
			sees(t, r, "k", 3, nil)
			sees(t, w, "k", 3, nil)
			check(t, r.InvalidateTags(t.Context(), "b"))
			finds(t, r, "k", 0, tiered.ErrNotFound)
			sees(t, w, "k", 0, tiered.ErrNotFound)
		}},
		{op: "Increment", name: "a tag invalidated", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e, tiered.CacheOptions{TTL: 5 * time.Minute})
			check(t, w.Set(t.Context(), "k", oldValue, tiered.Tags("a", "b"), tiered.TTL(10*time.Minute)))
			check(t, r.InvalidateTags(t.Context(), "a"))
			want(t, delta)(r.Increment(t.Context(), "k", delta))
			finds(t, r, "k", delta, nil)
			sees(t, w, "k", delta, nil)
			ttlWithin(t, r, "k", 4*time.Minute, 5*time.Minute)
			want(t, 2*delta)(w.Increment(t.Context(), "k", delta))
			check(t, w.InvalidateTags(t.Context(), "a", "b")) // it has them no more
			finds(t, w, "k", 2*delta, nil)
			sees(t, r, "k", 2*delta, nil)
		}},
		{op: "Increment", name: "a tag of text invalidated", run: func(t *testing.T, e *env) {
			w, r := pair[any](t, e)
			check(t, w.Set(t.Context(), "k", "5", tiered.Tags("t")))
			_, err := r.Increment(t.Context(), "k", delta)
			wantErr(t, err, tiered.ErrNotNumeric)
			check(t, r.InvalidateTags(t.Context(), "t"))
			want(t, delta)(r.Increment(t.Context(), "k", delta)) // what it was does not matter
			finds[any](t, r, "k", delta, nil)
			sees[any](t, w, "k", delta, nil)
		}},
		{op: "Increment", name: "what it made is set, read and counted", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			want(t, int64(3))(w.Increment(t.Context(), "k", 3))
			want(t, int64(3))(r.GetOrSet(t.Context(), "k", mustNotLoad[int64](t)))
			want(t, false)(r.SetIfAbsent(t.Context(), "k", 1))
			want(t, 1)(r.Count(t.Context(), ""))
			want(t, true)(r.Expire(t.Context(), "k", time.Minute))
			want(t, int64(4))(r.Increment(t.Context(), "k", 1))
			want(t, true)(r.Delete(t.Context(), "k"))
		}},
	}
}

func incrementAny(t *testing.T, e *env, give any) {
	w, r := pair[any](t, e)
	check(t, w.Set(t.Context(), "k", give))
	want(t, int64(6))(r.Increment(t.Context(), "k", 1))
	finds[any](t, r, "k", int64(6), nil)
	sees[any](t, w, "k", int64(6), nil)
	want(t, int64(7))(r.Increment(t.Context(), "another", 7))
	finds[any](t, r, "another", int64(7), nil)
}
