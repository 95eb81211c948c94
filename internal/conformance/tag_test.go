package conformance

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

func tagRows() []row {
	rows := []row{
		{op: "InvalidateTags", name: "several tags and entries", run: severalTags},
		{op: "InvalidateTags", name: "no tags", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1, tiered.Tags("t")))
			check(t, r.InvalidateTags(t.Context()))
			finds(t, r, "k", 1, nil)
		}},
		{op: "InvalidateTags", name: "set anew", run: setAnew},
		{op: "InvalidateTags", name: "tags of another cache", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			another := cache[int64](t, e.second, e.name+"-b")
			check(t, w.Set(t.Context(), "k", 1, tiered.Tags("t")))
			check(t, another.Set(t.Context(), "k", 2, tiered.Tags("t")))
			check(t, r.InvalidateTags(t.Context(), "t"))
			finds(t, r, "k", 0, tiered.ErrNotFound)
			finds(t, another, "k", 2, nil)
		}},
		{op: "InvalidateTags", name: "a set without tags takes them off", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1, tiered.Tags("t")))
			check(t, w.Set(t.Context(), "k", 2))
			sees(t, r, "k", 2, nil)
			check(t, r.InvalidateTags(t.Context(), "t"))
			finds(t, r, "k", 2, nil)
		}},
		{op: "InvalidateTags", name: "both instances hold a local copy", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1, tiered.Tags("t")))
			finds(t, r, "k", 1, nil)
			finds(t, w, "k", 1, nil)
			check(t, w.InvalidateTags(t.Context(), "t"))
			finds(t, w, "k", 0, tiered.ErrNotFound)
			sees(t, r, "k", 0, tiered.ErrNotFound)
		}},
		{op: "InvalidateTags", name: "while it loads", run: invalidatedWhileLoading},
		{op: "InvalidateTags", name: "a loaded value replaces it", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", oldValue, tiered.Tags("t")))
			check(t, r.InvalidateTags(t.Context(), "t"))
			want(t, newValue)(r.GetOrSet(t.Context(), "k", loadNew, tiered.Tags("t")))
			want(t, "9")(e.stored(t, "k"), nil)
			sees(t, w, "k", newValue, nil)
		}},
	}
	for _, op := range []string{"Exists", "ExistsMany", "TTL", "Expire"} {
		rows = append(rows, row{op: op, name: "tags intact", run: func(t *testing.T, e *env) { tagsIntact(t, e, op) }})
	}
	for _, tag := range []struct{ name, tag string }{{"empty", ""}, {"1025 bytes", strings.Repeat("t", 1025)}} {
		rows = append(rows, row{op: "InvalidateTags", name: "refused/" + tag.name, run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			wantErr(t, r.InvalidateTags(t.Context(), "fine", tag.tag), tiered.ErrInvalidOptions)
		}})
		for _, s := range storings {
			rows = append(rows, row{op: s.op, name: "tag refused/" + tag.name, run: func(t *testing.T, e *env) {
				_, r := pair[int64](t, e)
				wantErr(t, s.do(t, r, tiered.Tags("fine", tag.tag)), tiered.ErrInvalidOptions)
				finds(t, r, "k", 0, tiered.ErrNotFound)
			}})
		}
	}
	for _, k := range oddKeys {
		rows = append(rows, row{op: "InvalidateTags", name: "tag/" + k.name, run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), k.key, 1, tiered.Tags(k.key)))
			finds(t, r, k.key, 1, nil)
			check(t, r.InvalidateTags(t.Context(), k.key))
			finds(t, r, k.key, 0, tiered.ErrNotFound)
			sees(t, w, k.key, 0, tiered.ErrNotFound)
		}})
	}
	tagged := func(op string, do func(t *testing.T, c *tiered.Cache[int64]) error) row {
		return row{op: op, name: "tags", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, do(t, w))
			check(t, w.Set(t.Context(), "untagged", 1))
			finds(t, r, "k", newValue, nil)
			check(t, r.InvalidateTags(t.Context(), "b", "unknown"))
			finds(t, r, "k", 0, tiered.ErrNotFound)
			sees(t, w, "k", 0, tiered.ErrNotFound)
			finds(t, w, "untagged", 1, nil)
			want(t, newValue)(r.GetOrSet(t.Context(), "k", loadNew))
		}}
	}
	for _, s := range storings {
		rows = append(rows, tagged(s.op, func(t *testing.T, c *tiered.Cache[int64]) error { return s.do(t, c, tiered.Tags("a", "b", "a")) }))
	}
	return append(rows, tagged("SetMany", func(t *testing.T, c *tiered.Cache[int64]) error { return setItem(t, c, 0, "a", "b", "a") }))
}

// tagsIntact: an entry that has tags is there, until one of them is invalidated.
func tagsIntact(t *testing.T, e *env, op string) {
	w, r := pair[int64](t, e)
	p := probes[slices.IndexFunc(probes, func(p probe) bool { return p.op == op })]
	check(t, w.Set(t.Context(), "k", oldValue, tiered.Tags("a", "b")))
	check(t, w.InvalidateTags(t.Context(), "unknown"))
	want(t, present.want[op].answer)(p.do(t.Context(), r, "k"))
	check(t, r.InvalidateTags(t.Context(), "b"))
	got, err := p.do(t.Context(), r, "k")
	if o := missing.want[op]; o.err != nil {
		wantErr(t, err, o.err)
	} else {
		want(t, o.answer)(got, err)
	}
}

func severalTags(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	entries := map[string][]string{"ab": {"a", "b"}, "bc": {"b", "c"}, "c": {"c"}, "d": {"d"}, "none": nil}
	for k, tags := range entries {
		check(t, w.Set(t.Context(), k, 1, tiered.Tags(tags...)))
		finds(t, r, k, 1, nil)
	}
	left := func(keys ...string) {
		t.Helper()
		expected := make(map[string]int64)
		for _, k := range keys {
			expected[k] = 1
		}
		all := []string{"ab", "bc", "c", "d", "none"}
		want(t, expected)(r.GetMany(t.Context(), all))
		becomesTrue(t, func() bool {
			got, err := w.GetMany(t.Context(), all)
			return err == nil && equal(got, expected)
		})
	}
	check(t, r.InvalidateTags(t.Context(), "unknown"))
	left("ab", "bc", "c", "d", "none")
	check(t, r.InvalidateTags(t.Context(), "a"))
	left("bc", "c", "d", "none")
	check(t, r.InvalidateTags(t.Context(), "c", "c", "unknown"))
	left("d", "none")
	check(t, r.InvalidateTags(t.Context(), "a", "b", "c", "d"))
	left("none")
}

func setAnew(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	check(t, w.Set(t.Context(), "k", oldValue, tiered.Tags("t")))
	check(t, r.InvalidateTags(t.Context(), "t"))
	check(t, r.Set(t.Context(), "k", newValue, tiered.Tags("t")))
	finds(t, r, "k", newValue, nil)
	sees(t, w, "k", newValue, nil)
	check(t, w.InvalidateTags(t.Context(), "t"))
	finds(t, w, "k", 0, tiered.ErrNotFound)
	sees(t, r, "k", 0, tiered.ErrNotFound)
}

// invalidatedWhileLoading: a load that began before is not served after.
func invalidatedWhileLoading(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	want(t, oldValue)(r.GetOrSet(t.Context(), "k", func(ctx context.Context) (int64, error) {
		return oldValue, w.InvalidateTags(ctx, "t")
	}, tiered.Tags("t")))
	sees(t, r, "k", 0, tiered.ErrNotFound)
	finds(t, w, "k", 0, tiered.ErrNotFound)
}
