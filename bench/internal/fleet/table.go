package fleet

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// WriteRun writes one run for people.
func WriteRun(w io.Writer, r *result.FleetRun) error {
	return paged(w, func(page *bytes.Buffer) error { return writeRun(page, r) })
}

func writeRun(w *bytes.Buffer, r *result.FleetRun) error {
	c := r.Config
	load := "closed loop"
	if c.Rate > 0 {
		load = term.Number(c.Rate) + " requests a second"
	}
	fmt.Fprintf(w, "\n%d instances of %d workers, %s; %s keys, skew %g, %s reads, values of %d bytes; local tiers of %s entries (%s)\n%s (%s); %s changes a second from outside\n\n",
		c.Instances, c.Workers, load, term.Thousands(int64(c.Keys)), c.Skew, term.Percent(c.ReadShare), c.ValueSize,
		term.Thousands(c.LocalEntries), c.Engine, c.Server, c.Topology, term.Number(c.Invalidations))
	what := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value, format string, args ...any) {
		fmt.Fprintf(what, "%s\t%s\t%s\n", name, value, fmt.Sprintf(format, args...))
	}
	row("requests", term.Thousands(r.Requests), "in %.1f s: %s a second", r.Seconds, term.Thousands(int64(r.Throughput)))
	if r.Due > 0 {
		row("  due", term.Thousands(r.Due), "on average at that rate; as many as %s of them began", term.Percent(float64(r.Requests)/float64(r.Due)))
	}
	row("writes", term.Thousands(r.Writes), "and %s from outside", term.Thousands(r.Outside))
	row("loads", term.Thousands(r.Loads), "at the source")
	row("invalidations", term.Thousands(int64(r.Invalidations)), "received by all instances; drops: %s", counts(r.Drops))
	row("errors", term.Thousands(r.Errors), "%s", counts(r.ErrorKinds))
	row("stale reads", term.Thousands(r.Staleness.Stale), "of %s; p50 %.2f ms, p99 %.2f ms, max %.2f ms", term.Thousands(r.Staleness.Reads),
		r.Staleness.Age.P50, r.Staleness.Age.P99, r.Staleness.Age.Max)
	row("  beyond the bound", term.Thousands(r.Staleness.Beyond), "of %g ms: must be none", r.Staleness.BoundMs)
	row("  own", term.Thousands(r.Staleness.Own), "missed a change of their own instance: must be none")
	row("lag", millis(r.Lag, r.Lag.P50), "p99 %s, max %s, of %d probes", millis(r.Lag, r.Lag.P99), millis(r.Lag, r.Lag.Max), r.Lag.Count)
	row("instance CPU", term.Percent(r.InstanceCPU), "of a core, each; the machine was %s busy", term.Percent(r.MachineCPU))
	if r.Spoilt > 0 {
		row("spoilt values", term.Thousands(r.Spoilt), "another key's, or spoilt: must be none")
	}
	if r.Unrecovered > 0 {
		row("unrecovered", term.Thousands(r.Unrecovered), "faults after which it was not coherent again in time: must be none")
	}
	if r.Restarts > 0 {
		row("replaced", term.Thousands(r.Restarts), "instances")
	}
	if err := what.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := latencies(r).Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := perThousand(r.Redis).Write(w); err != nil {
		return err
	}
	if r.Busy() {
		fmt.Fprintf(w, "\nThe machine was %s busy: latencies and lag are those of waiting for a core.\n", term.Percent(r.MachineCPU))
	}
	return nil
}

func latencies(r *result.FleetRun) *term.Table {
	t := term.NewTable("latency", "count", "p50", "p90", "p99", "p99.9", "max")
	for _, name := range []string{Local.String(), Remote.String(), Load.String(), WriteLatency, responseLatency} {
		p, ok := r.Latency[name]
		switch {
		case p.Count > 0:
			t.Row(name, term.Thousands(p.Count), term.Micros(p.P50), term.Micros(p.P90), term.Micros(p.P99), term.Micros(p.P999), term.Micros(p.Max))
		case ok:
			t.Row(name, "0", "-", "-", "-", "-", "-")
		}
	}
	return t
}

func perThousand(r result.Redis) *term.Table {
	t := term.NewTable("Redis, for 1,000 requests", "value")
	t.Row("commands sent", term.Number(r.Commands))
	if r.HasCommands {
		calls := 0.0
		for _, n := range r.ByCommand {
			calls += n
		}
		t.Row("calls, those of scripts included", term.Number(calls))
		for _, name := range most(r.ByCommand) {
			t.Row("  "+name, term.Number(r.ByCommand[name]))
		}
		t.Row("bytes in", term.Bytes(r.BytesIn))
		t.Row("bytes out", term.Bytes(r.BytesOut))
	} else {
		t.Row("calls and bytes", "not known of an embedded server")
	}
	if r.HasCPU {
		t.Row("CPU", fmt.Sprintf("%.2f ms", r.CPUms))
		t.Row("share of a core", term.Percent(r.CPUShare))
	}
	return t
}

// most gives the commands that were called most, the first six.
func most(by map[string]float64) []string {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		if by[a] != by[b] {
			if by[a] > by[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names[:min(6, len(names))]
}

func counts[N int64 | uint64](by map[string]N) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, by[name]))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
