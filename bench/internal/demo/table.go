package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value, remark string) { fmt.Fprintf(t, "%s\t%s\t%s\n", name, value, remark) }

	fmt.Fprintf(t, "\ntrace: %s (%s), %s distinct keys\n", r.Trace, r.Format, thousands(int64(r.DistinctKeys)))
	fmt.Fprintf(t, "%d instances of %d workers, near tiers of %s entries, redis: %s\n\n",
		r.Instances, r.Workers, thousands(r.NearEntries), r.Redis)
	if r.Notice != "" {
		fmt.Fprintf(t, "NOTICE: %s\n\n", r.Notice)
	}
	row("requests", thousands(r.Requests), fmt.Sprintf("%s reads, %s updates, in %.1f s: %s a second",
		thousands(r.Reads), thousands(r.Updates), r.Seconds, thousands(int64(r.Throughput))))
	row("near hits", percent(r.NearHitRatio), "of reads: "+thousands(r.NearHits))
	row("far hits", percent(r.FarHitRatio), "of near misses: "+thousands(r.FarHits))
	row("loads", thousands(r.Loads), fmt.Sprintf("by the source: %.4f a read, one for %s reads",
		r.LoadsPerRead, strconv.FormatFloat(ratio(r.Reads, r.Loads), 'f', 1, 64)))
	row("invalidations", thousands(r.InvalidationsSent), fmt.Sprintf("acknowledged; received by all instances: %s; subscriptions lost: %d",
		thousands(r.InvalidationsReceived), r.SubscriptionLosses))
	row("redis commands", thousands(r.RedisCommands), fmt.Sprintf("%.3f a request", ratio(r.RedisCommands, r.Requests)))
	row("errors", thousands(r.Errors), strings.Join(r.ErrorSamples, "; "))
	if r.Errors > 0 && len(r.ErrorSamples) == 0 {
		row("", "", "no message was kept")
	}

	fmt.Fprint(t, "\nlatency\tcount\tp50\tp99\tp99.9\tmax\n")
	for _, name := range []string{near.String(), far.String(), load.String(), "update"} {
		l := r.Latency[name]
		if l.Count == 0 {
			fmt.Fprintf(t, "%s\t0\t-\t-\t-\t-\n", name)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", name, thousands(l.Count), micros(l.P50), micros(l.P99), micros(l.P999), micros(l.Max))
	}

	s := r.Stale
	fmt.Fprintf(t, "\nstale reads\t%s\tof %s\n", thousands(s.Reads), thousands(r.Reads))
	row("  within one hop", thousands(s.WithinHop), fmt.Sprintf("at most %s after the invalidation was acknowledged", oneHop))
	row("  later", thousands(s.Later), fmt.Sprintf("at most %s after it: the message was late, as on a machine too busy", bound))
	row("  beyond the bound", thousands(s.Beyond), "must be none")
	row("  own", thousands(s.Own), "of all, those that missed an invalidation of their own instance: must be none")
	if s.Reads > 0 {
		row("  age", fmt.Sprintf("%.2f ms", s.P50), fmt.Sprintf("at the median, %.2f ms at most", s.Max))
		row("  answered by", "", fmt.Sprintf("near %s, far %s, load %s", thousands(s.By.Near), thousands(s.By.Far), thousands(s.By.Load)))
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

func percent(r float64) string { return fmt.Sprintf("%.1f %%", 100*r) }

func micros(us float64) string {
	switch {
	case us < 10:
		return fmt.Sprintf("%.2f µs", us)
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	default:
		return fmt.Sprintf("%.2f ms", us/1000)
	}
}

// thousands groups digits: 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
