package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/replay"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// replay shows hit ratios by size, and the same as misses, where differences at the top can be seen.
func (b *builder) replay(s *section, r *result.Replay) {
	s.Intro = append(s.Intro, "How many requests of recorded traces a local tier of each size answers. The optimum knows the future, and nobody who holds as many entries can do better.",
		"Caches that evict in batches hold more than their size for a while, which tells most when they are small. "+
			"A size at which one held over 5 % more has a hollow mark and an asterisk: it is not to be set against the optimum of that size.")
	for i := range r.Traces {
		t := &r.Traces[i]
		g := group{ID: b.ids.of("trace", t.Name), Title: t.Name,
			Intro: []string{fmt.Sprintf("%s requests for %s distinct keys (%s).", count(t.Requests), count(t.Keys), orNot(t.Format))}}
		hits := b.curves(t, "hit ratio", "↑ more is better", func(p result.Point) float64 { return 100 * p.HitRatio })
		misses := b.curves(t, "miss ratio", "↓ less is better", func(p result.Point) float64 { return 100 * (1 - p.HitRatio) })
		if len(hits.Series) == 0 {
			g.Intro = append(g.Intro, "Nothing was replayed.")
		} else {
			g.Charts = []*chart{hits, misses}
		}
		s.Groups = append(s.Groups, g)
	}
}

func (b *builder) curves(t *result.ReplayedTrace, what, better string, value func(result.Point) float64) *chart {
	ch := &chart{
		ID: b.ids.of(what, t.Name), Kind: "lines", Title: capital(what) + ", " + t.Name, Sub: "by the entries that the cache may hold",
		X: axis{Name: "entries", Log: true}, Y: axis{Name: better, Unit: "%"},
	}
	sizes := make(map[int64]bool)
	marked := false
	for _, c := range t.Curves {
		line := series{Name: c.Policy, Ours: isOurs(c.Policy)}
		if name := strings.ToLower(c.Policy); strings.HasPrefix(name, "opt") || strings.HasPrefix(name, "bel") {
			line.Style = "dashed"
		}
		for _, p := range c.Points {
			if p.Size <= 0 {
				continue // a logarithmic axis has no place for it
			}
			sizes[p.Size] = true
			at := point{X: float64(p.Size), Y: value(p), Text: inUnit(value(p), "%"), Hollow: replay.Oversize(p)}
			if at.Hollow {
				at.Text += fmt.Sprintf(" with %s entries", count(int64(math.Round(p.Held))))
				marked = true
			}
			line.Points = append(line.Points, at)
		}
		if len(line.Points) > 0 {
			ch.Series = append(ch.Series, line)
		}
	}
	if marked {
		ch.Sub += "; hollow: it held over 5 % more"
		ch.Notes = append(ch.Notes, "Hollow marks, and * in the table: on average it held over 5 % more entries than its size.")
	}
	ch.Table = table{Caption: what + " by size, " + t.Name, Head: []string{"policy"}}
	columns := slices.Sorted(maps.Keys(sizes))
	for _, size := range columns {
		ch.Table.Head = append(ch.Table.Head, count(size)+" entries")
	}
	for _, c := range t.Curves {
		row := []cell{{Text: c.Policy, Sub: c.About, Ours: isOurs(c.Policy)}}
		for _, size := range columns {
			var of cell
			if i := slices.IndexFunc(c.Points, func(p result.Point) bool { return p.Size == size }); i >= 0 {
				of = replayed(c.Points[i], value)
			}
			row = append(row, of)
		}
		ch.Table.Rows = append(ch.Table.Rows, row)
	}
	ch.Alternative = fmt.Sprintf("%s of %d policies by size, from %s.", ch.Title, len(ch.Series), strings.Join(ch.Table.Head[1:], ", "))
	return ch
}

// replayed is the cell of a point, with what the cache held where it tells.
func replayed(p result.Point, value func(result.Point) float64) cell {
	c := cell{Text: inUnit(value(p), "%"), Sub: number(p.Seconds) + " s"}
	if p.Held > 0 {
		c.Sub = fmt.Sprintf("held %s, %s", count(int64(math.Round(p.Held))), c.Sub)
	}
	if replay.Oversize(p) {
		c.Text += " *"
	}
	return c
}

// sortedKeys are a map's, in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// byValue are a map's keys, that of the greatest value first.
func byValue(m map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}
