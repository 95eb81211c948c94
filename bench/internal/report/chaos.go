package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// chaos shows, fault by fault, how stale reads became and how long the fleet took to be coherent again.
func (b *builder) chaos(s *section, c *result.Chaos) {
	s.Intro = append(s.Intro, "One fault at a time, under load. Reads may be stale while messages cannot arrive, and never by more than the bound.")
	var stale, recovery []*result.ChaosRun
	ok, violated := 0, false
	for i := range c.Runs {
		r := &c.Runs[i]
		if r.Run.Staleness.Age.Count > 0 {
			stale = append(stale, r)
		}
		if r.Recovery.Count > 0 {
			recovery = append(recovery, r)
		}
		if r.Verdict == result.VerdictOK {
			ok++
		}
		violated = violated || r.Violated()
	}
	s.Facts = []fact{{Value: fmt.Sprintf("%d of %d", ok, len(c.Runs)), Label: "kinds of fault survived with no promise broken", Bad: violated}}
	b.page.Facts = append(b.page.Facts, s.Facts...)

	if slices.ContainsFunc(c.Runs, func(r result.ChaosRun) bool { return r.Run.Busy() }) {
		s.Intro = append(s.Intro, busyNote)
	}
	g := group{ID: b.ids.of(s.ID, "faults")}
	if len(stale) > 0 {
		ch := b.faults("chaos-staleness", "Age of stale reads, by fault", stale, func(r *result.ChaosRun) result.Percentiles { return r.Run.Staleness.Age })
		var bounds []float64
		for _, r := range stale {
			if v := r.Run.Staleness.BoundMs; v > 0 && !slices.Contains(bounds, v) {
				bounds = append(bounds, v)
				ch.Marks = append(ch.Marks, mark{Name: "bound " + millis(v), Value: v})
			}
		}
		g.Charts = append(g.Charts, ch)
	}
	if len(recovery) > 0 {
		g.Charts = append(g.Charts, b.faults("chaos-recovery", "Until all are coherent again, by fault", recovery, func(r *result.ChaosRun) result.Percentiles { return r.Recovery }))
	}
	g.Table, g.Open = verdicts(c.Runs), true
	s.Groups = append(s.Groups, g)
}

// faults draws p50, p99 and max of each fault on one line.
func (b *builder) faults(id, title string, runs []*result.ChaosRun, of func(*result.ChaosRun) result.Percentiles) *chart {
	ch := &chart{ID: b.ids.of(id), Kind: "dots", Title: title, Sub: "p50, p99 and max; max at the right", X: axis{Name: direction(false), Unit: "ms", Log: true}}
	ch.Series = []series{{Name: "p50"}, {Name: "p99"}, {Name: "max", Ours: true}}
	ch.Table = table{Caption: title, Head: []string{"fault", "count", "p50", "p90", "p99", "p99.9", "max"}}
	for _, r := range runs {
		p := of(r)
		y := float64(len(ch.Categories))
		for i, v := range []float64{p.P50, p.P99, p.Max} {
			if v > 0 {
				ch.Series[i].Points = append(ch.Series[i].Points, point{X: v, Y: y, Text: millis(v)})
			}
		}
		ch.Categories = append(ch.Categories, category{Name: busy(&r.Run, r.Fault), Note: millis(p.Max)})
		ch.Table.Rows = append(ch.Table.Rows, texts(busy(&r.Run, r.Fault), count(p.Count), millis(p.P50), millis(p.P90), millis(p.P99), millis(p.P999), millis(p.Max)))
	}
	ch.Alternative = alternative(ch)
	return ch
}

func verdicts(runs []result.ChaosRun) *table {
	t := &table{Caption: "Verdicts", Head: []string{"fault", "verdict", "times", "reads", "stale", "beyond bound", "own", "recovery p50", "recovery max", "errors"}}
	for i := range runs {
		r := &runs[i]
		good, mark := r.Verdict == result.VerdictOK, "✓ ok"
		switch {
		case r.Violated():
			mark = "✗ " + orNot(strings.TrimSpace(r.Verdict))
		case !good:
			mark = orNot(strings.TrimSpace(r.Verdict)) // it was not violated, nor seen through
		}
		s := r.Run.Staleness
		t.Rows = append(t.Rows, []cell{
			{Text: busy(&r.Run, r.Fault), Sub: r.About}, {Text: mark, Ok: good, Bad: r.Violated(), Left: true}, {Text: number(float64(r.Times))}, {Text: count(s.Reads)}, {Text: count(s.Stale)},
			{Text: count(s.Beyond), Bad: s.Beyond > 0}, {Text: count(s.Own), Bad: s.Own > 0}, {Text: known(r.Recovery, r.Recovery.P50)}, {Text: known(r.Recovery, r.Recovery.Max)},
			{Text: count(r.Run.Errors), Sub: kinds(r.Run.ErrorKinds)},
		})
	}
	return t
}
