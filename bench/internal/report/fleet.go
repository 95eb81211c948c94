package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// fleet shows the curves, one run in detail, and what a larger fleet would ask for.
func (b *builder) fleet(s *section, f *result.Fleet) {
	s.Intro = append(s.Intro, "Processes with local tiers of their own over one Redis. A read is stale if it missed a change that was acknowledged before it began.")
	if len(f.Runs) > 0 {
		detail := detailed(f.Runs)
		s.Facts = runFacts(detail)
		if !b.fleetTold {
			b.page.Facts, b.fleetTold = append(b.page.Facts, s.Facts...), true
		}
		s.Groups = append(s.Groups, b.oneRun(detail))
	}
	if slices.ContainsFunc(f.Runs, func(r result.FleetRun) bool { return r.Busy() }) {
		s.Intro = append(s.Intro, busyNote)
	}
	for _, c := range []struct {
		series, title, x string
		at               func(*result.FleetRun) float64
	}{
		{"instances", "By the number of instances", "instances", func(r *result.FleetRun) float64 { return float64(r.Config.Instances) }},
		{"invalidations", "By the rate of invalidations", "invalidations a second", func(r *result.FleetRun) float64 { return r.Config.Invalidations }},
	} {
		var runs []*result.FleetRun
		for i := range f.Runs {
			if f.Runs[i].Series == c.series {
				runs = append(runs, &f.Runs[i])
			}
		}
		if len(runs) == 0 {
			continue
		}
		slices.SortStableFunc(runs, func(x, y *result.FleetRun) int { return cmp.Compare(c.at(x), c.at(y)) })
		s.Groups = append(s.Groups, b.scaling(c.title, c.x, runs, c.at))
	}
	if len(f.Runs) > 0 {
		s.Groups = append(s.Groups, group{ID: b.ids.of(s.ID, "runs"), Table: runsTable(f.Runs), Open: true})
	}
	if f.Extrapolation != nil {
		s.Groups = append(s.Groups, b.extrapolation(f.Extrapolation))
	}
}

// busyNote says what the mark of [busy] means.
var busyNote = fmt.Sprintf("Marked * the machine was over %s busy: there latencies and lag are those of waiting for a core.", term.Percent(result.BusyMachine))

// busy marks text where the machine was too busy for the latencies to be the cache's.
func busy(r *result.FleetRun, text string) string {
	if r.Busy() {
		return text + " *"
	}
	return text
}

// calibration is the series of runs that only the formula needs: they are no steps of a curve.
const calibration = "calibration"

// detailed is the run that is shown in detail: a single one, else the largest fleet's.
func detailed(runs []result.FleetRun) *result.FleetRun {
	best := &runs[0]
	for i := range runs {
		r := &runs[i]
		switch {
		case r.Series == "single":
			return r
		case r.Series == calibration: // never rather than another
		case best.Series == calibration || r.Config.Instances > best.Config.Instances:
			best = r
		}
	}
	return best
}

func runFacts(r *result.FleetRun) []fact {
	s := r.Staleness
	facts := []fact{
		{Value: count(s.Beyond), Label: fmt.Sprintf("of %s reads stale by more than the bound of %s", count(s.Reads), millis(s.BoundMs)), Bad: s.Beyond > 0},
		{Value: count(s.Own), Label: "stale reads of an instance's own change", Bad: s.Own > 0},
		{Value: number(r.Throughput) + "/s", Label: fmt.Sprintf("requests, of %s together", plural(r.Config.Instances, "instance"))},
	}
	if r.Redis.HasCommands {
		facts = append(facts, fact{Value: number(r.Redis.Commands), Label: "Redis commands for 1,000 requests"})
	}
	return facts
}

// configuration says what a run was asked for.
func configuration(c result.FleetConfig) string {
	parts := []string{
		fmt.Sprintf("%s of %s", plural(c.Instances, "instance"), plural(c.Workers, "worker")), count(int64(c.Keys)) + " keys", fmt.Sprintf("skew %s", number(c.Skew)),
		term.Percent(c.ReadShare) + " reads", "values of " + size(float64(c.ValueSize)), "local tier of " + count(c.LocalEntries) + " entries", orNot(c.Engine),
		"TTL " + millis(c.TTLms), "bound " + millis(c.MaxStalenessMs), "a load takes " + millis(c.SourceMs), strings.TrimSpace(c.Topology + " " + c.Server),
	}
	if c.Rate > 0 {
		parts = append(parts, number(c.Rate)+" requests a second")
	}
	if c.Invalidations > 0 {
		parts = append(parts, number(c.Invalidations)+" invalidations a second")
	}
	if c.ChurnSeconds > 0 {
		parts = append(parts, "an instance replaced every "+number(c.ChurnSeconds)+" s")
	}
	if c.Fault != "" {
		parts = append(parts, "with fault "+c.Fault)
	}
	return strings.Join(parts, ", ") + "."
}

func (b *builder) oneRun(r *result.FleetRun) group {
	g := group{ID: b.ids.of("fleet", "run"), Title: "One run in detail", Intro: []string{configuration(r.Config)}}
	if r.Busy() {
		g.Intro = append(g.Intro, fmt.Sprintf("The machine was %s busy: latencies and lag are those of waiting for a core.", term.Percent(r.MachineCPU)))
	}
	if ch := b.latency(r); len(ch.Series) > 0 {
		g.Charts = append(g.Charts, ch)
	}
	if ch := b.staleness(r); len(ch.Series) > 0 {
		g.Charts = append(g.Charts, ch)
	}
	if r.Redis.HasCommands && len(r.Redis.ByCommand) > 0 {
		g.Charts = append(g.Charts, b.redisCost(&r.Redis))
	}
	return g
}

func (b *builder) redisCost(r *result.Redis) *chart {
	ch := &chart{ID: b.ids.of("redis-cost"), Kind: "bars", Title: "What 1,000 requests ask of Redis", Sub: "calls by command, those that scripts make included", X: axis{Name: direction(false)}}
	ch.Table = table{Caption: "Redis for 1,000 requests", Head: []string{"what", "for 1,000 requests"}}
	one := series{Name: "calls"}
	for i, name := range byValue(r.ByCommand) {
		v := r.ByCommand[name]
		ch.Table.Rows = append(ch.Table.Rows, texts(name, number(v)))
		if i < 10 {
			one.Points = append(one.Points, point{X: v, Y: float64(i), Text: number(v) + " for 1,000 requests"})
			ch.Categories = append(ch.Categories, category{Name: name, Note: number(v)})
		}
	}
	ch.Table.Rows = append(ch.Table.Rows, texts("commands that clients sent", number(r.Commands)), texts("bytes in", size(r.BytesIn)), texts("bytes out", size(r.BytesOut)))
	note := fmt.Sprintf("%s commands sent by clients, %s in, %s out", number(r.Commands), size(r.BytesIn), size(r.BytesOut))
	if r.HasCPU {
		ch.Table.Rows = append(ch.Table.Rows, texts("CPU", millis(r.CPUms)), texts("share of a core, of the busiest server", term.Percent(r.CPUShare)))
		note += fmt.Sprintf(", %s of CPU for 1,000 requests; the busiest server took %s of a core", millis(r.CPUms), term.Percent(r.CPUShare))
	}
	ch.Notes = []string{note + ". Memory at the end: " + size(r.MemoryBytes) + "."}
	ch.Series = []series{one}
	ch.Alternative = alternative(ch)
	return ch
}

func runsTable(runs []result.FleetRun) *table {
	t := &table{Caption: "All runs", Head: []string{"run", "requests/s", "local p50", "local p99", "remote p99", "load p99", "write p99", "response p99", "loads", "errors", "stale", "beyond bound", "own",
		"stale p99", "lag p50", "lag p99", "commands /1,000", "Redis in /1,000", "Redis out /1,000", "Redis CPU /1,000", "instance CPU", "machine", "restarts"}}
	for i := range runs {
		r := &runs[i]
		var cpu, commands, in, out string // empty where the server does not tell
		if r.Redis.HasCPU {
			cpu = millis(r.Redis.CPUms)
		}
		if r.Redis.HasCommands {
			commands, in, out = number(r.Redis.Commands), size(r.Redis.BytesIn), size(r.Redis.BytesOut)
		}
		at := func(tier string, of func(result.Percentiles) float64) cell {
			if p := r.Latency[tier]; p.Count > 0 {
				return cell{Text: micros(of(p))}
			}
			return cell{}
		}
		p99 := func(p result.Percentiles) float64 { return p.P99 }
		t.Rows = append(t.Rows, []cell{
			{Text: fmt.Sprintf("%s: %d × %d, %s/s invalidated", orNot(r.Series), r.Config.Instances, r.Config.Workers, number(r.Config.Invalidations))},
			{Text: number(r.Throughput)}, at("local", func(p result.Percentiles) float64 { return p.P50 }), at("local", p99), at("remote", p99), at("load", p99), at("write", p99), at("response", p99),
			{Text: count(r.Loads)}, {Text: count(r.Errors), Sub: kinds(r.ErrorKinds), Bad: r.Errors > 0}, {Text: count(r.Staleness.Stale), Sub: "of " + count(r.Staleness.Reads)},
			{Text: count(r.Staleness.Beyond), Bad: r.Staleness.Beyond > 0}, {Text: count(r.Staleness.Own), Bad: r.Staleness.Own > 0},
			{Text: known(r.Staleness.Age, r.Staleness.Age.P99)}, {Text: known(r.Lag, r.Lag.P50)}, {Text: known(r.Lag, r.Lag.P99)},
			{Text: commands}, {Text: in}, {Text: out}, {Text: cpu},
			{Text: term.Percent(r.InstanceCPU)}, {Text: machine(r), Bad: r.Busy()}, {Text: count(r.Restarts)},
		})
	}
	return t
}

// machine is what share of the machine was busy, and empty where that is not known.
func machine(r *result.FleetRun) string {
	if r.MachineCPU == 0 {
		return ""
	}
	return busy(r, term.Percent(r.MachineCPU))
}

// known writes a time of a distribution, unless there is nothing in it: what was not seen is not 0.
func known(p result.Percentiles, ms float64) string {
	if p.Count == 0 {
		return ""
	}
	return millis(ms)
}

func kinds(m map[string]int64) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, k+" "+count(m[k]))
	}
	return strings.Join(parts, ", ")
}
