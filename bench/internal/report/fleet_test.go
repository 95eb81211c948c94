package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func pageOf(t *testing.T, d *result.Document) *page {
	t.Helper()
	p, err := newPage([]*result.Document{d})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func chartOf(t *testing.T, p *page, id string) *chart {
	t.Helper()
	i := slices.IndexFunc(p.charts(), func(c *chart) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("there is no chart %s", id)
	}
	return p.charts()[i]
}

// TestCalibrationsAreNoSteps: they have the most instances, and are neither on a curve nor the run in detail.
func TestCalibrationsAreNoSteps(t *testing.T) {
	d := sampleFleet()
	p := pageOf(t, d)
	for _, id := range []string{"throughput-by-instances", "throughput-by-invalidations-a-second"} {
		if got := len(chartOf(t, p, id).Series[0].Points); got != 5 {
			t.Errorf("%s has %d points, want 5", id, got)
		}
	}
	d.Fleet.Runs = slices.DeleteFunc(d.Fleet.Runs, func(r result.FleetRun) bool { return r.Series == "single" })
	slices.Reverse(d.Fleet.Runs) // calibrations come first now
	if r := detailed(d.Fleet.Runs); r.Series != "instances" || r.Config.Instances != 16 {
		t.Errorf("in detail: %s of %d instances, want instances of 16", r.Series, r.Config.Instances)
	}
}

func TestResponseIsNamedForWhatItIs(t *testing.T) {
	ch := chartOf(t, pageOf(t, sampleFleet()), "fleet-latency")
	if last := ch.Series[len(ch.Series)-1].Name; last != "response, from the intended start" {
		t.Errorf("the last line is %q", last)
	}
}

// TestUnknownIsNotZero: a server that does not tell its commands, and lags and ages that were never seen, leave cells empty.
func TestUnknownIsNotZero(t *testing.T) {
	r := sampleRun("single", 2, 0)
	r.Redis, r.Lag, r.Staleness.Age = result.Redis{}, result.Percentiles{}, result.Percentiles{}
	table := runsTable([]result.FleetRun{r})
	for i, name := range table.Head {
		switch name {
		case "stale p99", "lag p50", "lag p99", "commands /1,000", "Redis in /1,000", "Redis out /1,000", "Redis CPU /1,000":
			if got := table.Rows[0][i].Text; got != "" {
				t.Errorf("%s: %q, want nothing", name, got)
			}
		}
	}
	if len(table.Rows[0]) != len(table.Head) {
		t.Errorf("%d cells below %d heads", len(table.Rows[0]), len(table.Head))
	}
	for _, f := range runFacts(&r) {
		if strings.Contains(f.Label, "commands") {
			t.Errorf("a fact of a server that does not tell: %+v", f)
		}
	}
	faults := verdicts([]result.ChaosRun{{Fault: "cut", Verdict: "ok", Run: r}})
	for i, name := range faults.Head {
		if strings.HasPrefix(name, "recovery") && faults.Rows[0][i].Text != "" {
			t.Errorf("%s: %q, want nothing", name, faults.Rows[0][i].Text)
		}
	}
}

// TestOversizeIsMarked: in the chart, in its table, and in words.
func TestOversizeIsMarked(t *testing.T) {
	ch := chartOf(t, pageOf(t, sampleReplay()), "hit-ratio-oltp")
	for _, s := range ch.Series {
		for _, p := range s.Points {
			if want := s.Name == "otter" && p.X < 123*20; p.Hollow != want {
				t.Errorf("%s at %.0f: hollow %v, want %v", s.Name, p.X, p.Hollow, want)
			}
		}
	}
	i := slices.IndexFunc(ch.Table.Rows, func(row []cell) bool { return row[0].Text == "otter" })
	if first := ch.Table.Rows[i][1]; !strings.HasSuffix(first.Text, "*") || !strings.Contains(first.Sub, "held 373") {
		t.Errorf("the first cell of otter: %+v", first)
	}
	if len(ch.Notes) == 0 || !strings.Contains(ch.Sub, "hollow") {
		t.Errorf("nothing says what hollow is: %q, %q", ch.Sub, ch.Notes)
	}
}

// TestLagIsDrawnByItsMagnitude: on a logarithmic axis if lags differ by much, of which a lag of 0 is no part.
func TestLagIsDrawnByItsMagnitude(t *testing.T) {
	d := sampleFleet()
	n := 0
	for i := range d.Fleet.Runs {
		if r := &d.Fleet.Runs[i]; r.Series == "instances" {
			r.Lag = samplePercentiles(float64(n * n * n))
			n++
		}
	}
	ch := chartOf(t, pageOf(t, d), "lag-by-instances")
	if !ch.Y.Log || len(ch.Series[0].Points) != n-1 || len(ch.Table.Rows) != n {
		t.Errorf("logarithmic %v, %d points, %d rows; want true, %d, %d", ch.Y.Log, len(ch.Series[0].Points), len(ch.Table.Rows), n-1, n)
	}
}
