package invalidation

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/alloctest"
	"github.com/doppio-cache/doppio/internal/lane"
)

// within fails t if f, which reads size bytes, allocates more than they justify: what is read is a
// copy, which the parts of a list take some words for, and a map some more.
func within(t *testing.T, size int, f func()) {
	t.Helper()
	alloctest.AtMost(t, 4<<10+64*uint64(size), "reading "+strconv.Itoa(size)+" bytes", f)
}

// An echo that can be parsed is one that the script could have published, whatever the channel of
// echoes carries.
func FuzzEcho(f *testing.F) {
	for _, s := range []string{"1f-2a 1764089278123-7 0-0", "1-1 5-1048576 x", "-", "1-1 0-0", "1-1  0-0 \x00"} {
		f.Add(s)
	}
	f.Add(strings.Repeat("1 ", 10_000))
	f.Fuzz(func(t *testing.T, payload string) {
		within(t, len(payload), func() { _, _ = parseEcho(payload) })
		e, err := parseEcho(payload)
		if err != nil {
			return
		}
		again := probeNonce(e.subscription, e.number) + " " + e.newest.String() + " " + e.newestFloor
		if e2, err := parseEcho(again); err != nil || e2 != e {
			t.Errorf("%q is parsed as %q, and that as %+v, %v", payload, again, e2, err)
		}
	})
}

// parts makes the reply of a script out of text: a line is a part, "-" is none, and lines between
// brackets are a list.
func parts(s string) []any {
	var out, list []any
	inside := false
	for line := range strings.SplitSeq(s, "\n") {
		var part any = line
		switch line {
		case "[":
			inside, list = true, []any{}
			continue
		case "]":
			inside, part = false, list
		case "-":
			part = nil
		case "0":
			part = int64(0)
		}
		if inside {
			list = append(list, part)
		} else {
			out = append(out, part)
		}
	}
	return out
}

// Whatever an echo is answered with, every floor that is learned is an id that the hash holds.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"1", "1\n5-1\n0-0\n-", "1\n5-1\n5-0\n[\na\n5-0\n!\ngarbage\n]", "1\n5-1\n5-0\n[\na\n]", "0\n0", "-", "1\n5-1\n0-0\n[\n-\n0\n]",
	} {
		f.Add(s)
	}
	f.Add("1\n5-1\n5-0\n[\n" + strings.Repeat("a\n5-0\n", 1000) + "]")
	f.Fuzz(func(t *testing.T, text string) {
		reply := parts(text)
		within(t, len(text), func() { _, _ = parseProbeReply(reply) })
		a, err := parseProbeReply(reply)
		if err != nil || a.floors == nil {
			return
		}
		fields, err := stringPairs(reply[3])
		if err != nil {
			t.Fatalf("floors are read from %q: %v", text, err)
		}
		if len(a.floors)+a.unreadable > len(fields)/2 {
			t.Errorf("%d floors and %d that are unreadable from %d fields", len(a.floors), a.unreadable, len(fields)/2)
		}
		for name, id := range a.floors {
			if !slices.Contains(fields, name) || !slices.ContainsFunc(fields, func(s string) bool { i, err := lane.Parse(s); return err == nil && uint64(i) == id }) {
				t.Errorf("floor %v of %q from %q", lane.ID(id), name, text)
			}
		}
	})
}

// Whatever a page holds, no entry of it is the one that it follows, and it says either why there is
// nothing or what there is.
func FuzzPage(f *testing.F) {
	for _, s := range []string{
		"5-1", "5-1\ntrimmed", "5-1\nlost", "5-1\nfound", "5-1\nfound\n[\n5-0\nm\n5-1\nm\n]", "5-1\nfound\n[\n5-0\n]", "x", "-", "5-1\nfound\n0",
	} {
		f.Add(s)
	}
	f.Add("5-1\nfound\n[\n" + strings.Repeat("5-1\n\n", 1000) + "]")
	f.Add("5-1\nfound\n[\n5-1\n\xc1\x0100000000\xff\xff\n]")
	f.Fuzz(func(t *testing.T, text string) {
		from, _ := lane.Parse("5-0")
		reply := parts(text)
		within(t, len(text), func() { _, _ = parseReplayPage(reply, from) })
		p, err := parseReplayPage(reply, from)
		if err != nil {
			return
		}
		if p.why != 0 && len(p.entries) > 0 {
			t.Errorf("%v, and %d entries", p.why, len(p.entries))
		}
		at := from
		for _, e := range p.entries {
			if e.id == from {
				t.Errorf("the entry at %v follows itself", from)
			}
			stored := []byte(e.data)
			within(t, len(stored), func() { _, _ = parseStored(stored, at, e.id) })
			at = e.id
		}
	})
}
