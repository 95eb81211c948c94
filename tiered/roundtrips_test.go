package tiered_test

import (
	"slices"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// A batch costs a few round trips, however many keys it has, and whether they have tags or not.
func TestTags_ofABatchCostFewRoundTrips(t *testing.T) {
	t.Parallel()
	const most = 3
	w, client := watched(t, tiered.Options{}, 0)
	c := newCache[string](t, client, "c", tiered.CacheOptions{LocalTTL: 1})
	keys := numbered(50)
	items := make([]tiered.Item[string], len(keys))
	for i, k := range keys {
		items[i] = tiered.Item[string]{Key: k, Value: "v", Tags: []string{"all", "tag" + k}}
	}
	setMany := func(t *testing.T) {
		if n, err := c.SetMany(w.mark(t.Context()), items); n != len(items) || err != nil {
			t.Fatalf("SetMany = %d, %v", n, err)
		}
	}
	getMany := func(t *testing.T) {
		if m, err := c.GetMany(w.mark(t.Context()), keys); len(m) != len(keys) || err != nil {
			t.Fatalf("GetMany = %d values, %v", len(m), err)
		}
	}
	getOrSetMany := func(t *testing.T) {
		if m, err := c.GetOrSetMany(w.mark(t.Context()), keys, forbiddenMany[string](t)); len(m) != len(keys) || err != nil {
			t.Fatalf("GetOrSetMany = %d values, %v", len(m), err)
		}
	}
	existsMany := func(t *testing.T) {
		keys := append(slices.Clone(keys), "missing")
		m, err := c.ExistsMany(w.mark(t.Context()), keys)
		if len(m) != len(keys) || err != nil || m["missing"] {
			t.Fatalf("ExistsMany = %d answers, %v", len(m), err)
		}
		for _, k := range keys[:len(keys)-1] {
			if !m[k] {
				t.Errorf("there is no %s", k)
			}
		}
	}
	for _, round := range []string{"the scripts are loaded", "counted"} {
		for _, call := range []struct {
			name string
			run  func(t *testing.T)
		}{{"SetMany", setMany}, {"GetMany", getMany}, {"GetOrSetMany", getOrSetMany}, {"ExistsMany", existsMany}} {
			w.seen.Store(0)
			call.run(t)
			if n := w.seen.Load(); round == "counted" && (n < 1 || n > most) {
				t.Errorf("%s of %d tagged keys: %d round trips, want at most %d", call.name, len(keys), n, most)
			}
		}
	}
}
