package report

import (
	"fmt"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// marks of a distribution, and how to read them.
var percentiles = []struct {
	name string
	of   func(result.Percentiles) float64
}{
	{"p50", func(p result.Percentiles) float64 { return p.P50 }},
	{"p90", func(p result.Percentiles) float64 { return p.P90 }},
	{"p99", func(p result.Percentiles) float64 { return p.P99 }},
	{"p99.9", func(p result.Percentiles) float64 { return p.P999 }},
	{"max", func(p result.Percentiles) float64 { return p.Max }},
}

// distribution is one line of such a chart.
type distribution struct {
	name string
	ours bool
	p    result.Percentiles
}

// distributions draws lines over percentiles. What is 0 is below what a logarithmic axis shows, and stands in the table.
func (b *builder) distributions(id, title, sub, unit string, all []distribution) *chart {
	ch := &chart{ID: b.ids.of(id), Kind: "lines", Title: title, Sub: sub, Y: axis{Name: "↓ less is better", Unit: unit}}
	ch.Table = table{Caption: title, Head: []string{"what", "count"}}
	for _, p := range percentiles {
		ch.Categories = append(ch.Categories, category{Name: p.name})
		ch.Table.Head = append(ch.Table.Head, p.name)
	}
	ch.Table.Head = append(ch.Table.Head, "mean")
	var said []string
	var values []float64
	for _, d := range all {
		if d.p.Count == 0 {
			continue
		}
		line := series{Name: d.name, Ours: d.ours}
		row := texts(d.name, count(d.p.Count))
		for i, p := range percentiles {
			v := p.of(d.p)
			row = append(row, cell{Text: inUnit(v, unit)})
			values = append(values, v)
			line.Points = append(line.Points, point{X: float64(i), Y: v, Text: inUnit(v, unit)})
		}
		ch.Table.Rows = append(ch.Table.Rows, append(row, cell{Text: inUnit(d.p.Mean, unit)}))
		ch.Series = append(ch.Series, line)
		said = append(said, fmt.Sprintf("%s p50 %s, p99 %s", d.name, inUnit(d.p.P50, unit), inUnit(d.p.P99, unit)))
	}
	ch.Y.Log = logarithmic(positive(values))
	if ch.Y.Log {
		for i := range ch.Series {
			ch.Series[i].Points = drawable(ch.Series[i].Points)
		}
	}
	ch.Alternative = title + ": " + strings.Join(said, "; ") + "."
	return ch
}

func (b *builder) latency(r *result.FleetRun) *chart {
	var all []distribution
	for _, tier := range []string{"local", "remote", "load", "write"} {
		all = append(all, distribution{name: tier, p: r.Latency[tier]})
	}
	all = append(all, distribution{name: "response, from the intended start", p: r.Latency["response"]})
	return b.distributions("fleet-latency", "Latency by what answered", "percentiles of requests", "µs", all)
}

// staleness draws how old stale reads were, and how long messages took, below the bound.
func (b *builder) staleness(r *result.FleetRun) *chart {
	ch := b.distributions("fleet-staleness", "How stale, and how late", "percentiles of stale reads' age, and of the lag of invalidations", "ms",
		[]distribution{{"age of stale reads", true, r.Staleness.Age}, {"lag of invalidations", false, r.Lag}})
	if r.Staleness.BoundMs > 0 {
		ch.Marks = []mark{{Name: "bound " + millis(r.Staleness.BoundMs), Value: r.Staleness.BoundMs}}
		ch.Y.Log = true
		for i := range ch.Series {
			ch.Series[i].Points = drawable(ch.Series[i].Points)
		}
	}
	ch.Notes = []string{fmt.Sprintf("%s of %s reads were stale, %s beyond the bound, %s to their own instance's change.",
		count(r.Staleness.Stale), count(r.Staleness.Reads), count(r.Staleness.Beyond), count(r.Staleness.Own))}
	return ch
}

func positive(values []float64) []float64 {
	var out []float64
	for _, v := range values {
		if v > 0 {
			out = append(out, v)
		}
	}
	return out
}

// drawable leaves out what a logarithmic axis has no place for.
func drawable(points []point) []point {
	out := make([]point, 0, len(points))
	for _, p := range points {
		if p.Y > 0 {
			out = append(out, p)
		}
	}
	return out
}
