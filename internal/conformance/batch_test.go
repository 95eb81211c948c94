package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// batchKeys lie in all slots of a Cluster and take two round trips; among all some occur twice, and some are refused.
// They are removed when the row ends, for those that scan.
func (e *env) batchKeys(t *testing.T) (good, all, bad []string) {
	t.Helper()
	n := 1000
	if e.target == &embedded {
		n = 100 // it makes a Lua machine for each key
	}
	for i := range n {
		good = append(good, fmt.Sprintf("key %d", i))
	}
	t.Cleanup(func() {
		pipe := e.raw.Pipeline()
		for _, k := range good {
			pipe.Unlink(context.Background(), e.remoteKey(k))
		}
		if _, err := pipe.Exec(context.Background()); err != nil {
			t.Error(err)
		}
	})
	bad = []string{"", strings.Repeat("x", tiered.MaxKeyBytes+1)}
	all = slices.Concat(bad[:1], good, good[n/10:n/5], bad[1:], good[:1])
	return good, all, bad
}

func batchNames(t *testing.T, err error, keys ...string) {
	t.Helper()
	var b *tiered.BatchError
	if !errors.As(err, &b) {
		t.Fatalf("error %v, want a *BatchError", err)
	}
	if got := slices.Sorted(maps.Keys(b.Failed)); !slices.Equal(got, slices.Sorted(slices.Values(keys))) {
		t.Fatalf("the batch error names %.200q, want %.200q", got, keys)
	}
}

func refusedKeys(t *testing.T, err error, bad []string) {
	t.Helper()
	wantErr(t, err, tiered.ErrInvalidKey)
	batchNames(t, err, bad...)
}

func fill(t *testing.T, c *tiered.Cache[int64], keys []string) map[string]int64 {
	t.Helper()
	values := make(map[string]int64, len(keys))
	items := make([]tiered.Item[int64], 0, len(keys))
	for i, k := range keys {
		items = append(items, tiered.Item[int64]{Key: k, Value: int64(i)})
		values[k] = int64(i)
	}
	want(t, len(keys))(c.SetMany(t.Context(), items))
	return values
}

func batchRows() []row {
	empty := func(op string, do func(t *testing.T, c *tiered.Cache[int64])) row {
		return row{op: op, name: "no keys", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			do(t, r)
		}}
	}
	return []row{
		{op: "SetMany", name: "many keys", run: setManyBatch},
		{op: "GetMany", name: "many keys", run: getManyBatch},
		{op: "ExistsMany", name: "many keys", run: existsManyBatch},
		{op: "DeleteMany", name: "many keys", run: deleteManyBatch},
		{op: "GetOrSetMany", name: "many keys", run: getOrSetManyBatch},
		{op: "GetMany", name: "one does not decode", run: getManyMixed},
		{op: "SetMany", name: "options of each item", run: setManyOptions},
		empty("GetMany", func(t *testing.T, c *tiered.Cache[int64]) {
			want(t, map[string]int64{})(c.GetMany(t.Context(), nil))
		}),
		empty("SetMany", func(t *testing.T, c *tiered.Cache[int64]) { want(t, 0)(c.SetMany(t.Context(), nil)) }),
		empty("DeleteMany", func(t *testing.T, c *tiered.Cache[int64]) { want(t, 0)(c.DeleteMany(t.Context(), nil)) }),
		empty("ExistsMany", func(t *testing.T, c *tiered.Cache[int64]) {
			want(t, map[string]bool{})(c.ExistsMany(t.Context(), nil))
		}),
		empty("GetOrSetMany", func(t *testing.T, c *tiered.Cache[int64]) {
			want(t, map[string]int64{})(c.GetOrSetMany(t.Context(), nil, func(context.Context, []string) (map[string]int64, error) {
				t.Error("the loader was called")
				return nil, nil
			}))
		}),
	}
}

func setManyBatch(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	good, all, bad := e.batchKeys(t)
	items := make([]tiered.Item[int64], len(all))
	values := make(map[string]int64)
	for i, k := range all { // of items with one key the last counts
		items[i] = tiered.Item[int64]{Key: k, Value: int64(i)}
		if !slices.Contains(bad, k) {
			values[k] = int64(i)
		}
	}
	n, err := w.SetMany(t.Context(), items)
	want(t, len(good))(n, nil)
	refusedKeys(t, err, bad)
	want(t, values)(r.GetMany(t.Context(), good))
	want(t, len(good))(r.Count(t.Context(), ""))
}

func getManyBatch(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	good, all, bad := e.batchKeys(t)
	values := fill(t, w, good[:len(good)/2])
	got, err := r.GetMany(t.Context(), all)
	refusedKeys(t, err, bad)
	want(t, values)(got, nil)
	got, err = r.GetMany(t.Context(), good) // now with local hits
	want(t, values)(got, err)
}

func existsManyBatch(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	good, all, bad := e.batchKeys(t)
	fill(t, w, good[:len(good)/2])
	got, err := r.ExistsMany(t.Context(), slices.Clone(all))
	refusedKeys(t, err, bad)
	expected := make(map[string]bool)
	for _, k := range all {
		expected[k] = slices.Contains(good[:len(good)/2], k)
	}
	want(t, expected)(got, nil)
}

func deleteManyBatch(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	good, all, bad := e.batchKeys(t)
	fill(t, w, good[:len(good)/2])
	check(t, w.Set(t.Context(), "stays", 1))
	want(t, len(good)/2)(len2(r.GetMany(t.Context(), good))) // local copies, which have to go
	n, err := r.DeleteMany(t.Context(), all)
	refusedKeys(t, err, bad)
	want(t, len(good)/2)(n, nil)
	want(t, 0)(len2(r.GetMany(t.Context(), good)))
	becomesTrue(t, func() bool {
		left, err := w.GetMany(t.Context(), good)
		return err == nil && len(left) == 0
	})
	want(t, 0)(r.DeleteMany(t.Context(), good))
	finds(t, r, "stays", 1, nil)
}

func len2[V any](m map[string]V, err error) (int, error) { return len(m), err }

func getOrSetManyBatch(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	good, all, bad := e.batchKeys(t)
	values := fill(t, w, good[:len(good)/2])
	calls := 0
	load := func(_ context.Context, missing []string) (map[string]int64, error) {
		calls++
		if !slices.Equal(slices.Sorted(slices.Values(missing)), slices.Sorted(slices.Values(good[len(good)/2:]))) {
			t.Errorf("asked to load %d keys, not the %d that are missing", len(missing), len(good)/2)
		}
		out := make(map[string]int64)
		for _, k := range missing[1:] { // the first is nowhere
			out[k] = newValue
		}
		return out, nil
	}
	got, err := r.GetOrSetMany(t.Context(), all, load)
	refusedKeys(t, err, bad)
	if calls != 1 {
		t.Fatalf("%d calls of the loader", calls)
	}
	for _, k := range good[len(good)/2+1:] {
		values[k] = newValue
	}
	want(t, values)(got, nil)
	want(t, values)(w.GetMany(t.Context(), good))
}

func getManyMixed(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	check(t, w.Set(t.Context(), "fine", 1))
	check(t, e.raw.Set(t.Context(), e.remoteKey("broken"), "?", 0).Err())
	got, err := r.GetMany(t.Context(), []string{"missing", "broken", "fine"})
	want(t, map[string]int64{"fine": 1})(got, nil)
	wantErr(t, err, errDecode)
	batchNames(t, err, "broken")
}

func setManyOptions(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	n, err := w.SetMany(t.Context(), []tiered.Item[int64]{
		{Key: "default", Value: 1},
		{Key: "minute", Value: 2, TTL: time.Minute},
		{Key: "for ever", Value: 3, TTL: tiered.NoExpiration},
		{Key: "tagged", Value: 4, Tags: []string{"t"}},
		{Key: "bad TTL", Value: 5, TTL: -1},
		{Key: "bad tag", Value: 6, Tags: []string{""}},
	})
	want(t, 4)(n, nil)
	wantErr(t, err, tiered.ErrInvalidOptions)
	batchNames(t, err, "bad TTL", "bad tag")
	ttlWithin(t, r, "default", tiered.DefaultTTL-time.Minute, tiered.DefaultTTL)
	ttlWithin(t, r, "minute", 50*time.Second, time.Minute)
	want(t, tiered.NoExpiration)(r.TTL(t.Context(), "for ever"))
	check(t, w.InvalidateTags(t.Context(), "t"))
	sees(t, r, "tagged", 0, tiered.ErrNotFound)
	finds(t, r, "default", 1, nil)
}
