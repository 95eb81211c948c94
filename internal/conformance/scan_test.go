package conformance

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// scanned are the keys that patterns choose from.
var scanned = []string{
	"user:1", "user:22", "user:", "users", "abc", "axc", "a*c", "a?c", "ac", "aabc", "bcd", "b", "cde",
	`back\slash`, "[ab]x", "ax", "{tag}1", "{tag}2", "ü", " ", "new\nline",
}

var patterns = []struct {
	pattern string
	matches []string
}{
	{"", scanned},
	{"*", scanned},
	{"**", scanned},
	{"user:*", []string{"user:1", "user:22", "user:"}},
	{"user:?", []string{"user:1"}},
	{"user:1", []string{"user:1"}},
	{"a?c", []string{"abc", "axc", "a*c", "a?c"}},
	{"[ab]*", []string{"abc", "axc", "a*c", "a?c", "ac", "aabc", "bcd", "b", `back\slash`, "ax"}},
	{"[b-c]*", []string{"bcd", "b", "cde", `back\slash`}},
	{"*c", []string{"abc", "axc", "a*c", "a?c", "ac", "aabc"}},
	{`a\*c`, []string{"a*c"}},
	{`a\?c`, []string{"a?c"}},
	{`\[ab\]x`, []string{"[ab]x"}},
	{`back\\slash`, []string{`back\slash`}},
	{"{tag}*", []string{"{tag}1", "{tag}2"}},
	{"*\n*", []string{"new\nline"}},
	{"nothing", nil},
	{"user", nil},
}

func scanRows() []row {
	var rows []row
	for _, p := range patterns {
		name := fmt.Sprintf("pattern/%q", p.pattern)
		rows = append(rows,
			row{op: "Count", name: name, run: func(t *testing.T, e *env) {
				w, r := pair[int64](t, e)
				fill(t, w, scanned)
				n := e.surround(t)
				want(t, len(p.matches))(r.Count(t.Context(), p.pattern))
				n.intact(t)
				want(t, len(scanned))(r.DeleteMany(t.Context(), scanned))
			}},
			row{op: "Clear", name: name, run: func(t *testing.T, e *env) {
				w, r := pair[int64](t, e)
				left := fill(t, w, scanned)
				n := e.surround(t)
				want(t, len(scanned))(len2(r.GetMany(t.Context(), scanned))) // local copies, which have to go
				want(t, len(p.matches))(r.Clear(t.Context(), p.pattern))
				maps.DeleteFunc(left, func(k string, _ int64) bool { return slices.Contains(p.matches, k) })
				want(t, left)(r.GetMany(t.Context(), scanned))
				becomesTrue(t, func() bool {
					got, err := w.GetMany(t.Context(), scanned)
					return err == nil && equal(got, left)
				})
				want(t, len(left))(r.Count(t.Context(), ""))
				n.intact(t)
				want(t, len(left))(r.DeleteMany(t.Context(), scanned))
			}},
		)
	}
	return append(rows,
		row{op: "Clear", name: "many keys", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			good, _, _ := e.batchKeys(t)
			fill(t, w, good)
			want(t, len(good))(r.Clear(t.Context(), ""))
			want(t, 0)(r.Count(t.Context(), ""))
		}},
		row{op: "Count", name: "many keys", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			good, _, _ := e.batchKeys(t)
			fill(t, w, good)
			want(t, len(good))(r.Count(t.Context(), ""))
			want(t, len(good)/10)(r.Count(t.Context(), "*7"))
		}},
		row{op: "Count", name: "pattern that is not UTF-8", run: func(t *testing.T, e *env) { bytePattern(t, e, false) }},
		row{op: "Clear", name: "pattern that is not UTF-8", run: func(t *testing.T, e *env) { bytePattern(t, e, true) }},
		row{op: "Clear", name: "then set", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 1))
			want(t, 1)(r.Clear(t.Context(), ""))
			check(t, r.Set(t.Context(), "k", 2))
			finds(t, r, "k", 2, nil)
			sees(t, w, "k", 2, nil)
		}},
	)
}

func bytePattern(t *testing.T, e *env, clearing bool) {
	w, r := pair[int64](t, e)
	fill(t, w, []string{"\xff1", "\xff2", "\xfe1"})
	pattern := "\xff*"
	if e.target == &embedded {
		pattern = "*[12]" // miniredis panics over bytes that are not UTF-8
		check(t, e.raw.Del(t.Context(), e.remoteKey("\xfe1")).Err())
	}
	if clearing {
		want(t, 2)(r.Clear(t.Context(), pattern))
	}
	expected := 2
	if clearing {
		expected = 0
	}
	want(t, expected)(r.Count(t.Context(), pattern))
}

// neighbours are entries whose names begin like those of a row's cache: of other caches, another namespace, and other
// applications.
type neighbours struct {
	e    *env
	keys []string // in Redis
}

func (e *env) surround(t *testing.T) *neighbours {
	t.Helper()
	n := &neighbours{e: e}
	put := func(c *tiered.Client, ns, name string) {
		want(t, 2)(cache[int64](t, c, name).SetMany(t.Context(), []tiered.Item[int64]{{Key: "user:1", Value: 1}, {Key: "abc", Value: 2}}))
		n.keys = append(n.keys, ns+":"+name+":user:1", ns+":"+name+":abc")
	}
	for _, name := range []string{e.name + "b", e.name + "-b", e.name[:len(e.name)-1] + "~"} {
		put(e.second, e.ns, name)
	}
	put(e.neighbour, e.ns+"1", e.name)
	for _, k := range []string{
		"app:" + e.remoteKey("abc"), e.ns + ":" + e.name, e.ns + "::" + e.name + ":abc", e.name + ":abc",
		e.ns + "::tag:" + e.name + ":abc", "abc:" + e.name, e.ns + "2:" + e.name + ":abc",
	} {
		check(t, e.raw.Set(t.Context(), k, "another's", 0).Err())
		n.keys = append(n.keys, k)
	}
	return n
}

// intact removes them, and sees that all were there.
func (n *neighbours) intact(t *testing.T) {
	t.Helper()
	for _, k := range n.keys {
		if found, err := n.e.raw.Unlink(t.Context(), k).Result(); err != nil || found != 1 {
			t.Fatalf("the neighbour %q is gone (%v)", k, err)
		}
	}
}
