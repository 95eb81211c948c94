package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// line is one of a scaling chart's.
type line struct {
	name string
	ours bool
	of   func(*result.FleetRun) (float64, bool)
}

// scaling draws what grows with x, a chart for each quantity.
func (b *builder) scaling(title, x string, runs []*result.FleetRun, at func(*result.FleetRun) float64) group {
	g := group{ID: b.ids.of("fleet", title), Title: title, Intro: []string{configuration(runs[0].Config) + " The rest is as in this first step."}}
	always := func(of func(*result.FleetRun) float64) func(*result.FleetRun) (float64, bool) {
		return func(r *result.FleetRun) (float64, bool) { return of(r), true }
	}
	for _, c := range []struct {
		name, better, unit string
		lines              []line
	}{
		{"throughput", "↑ more is better", "/s", []line{{"requests a second", true, always(func(r *result.FleetRun) float64 { return r.Throughput })}}},
		{"lag", "↓ less is better", "ms", []line{
			{"lag p99", true, func(r *result.FleetRun) (float64, bool) { return r.Lag.P99, r.Lag.Count > 0 }},
			{"lag p50", false, func(r *result.FleetRun) (float64, bool) { return r.Lag.P50, r.Lag.Count > 0 }},
			{"age of stale reads p99", false, func(r *result.FleetRun) (float64, bool) { return r.Staleness.Age.P99, r.Staleness.Age.Count > 0 }},
		}},
		{"Redis commands for 1,000 requests", "↓ less is better", "", []line{{"commands", true, func(r *result.FleetRun) (float64, bool) { return r.Redis.Commands, r.Redis.HasCommands }}}},
		{"CPU", "↓ less is better", "%", []line{
			{"busiest Redis, of a core", true, func(r *result.FleetRun) (float64, bool) { return 100 * r.Redis.CPUShare, r.Redis.HasCPU }},
			{"one instance, of a core", false, always(func(r *result.FleetRun) float64 { return 100 * r.InstanceCPU })},
		}},
	} {
		ch := b.scalingChart(c.name, x, axis{Name: c.better, Unit: c.unit}, runs, at, c.lines)
		if len(ch.Series) > 0 {
			g.Charts = append(g.Charts, ch)
		}
	}
	return g
}

func (b *builder) scalingChart(name, x string, y axis, runs []*result.FleetRun, at func(*result.FleetRun) float64, lines []line) *chart {
	ch := &chart{ID: b.ids.of(name, "by", x), Kind: "lines", Title: capital(name), Sub: "by " + x, X: axis{Name: x}, Y: y}
	ch.Table = table{Caption: ch.Title + " " + ch.Sub, Head: []string{x}}
	zero := slices.ContainsFunc(runs, func(r *result.FleetRun) bool { return at(r) <= 0 })
	ch.X.Log = !zero
	if zero { // steps have names then, for a logarithmic axis has no place for 0
		for _, r := range runs {
			ch.Categories = append(ch.Categories, category{Name: busy(r, number(at(r)))})
		}
	}
	for _, r := range runs {
		ch.Table.Rows = append(ch.Table.Rows, texts(busy(r, number(at(r)))))
	}
	for _, l := range lines {
		s := series{Name: l.name, Ours: l.ours}
		column := make([]cell, len(runs))
		for i, r := range runs {
			v, known := l.of(r)
			if !known {
				continue
			}
			where := at(r)
			if zero {
				where = float64(i)
			}
			column[i].Text = inUnit(v, y.Unit)
			s.Points = append(s.Points, point{X: where, Y: v, Text: busy(r, column[i].Text)})
		}
		if len(s.Points) == 0 {
			continue
		}
		ch.Series = append(ch.Series, s)
		ch.Table.Head = append(ch.Table.Head, l.name)
		for i := range ch.Table.Rows {
			ch.Table.Rows[i] = append(ch.Table.Rows[i], column[i])
		}
	}
	var values []float64
	for _, s := range ch.Series {
		for _, p := range s.Points {
			values = append(values, p.Y)
		}
	}
	if ch.Y.Log = y.Unit == "ms" && logarithmic(positive(values)); ch.Y.Log {
		for i := range ch.Series {
			ch.Series[i].Points = drawable(ch.Series[i].Points)
		}
		ch.Sub += ", on a logarithmic scale"
	}
	if slices.ContainsFunc(runs, (*result.FleetRun).Busy) {
		ch.Notes = append(ch.Notes, busyNote)
	}
	ch.Alternative = fmt.Sprintf("%s %s, %s.", ch.Title, ch.Sub, plural(len(runs), "step"))
	return ch
}

// extrapolation draws the formula through what was measured.
func (b *builder) extrapolation(e *result.Extrapolation) group {
	g := group{ID: b.ids.of("extrapolation"), Title: fmt.Sprintf("A fleet of %s", count(int64(e.Instances))), Intro: []string{"By the formula " + e.Formula + "."}}
	var parameters []string
	for _, name := range sortedKeys(e.Parameters) {
		parameter := name + " = " + number(e.Parameters[name])
		if off, ok := e.GiveOrTake[name]; ok {
			parameter += " ± " + number(off)
		}
		parameters = append(parameters, parameter)
	}
	if len(parameters) > 0 {
		g.Intro = append(g.Intro, "Measured: "+strings.Join(parameters, ", ")+".")
	}
	for _, a := range e.Assumptions {
		g.Intro = append(g.Intro, "Assumed: "+a)
	}
	formula, measured := series{Name: "by the formula", Style: "dashed"}, series{Name: "measured", Ours: true, Style: "dots"}
	ch := &chart{ID: b.ids.of("extrapolation", "cpu"), Kind: "lines", Title: "What one Redis would have to do", Sub: "share of a core of the server, by instances",
		X: axis{Name: "instances", Log: true}, Y: axis{Name: "↓ less is better", Unit: "%", Log: true}}
	ch.Table = table{Caption: "Extrapolation", Head: []string{"instances", "measured, share of a core", "by the formula", "bytes out a second", "deliveries a second"}}
	for _, p := range e.Points {
		row := texts(count(int64(p.Instances)), "", term.Percent(p.ServerCPU), size(p.BytesOut), number(p.Messages))
		if p.CPUOff > 0 {
			row[2].Sub = "± " + term.Percent(p.CPUOff)
		}
		x := float64(p.Instances)
		if p.Measured != nil {
			row[1].Text = term.Percent(*p.Measured)
			measured.Points = append(measured.Points, point{X: x, Y: 100 * *p.Measured, Text: row[1].Text})
		}
		formula.Points = append(formula.Points, point{X: x, Y: 100 * p.ServerCPU, Text: row[2].Text})
		ch.Table.Rows = append(ch.Table.Rows, row)
	}
	for _, s := range []series{formula, measured} {
		s.Points = drawable(s.Points)
		s.Points = slices.DeleteFunc(s.Points, func(p point) bool { return p.X <= 0 })
		if len(s.Points) > 0 {
			ch.Series = append(ch.Series, s)
		}
	}
	ch.Marks = []mark{{Name: "one core", Value: 100}}
	ch.Alternative = fmt.Sprintf("%s: %s, of which %s measured.", ch.Title, plural(len(formula.Points), "point"), count(int64(len(measured.Points))))
	if len(ch.Series) > 0 {
		g.Charts = []*chart{ch}
	}
	return g
}
