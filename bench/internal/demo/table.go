package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/tiered"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value, remark string) { fmt.Fprintf(t, "%s\t%s\t%s\n", name, value, remark) }

	fmt.Fprintf(t, "\ntrace: %s (%s), %s distinct keys\n", r.Trace, r.Format, term.Thousands(int64(r.DistinctKeys)))
	fmt.Fprintf(t, "%d instances of %d workers, local tiers of %s entries, redis: %s\n\n",
		r.Instances, r.Workers, term.Thousands(r.LocalEntries), r.Redis)
	if r.Notice != "" {
		fmt.Fprintf(t, "NOTICE: %s\n\n", r.Notice)
	}
	row("requests", term.Thousands(r.Requests), fmt.Sprintf("%s reads, %s updates, in %.1f s: %s a second",
		term.Thousands(r.Reads), term.Thousands(r.Updates), r.Seconds, term.Thousands(int64(r.Throughput))))
	row("local hits", term.Percent(r.LocalHitRatio), "of reads: "+term.Thousands(r.LocalHits))
	row("remote hits", term.Percent(r.RemoteHitRatio), "of local misses: "+term.Thousands(r.RemoteHits))
	row("loads", term.Thousands(r.Loads), fmt.Sprintf("by the source: %.4f a read, one for %s reads",
		r.LoadsPerRead, strconv.FormatFloat(ratio(r.Reads, r.Loads), 'f', 1, 64)))
	row("invalidations", term.Thousands(r.InvalidationsSent), fmt.Sprintf("acknowledged; received by all instances: %s; subscriptions lost: %d",
		term.Thousands(r.InvalidationsReceived), r.SubscriptionLosses))
	row("redis commands", term.Thousands(r.RedisCommands), fmt.Sprintf("%.3f a request", ratio(r.RedisCommands, r.Requests)))
	row("errors", term.Thousands(r.Errors), strings.Join(r.ErrorSamples, "; "))
	if r.Errors > 0 && len(r.ErrorSamples) == 0 {
		row("", "", "no message was kept")
	}

	fmt.Fprint(t, "\nlatency\tcount\tp50\tp99\tp99.9\tmax\n")
	for _, name := range []string{"local", "remote", "load", "update"} {
		l := r.Latency[name]
		if l.Count == 0 {
			fmt.Fprintf(t, "%s\t0\t-\t-\t-\t-\n", name)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", name, term.Thousands(l.Count), term.Micros(l.P50), term.Micros(l.P99), term.Micros(l.P999), term.Micros(l.Max))
	}

	s := r.Stale
	fmt.Fprintf(t, "\nstale reads\t%s\tof %s\n", term.Thousands(s.Reads), term.Thousands(r.Reads))
	row("  within one hop", term.Thousands(s.WithinHop), fmt.Sprintf("at most %s after the invalidation was acknowledged", fleet.OneHop))
	row("  later", term.Thousands(s.Later), fmt.Sprintf("at most %s after it: the message was late, as on a machine too busy", tiered.DefaultMaxStaleness))
	row("  beyond the bound", term.Thousands(s.Beyond), "must be none")
	row("  own", term.Thousands(s.Own), "of all, those that missed an invalidation of their own instance: must be none")
	if s.Reads > 0 {
		row("  age", fmt.Sprintf("%.2f ms", s.P50), fmt.Sprintf("at the median, %.2f ms at most", s.Max))
		row("  answered by", "", fmt.Sprintf("local %s, remote %s, load %s", term.Thousands(s.By.Local), term.Thousands(s.By.Remote), term.Thousands(s.By.Load)))
	}
	fmt.Fprint(t, `
A read is stale if it returns a version older than one whose invalidation was acknowledged, to any instance, before
the read began. The instance that invalidates is coherent at once; the others are when the message reaches them, so
their reads may trail by about one hop of publish and subscribe, and never by more than the bound.
`)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("demo: report: %w", err)
	}
	return nil
}
