package fleet

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// WriteFleet writes what the command fleet measured for people.
func WriteFleet(w io.Writer, f *result.Fleet) error {
	if len(f.Runs) == 1 && f.Runs[0].Series == seriesSingle {
		return WriteRun(w, &f.Runs[0])
	}
	return paged(w, func(page *bytes.Buffer) error { return writeCurves(page, f) })
}

func writeCurves(w *bytes.Buffer, f *result.Fleet) error {
	for _, c := range []struct{ series, title, column string }{
		{seriesInstances, "By the number of instances, each with the same load", "instances"},
		{seriesCalibration, "Calibration: one thing to do for Redis, and nothing else", "instances"},
		{seriesInvalidations, "By the rate of changes from outside", "changes/s"},
	} {
		if err := curve(w, f.Runs, c.series, c.title, c.column); err != nil {
			return err
		}
	}
	for _, r := range f.Runs {
		if r.Busy() {
			fmt.Fprintf(w, "\nMarked * the machine was over %s busy: there latencies and lag are those of waiting for a core.\n", term.Percent(result.BusyMachine))
			break
		}
	}
	if f.Extrapolation == nil {
		return nil
	}
	return writeExtrapolation(w, f.Extrapolation)
}

func curve(w *bytes.Buffer, runs []result.FleetRun, series, title, column string) error {
	t := term.NewTable(column, "requests/s", "changes/s", "local", "local p99", "remote p99", "lag p50", "lag p99", "stale", "beyond+own", "errors",
		"Redis CPU", "cmd/1,000", "out/s", "instance CPU", "machine")
	found := false
	for i := range runs {
		r := &runs[i]
		if r.Series != series {
			continue
		}
		found = true
		first := term.Thousands(int64(r.Config.Instances))
		switch series {
		case seriesInvalidations:
			first = term.Number(r.Config.Invalidations)
		case seriesCalibration:
			first += ", " + calibrates(r.Config)
		}
		local, remote := r.Latency["local"], r.Latency["remote"]
		hits := "-"
		if r.Reads > 0 {
			hits = term.Percent(float64(local.Count) / float64(local.Count+remote.Count+r.Latency["load"].Count))
		}
		busy := term.Percent(r.MachineCPU)
		if r.Busy() {
			busy += " *"
		}
		perThousand := "-"
		if r.Requests > 0 {
			perThousand = term.Number(r.Redis.Commands)
		}
		t.Row(first, term.Thousands(int64(r.Throughput)), term.Number(changes(r)), hits, micros(local), micros(remote),
			millis(r.Lag, r.Lag.P50), millis(r.Lag, r.Lag.P99), term.Thousands(r.Staleness.Stale),
			term.Thousands(r.Staleness.Beyond+r.Staleness.Own), term.Thousands(r.Errors), share(r.Redis), perThousand,
			term.Bytes(r.ServerBytesOut), term.Percent(r.InstanceCPU), busy)
	}
	if !found {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n\n", title)
	return t.Write(w)
}

// What there is to do in a calibration.
const (
	idle       = "idle"
	changing   = "changes"
	remoteHits = "remote hits"
	loading    = "loads"
)

// calibrates says what there is to do in a calibration.
func calibrates(c result.FleetConfig) string {
	switch {
	case c.Fresh:
		return loading
	case c.LocalTTLms > 0:
		return remoteHits
	case c.Invalidations > 0:
		return changing
	default:
		return idle
	}
}

func share(r result.Redis) string {
	if !r.HasCPU {
		return "-"
	}
	return term.Percent(r.CPUShare)
}

func micros(p result.Percentiles) string {
	if p.Count == 0 {
		return "-"
	}
	return term.Micros(p.P99)
}

func millis(p result.Percentiles, v float64) string {
	if p.Count == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f ms", v)
}

func writeExtrapolation(w *bytes.Buffer, e *result.Extrapolation) error {
	fmt.Fprintf(w, "\nWhat it would ask of one Redis, to %s instances\n\n", term.Thousands(int64(e.Instances)))
	t := term.NewTable("instances", "Redis CPU measured", "by the formula", "off by", "out/s", "messages/s")
	for _, p := range e.Points {
		measured, off := "-", "-"
		if p.Measured != nil {
			measured = term.Percent(*p.Measured)
			off = term.Percent(offBy(p.ServerCPU, *p.Measured, leastCPU))
		}
		predicted := term.Percent(p.ServerCPU) + " ± " + term.Percent(p.CPUOff)
		if p.ServerCPU > 1 {
			predicted += " (too much)"
		}
		t.Row(term.Thousands(int64(p.Instances)), measured, predicted, off, term.Bytes(p.BytesOut), term.Number(p.Messages))
	}
	if err := t.Write(w); err != nil {
		return err
	}
	var parameters []string
	for _, name := range slices.Sorted(maps.Keys(e.Parameters)) {
		parameter := fmt.Sprintf("%s = %.3g", name, e.Parameters[name])
		if off, ok := e.GiveOrTake[name]; ok {
			parameter += fmt.Sprintf(" ± %.2g", off)
		}
		parameters = append(parameters, parameter)
	}
	fmt.Fprintf(w, "\n%s.\n%s\n\nIt assumes that\n  - %s\n", e.Formula, strings.Join(parameters, ", "), strings.Join(e.Assumptions, "\n  - "))
	return nil
}
