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

// measuredAs is what a run of a plan would give on a Redis with these costs, if each instance had so many remote hits and loads a
// second unless it is told.
func measuredAs(s step, cpu, bytes costs, noise func() float64) result.FleetRun {
	const seconds, remote, loads, writes = 10, 100.0, 60.0, 2.5
	n := float64(s.cfg.Instances)
	r := result.FleetRun{
		Series: s.series, Seconds: seconds, Throughput: s.cfg.Rate,
		Config: result.FleetConfig{
			Instances: s.cfg.Instances, Rate: s.cfg.Rate, Invalidations: s.cfg.Invalidations, Fresh: s.cfg.Fresh,
			LocalTTLms: s.cfg.LocalTTL.Seconds(),
		},
		Outside: int64(s.cfg.Invalidations * seconds), Redis: result.Redis{HasCPU: true, HasCommands: true}, Latency: make(map[string]result.Percentiles),
	}
	reads := func(remote, loads float64) {
		r.Latency["remote"], r.Latency["load"] = result.Percentiles{Count: int64(remote * seconds)}, result.Percentiles{Count: int64(loads * seconds)}
	}
	switch {
	case s.cfg.Workers == 0:
	case s.cfg.Fresh:
		reads(0, s.cfg.Rate)
	case s.cfg.LocalTTL > 0:
		reads(s.cfg.Rate, 0)
	default:
		reads(remote*n, loads*n)
		r.Writes = int64(writes * n * seconds)
	}
	l := loadOf(&r)
	r.Redis.CPUShare, r.ServerBytesOut = cpu.of(l)*noise(), bytes.of(l)*noise()
	return r
}

func TestExtrapolateIsWhatTheFormulaSays(t *testing.T) {
	cpu, bytes := costs{0.01, 50e-6, 2e-6, 0.0005, 20e-6, 80e-6}, costs{3000, 100, 60, 400, 200, 30}
	plan := Plan{Base: Default(), Scale: OverInstances, Instances: InstanceSteps, Extrapolate: 1000}
	var runs []result.FleetRun
	for _, s := range plan.steps() {
		r := measuredAs(s, cpu, bytes, func() float64 { return 1 })
		if s.series == seriesInstances && s.cfg.Instances == 16 { // it did not keep its rate, so it does not say what an instance asks for
			r.Throughput, r.Writes = r.Throughput/2, r.Writes/2
			r.Redis.CPUShare, r.ServerBytesOut = cpu.of(loadOf(&r)), bytes.of(loadOf(&r))
		}
		runs = append(runs, r)
	}
	e := extrapolate(runs, 1000)
	if e == nil {
		t.Fatal("none")
	}
	for letter, want := range map[string]float64{"a": cpu.itself, "b": cpu.change, "c": cpu.delivery, "d": cpu.subscriber, "e": cpu.remote, "g": cpu.load, "C": bytes.delivery} {
		near(t, "cost "+letter, e.Parameters[letter], want, 1e-6)
		near(t, "what rounds that are alike are off of cost "+letter, 1+e.GiveOrTake[letter], 1, 1e-9)
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
	l := load{1001, 2.5*1000 + 5, 100 * 1000, 60 * 1000}
	near(t, "the share of 1,000", last.ServerCPU, cpu.of(l), 1e-6)
	near(t, "what it is off, of rounds that are alike", 1+last.CPUOff, 1, 1e-6)
	near(t, "the bytes of 1,000", last.BytesOut, bytes.of(l), 1e-6)
	near(t, "the messages of 1,000", last.Messages, l.changes*1001, 1e-6)
	if text := strings.Join(e.Assumptions, "\n"); !strings.Contains(text, "off by up to "+term.Percent(0)+" of the CPU, and "+term.Percent(0)+" of the bytes") {
		t.Errorf("an exact formula is not said to be one:\n%s", text)
	}
	for i := range runs { // a step costs more than its parts do
		if runs[i].Series == seriesInstances && runs[i].Config.Instances == 4 {
			runs[i].Redis.CPUShare *= 1.5
		}
	}
	if text := strings.Join(extrapolate(runs, 1000).Assumptions, "\n"); strings.Contains(text, "up to "+term.Percent(0)+" of the CPU") ||
		!strings.Contains(text, term.Percent(0)+" of the bytes") {
		t.Errorf("a formula that is off is said to be exact:\n%s", text)
	}
	if extrapolate(runs[:len(runs)-5], 1000) == nil {
		t.Error("the last round is not whole, and the others count for nothing")
	}
	if extrapolate(runs[:len(InstanceSteps)+5], 1000) != nil {
		t.Error("extrapolated without a whole round of calibrations")
	}
	runs[0].Redis.HasCPU = false
	if extrapolate(runs, 1000) != nil {
		t.Error("extrapolated what was not measured")
	}
}

// A cost is said to be as uncertain as the rounds differ, and one that is no larger than that not to be told from 0.
func TestCostsSayHowRemoteTheyAreOff(t *testing.T) {
	cpu, bytes := costs{0.005, 60e-6, 5e-6, 1e-7, 25e-6, 150e-6}, costs{2000, 100, 120, 400, 250, 60}
	plan := Plan{Base: Default(), Scale: OverInstances, Instances: InstanceSteps, Extrapolate: 1000}
	const exact = 0.03
	random := rand.New(rand.NewPCG(3, 4))
	var runs []result.FleetRun
	for _, s := range plan.steps() {
		runs = append(runs, measuredAs(s, cpu, bytes, func() float64 { return 1 + exact*(2*random.Float64()-1) }))
	}
	e := extrapolate(runs, 1000)
	for letter, want := range map[string]float64{"b": cpu.change, "c": cpu.delivery, "e": cpu.remote, "g": cpu.load, "E": bytes.remote} {
		near(t, "cost "+letter, e.Parameters[letter], want, 0.3)
		if off := e.GiveOrTake[letter]; off <= 0 || off > e.Parameters[letter]/2 {
			t.Errorf("cost %s is %g, give or take %g", letter, e.Parameters[letter], off)
		}
	}
	if p := e.Points[len(e.Points)-1]; p.CPUOff < 0.01*p.ServerCPU || p.CPUOff > p.ServerCPU {
		t.Errorf("%d instances take %g of a core, give or take %g", p.Instances, p.ServerCPU, p.CPUOff)
	}
	text := strings.Join(e.Assumptions, "\n")
	if !strings.Contains(text, "of the CPU these runs do not tell from 0: d;") {
		t.Errorf("nothing is said of a cost that is smaller than its error (d = %g ± %g):\n%s", e.Parameters["d"], e.GiveOrTake["d"], text)
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
		Instances: 99, Workers: -1, Keys: -1, Skew: -1, ReadShare: 2, Write: "brew", ValueSize: -1, TTL: -1, LocalTTL: -1, LocalEntries: -1, Engine: "steam",
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
