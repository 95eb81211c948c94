package fleet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/tiered"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*math.Max(math.Abs(want), 1e-12) {
		t.Errorf("%s is %g, want %g", what, got, want)
	}
}

func TestFitRecoversParameters(t *testing.T) {
	want := []float64{0.004, 40e-6, 3e-6, 0.0006, 25e-6, 90e-6}
	r := rand.New(rand.NewPCG(1, 2))
	for _, noise := range []float64{0, 0.01} {
		var rows [][]float64
		var measured []float64
		for _, n := range []float64{1, 2, 4, 8, 16} {
			for _, changes := range []float64{5, 300, 3000} {
				for _, reads := range []load{{}, {far: 500}, {far: 300, loads: 100}} {
					row := load{n + 1, changes, reads.far * n, reads.loads * n}.terms()
					rows = append(rows, row)
					measured = append(measured, dot(row, want)*(1+noise*(2*r.Float64()-1)))
				}
			}
		}
		got := fit(rows, measured, 1e-9)
		for i := range want {
			near(t, fmt.Sprintf("parameter %d with noise of %g", i, noise), got[i], want[i], 1e-6+20*noise)
		}
	}
}

func TestFitKeepsParametersFromBeingNegative(t *testing.T) {
	// Falls with the second column: the best without the constraint is 10 − 1x.
	got := fit([][]float64{{1, 1}, {1, 2}, {1, 3}}, []float64{9, 8, 7}, 1e-9)
	if got[1] != 0 || got[0] < 7 || got[0] > 9 {
		t.Errorf("got %v", got)
	}
	if got := fit([][]float64{{1, 1}, {1, 1}}, []float64{2, 2}, 1e-9); math.Abs(got[0]+got[1]-2) > 1e-9 {
		t.Errorf("columns that cannot be told apart: %v", got)
	}
	if fit(nil, nil, 1) != nil {
		t.Error("fitted nothing")
	}
}

func TestExtrapolateIsWhatTheFormulaSays(t *testing.T) {
	var runs []result.FleetRun
	cpu, bytes := []float64{0.01, 50e-6, 2e-6, 0.0005, 20e-6, 80e-6}, []float64{3000, 100, 60, 400, 200, 30}
	add := func(series string, n int, writes, outside, far, loads int64) {
		r := result.FleetRun{
			Series: series, Config: result.FleetConfig{Instances: n, Rate: 100 * float64(n)}, Seconds: 10, Requests: 1000 * int64(n),
			Throughput: 100 * float64(n), Writes: writes, Outside: outside,
			Latency: map[string]result.Percentiles{"far": {Count: far}, "load": {Count: loads}}, Redis: result.Redis{HasCPU: true, HasCommands: true},
		}
		if n == 16 { // it did not keep its rate, so it does not say what an instance asks for
			r.Throughput, r.Writes = r.Throughput/2, writes/2
		}
		terms := loadOf(&r).terms()
		r.Redis.CPUShare, r.ServerBytesOut = dot(terms, cpu), dot(terms, bytes)
		runs = append(runs, r)
	}
	for _, n := range []int64{1, 2, 4, 8, 16} {
		add(seriesInstances, int(n), 100*n, 0, 1000*n, 2000+100*n)
	}
	for _, n := range []int{1, 8} {
		add(seriesCalibration, n, 0, 0, 0, 0)
		add(seriesCalibration, n, 0, 10_000, 0, 0)
	}
	e := extrapolate(runs, 1000)
	if e == nil {
		t.Fatal("none")
	}
	for _, p := range e.Points {
		if p.Measured != nil {
			near(t, fmt.Sprintf("the share of %d instances", p.Instances), p.ServerCPU, *p.Measured, 1e-6)
		}
	}
	last := e.Points[len(e.Points)-1]
	if last.Instances != 1000 || len(e.Points) != 10 {
		t.Fatalf("points: %+v", e.Points)
	}
	l := load{1001, 10*1000 + 5, 100 * 1000, 280.0 / 8 * 1000}
	near(t, "the share of 1,000", last.ServerCPU, dot(l.terms(), cpu), 1e-6)
	near(t, "the bytes of 1,000", last.BytesOut, dot(l.terms(), bytes), 1e-6)
	near(t, "the messages of 1,000", last.Messages, l.changes*1001, 1e-6)
	if text := strings.Join(e.Assumptions, "\n"); !strings.Contains(text, "off by up to "+term.Percent(0)+" of the CPU, and "+term.Percent(0)+" of the bytes") {
		t.Errorf("an exact fit is not said to be one:\n%s", text)
	}
	for i := range runs { // one is off, by a tenth of what was measured or by what the fit gives up elsewhere
		if runs[i].Config.Instances == 4 {
			runs[i].Redis.CPUShare *= 1.5
		}
	}
	if text := strings.Join(extrapolate(runs, 1000).Assumptions, "\n"); strings.Contains(text, "up to "+term.Percent(0)+" of the CPU") ||
		!strings.Contains(text, term.Percent(0)+" of the bytes") {
		t.Errorf("a fit that is off is said to be exact:\n%s", text)
	}
	runs[0].Redis.HasCPU = false
	if extrapolate(runs, 1000) != nil {
		t.Error("extrapolated what was not measured")
	}
}

// measuredAs is what a run of a plan would give on a Redis that spends cpu and bytes, if each instance had so many far hits and loads a
// second unless it is told.
func measuredAs(s step, cpu, bytes []float64, noise func() float64) result.FleetRun {
	const seconds, far, loads, writes = 10, 100.0, 60.0, 2.5
	n := float64(s.cfg.Instances)
	r := result.FleetRun{
		Series: s.series, Config: result.FleetConfig{Instances: s.cfg.Instances, Rate: s.cfg.Rate}, Seconds: seconds, Throughput: s.cfg.Rate,
		Outside: int64(s.cfg.Invalidations * seconds), Redis: result.Redis{HasCPU: true, HasCommands: true}, Latency: make(map[string]result.Percentiles),
	}
	reads := func(far, loads float64) {
		r.Latency["far"], r.Latency["load"] = result.Percentiles{Count: int64(far * seconds)}, result.Percentiles{Count: int64(loads * seconds)}
	}
	switch {
	case s.cfg.Workers == 0:
	case s.cfg.Fresh:
		reads(0, s.cfg.Rate)
	case s.cfg.LocalTTL > 0:
		reads(s.cfg.Rate, 0)
	default:
		reads(far*n, loads*n)
		r.Writes = int64(writes * n * seconds)
	}
	terms := loadOf(&r).terms()
	r.Redis.CPUShare, r.ServerBytesOut = dot(terms, cpu)*noise(), dot(terms, bytes)*noise()
	return r
}

// Where each instance does the same, far hits and loads grow together: only runs that have one and not the other tell what each costs.
func TestCalibrationsTellFarHitsFromLoads(t *testing.T) {
	cpu, bytes := []float64{0.005, 60e-6, 5e-6, 0.0004, 25e-6, 150e-6}, []float64{2000, 100, 120, 400, 250, 60}
	plan := Plan{Base: Default(), Scale: OverInstances, Instances: InstanceSteps, Invalidations: InvalidationSteps, Extrapolate: 1000}
	const exact = 0.03
	random := rand.New(rand.NewPCG(3, 4))
	noise := func() float64 { return 1 + exact*(2*random.Float64()-1) }
	var all, without []result.FleetRun
	for _, s := range plan.steps() {
		r := measuredAs(s, cpu, bytes, noise)
		all = append(all, r)
		if s.cfg.LocalTTL == 0 && !s.cfg.Fresh {
			without = append(without, r)
		}
	}
	if len(without) != len(all)-2 {
		t.Fatalf("%d runs of %d are no calibrations of reads", len(without), len(all))
	}
	e := extrapolate(all, 1000)
	near(t, "a far hit", e.Parameters["e"], cpu[4], 0.2)
	near(t, "a load", e.Parameters["g"], cpu[5], 0.2)
	near(t, "the bytes of a far hit", e.Parameters["E"], bytes[4], 0.2)
	text := strings.Join(e.Assumptions, "\n")
	for _, letters := range []string{"e and g", "e (", "g ("} {
		if strings.Contains(text, letters) {
			t.Errorf("far hits and loads are doubted:\n%s", text)
		}
	}
	text = strings.Join(extrapolate(without, 1000).Assumptions, "\n")
	for _, said := range []string{"of the CPU these runs do not tell from 0: ", "of the CPU these runs do not tell from one another: e and g", "of the bytes these runs do not tell from one another: E and G"} {
		if !strings.Contains(text, said) {
			t.Errorf("nothing is said of %q:\n%s", said, text)
		}
	}
}

func TestDoubts(t *testing.T) {
	// The second column is settled; the third is noise; the fourth grows with the fifth; of the sixth there is nothing.
	var rows [][]float64
	var want []float64
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 40 {
		x, y, z := float64(i%7), float64(i%5), float64(i%3)
		rows = append(rows, []float64{1, x, y, z, 2 * z, 0})
		want = append(want, 100+50*x+30*z+2*r.Float64())
	}
	weights := fit(rows, want, 1)
	d := doubts(rows, want, 1, weights)
	near(t, "the second weight", weights[1], 50, 0.02)
	if d[1].off > 1 || d[1].off <= 0 || d[1].inflated > 3 || math.Abs(d[1].with[2]) > 0.5 {
		t.Errorf("of what is settled: %+v", d[1])
	}
	if weights[2] > d[2].off {
		t.Errorf("noise weighs %g, give or take %g", weights[2], d[2].off)
	}
	if d[3].inflated < entangled || d[4].inflated < entangled || math.Abs(d[3].with[4]) < alike {
		t.Errorf("of what grows together: %+v, %+v", d[3], d[4])
	}
	if !math.IsInf(d[5].off, 1) {
		t.Errorf("of what there was not: %+v", d[5])
	}
	said := strings.Join(unsettled("test", "abcdef", d, weights), "; ")
	if !strings.Contains(said, "f (no run had any)") || !strings.Contains(said, "d and e") || strings.Contains(said, "b (") {
		t.Errorf("said %q", said)
	}
}

func TestKeysFollowTheirDistribution(t *testing.T) {
	const picks = 100_000
	for _, skew := range []float64{0, 0.8, 1.2} {
		p, r := newPopulation(100, skew), rand.New(rand.NewPCG(1, 1))
		seen := make([]float64, 100)
		for range picks {
			seen[p.pick(r)]++
		}
		near(t, fmt.Sprintf("the first key to the tenth, skew %g", skew), seen[0]/seen[9], math.Pow(10, skew), 0.15)
	}
}

func TestEachKeyHasOneWriter(t *testing.T) {
	const keys, writers = 23, 5
	owner := make(map[int]int)
	for w := range writers {
		for k := range keys {
			mine := owned(k, keys, w, writers)
			if before, taken := owner[mine]; mine < 0 || mine >= keys || taken && before != w {
				t.Fatalf("key %d of writer %d is %d, of %d", k, w, mine, before)
			}
			owner[mine] = w
		}
	}
}

func TestAnOpenLoopDoesNotWaitForAnswers(t *testing.T) {
	p := newPace(1e6, rand.New(rand.NewPCG(1, 1)))
	defer p.end()
	p.next = time.Now().Add(-time.Second) // as after a request that took a second
	first, ok := p.wait(t.Context())
	if late := time.Since(first); !ok || late < 900*time.Millisecond {
		t.Errorf("late by %s", late)
	}
	if second, _ := p.wait(t.Context()); second.Sub(first) > 100*time.Millisecond {
		t.Errorf("the next was to begin %s later: the rate was given up", second.Sub(first))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := newPace(1e-3, p.random).wait(ctx); ok {
		t.Error("went on past the end")
	}
}

func TestKindsOfErrors(t *testing.T) {
	for want, err := range map[string]error{
		"unknown outcome":    errors.Join(tiered.ErrRemoteUnavailable, tiered.ErrUnknownOutcome),
		"remote unavailable": fmt.Errorf("get: %w", tiered.ErrRemoteUnavailable),
		"write refused":      tiered.ErrWriteRefused,
		"load":               &tiered.LoadError{Err: errSource},
		"source":             errSource,
		"spoilt value":       errSpoilt,
		"deadline":           context.DeadlineExceeded,
		"closed":             tiered.ErrClosed,
		"other":              errors.New("brewed"),
	} {
		if got := kindOf(err).String(); got != want {
			t.Errorf("%v is of kind %q, want %q", err, got, want)
		}
	}
}

func TestIDsOfTokens(t *testing.T) {
	for text, want := range map[string]uint64{"0:5-3": 5<<20 | 3, "5-3": 5<<20 | 3, "": 0, "0:x": 0} {
		if got := idOf(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

func TestMachineTime(t *testing.T) {
	if got := (machineTime{200, 50}).busySince(machineTime{100, 25}); got != 0.75 {
		t.Errorf("busy %g", got)
	}
	if (machineTime{}).busySince(machineTime{}) != 0 {
		t.Error("busy without time")
	}
}

func TestConfigRefuses(t *testing.T) {
	err := Config{
		Instances: 99, Workers: -1, Keys: -1, Skew: -1, ReadShare: 2, Write: "brew", ValueSize: -1, TTL: -1, LocalTTL: -1, NearEntries: -1, Engine: "steam",
		MaxStaleness: 1, Source: -1, Rate: -1, Invalidations: -1, Churn: 1, ChurnBy: "brew", Warmup: -1, Duration: -1,
	}.Validate()
	if got := strings.Count(fmt.Sprint(err), ErrConfig.Error()); got != 20 || !errors.Is(err, ErrConfig) {
		t.Errorf("%d faults named, want all 20:\n%v", got, err)
	}
	c := Default()
	c.Keys, c.Write = 3, Set
	if err := c.Validate(); !errors.Is(err, ErrConfig) {
		t.Errorf("fewer keys than writers: %v", err)
	}
	for _, p := range []Plan{
		{Base: Default(), Scale: "brew", Extrapolate: 1}, {Base: Default(), Extrapolate: 0}, {Base: Default(), Scale: OverAll, Extrapolate: 1},
		{Base: Config{}, Extrapolate: 1}, {Base: Default(), Scale: OverInstances, Instances: []int{100}, Invalidations: []float64{1}, Extrapolate: 1},
	} {
		if err := p.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := (Ordeal{Base: Default()}).Validate(); !errors.Is(err, ErrConfig) {
		t.Errorf("no faults, no times: %v", err)
	}
}
