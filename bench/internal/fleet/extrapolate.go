package fleet

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

const formula = "share of a core = a + b·W + c·W·S + d·S + e·F + g·L; bytes out a second = A + B·W + C·W·S + D·S + E·F + G·L; " +
	"messages a second = W·S. N instances, S = N + 1 subscribers (the writer is one), W changes, F far hits and L loads a second; " +
	"W = w·N + w0, F = f·N, L = l·N"

// The least of what a fit takes seriously: a hundredth of a core, and 1 KiB a second.
const (
	leastCPU   = 0.01
	leastBytes = 1 << 10
)

// further are the sizes of fleet that are looked at, as far as the extrapolation goes.
var further = []int{50, 100, 250, 500, 1000, 2500, 5000, 10_000}

// load is what a fleet asks of a server.
type load struct{ subscribers, changes, far, loads float64 }

func loadOf(r *result.FleetRun) load {
	return load{float64(r.Config.Instances + 1), changes(r), answered(r, instance.Far), answered(r, instance.Load)}
}

// answered is how many reads a second a tier answered.
func answered(r *result.FleetRun, by instance.Tier) float64 {
	return float64(r.Latency[by.String()].Count) / r.Seconds
}

// terms are what the parameters are multiplied with.
func (l load) terms() []float64 {
	return []float64{1, l.changes, l.changes * l.subscribers, l.subscribers, l.far, l.loads}
}

// extrapolate fits what the runs cost the server, and says what a larger fleet of the same instances would. It gives nil
// where a server could not tell what it did.
func extrapolate(runs []result.FleetRun, instances int) *result.Extrapolation {
	var rows [][]float64
	var cpu, bytes []float64
	var curve []*result.FleetRun
	for i := range runs {
		r := &runs[i]
		if !r.Redis.HasCPU || !r.Redis.HasCommands {
			return nil
		}
		rows = append(rows, loadOf(r).terms())
		cpu = append(cpu, r.Redis.CPUShare)
		bytes = append(bytes, r.ServerBytesOut)
		if r.Series == seriesInstances {
			curve = append(curve, r)
		}
	}
	if len(rows) < len(load{}.terms()) || len(curve) == 0 {
		return nil
	}
	a, b := fit(rows, cpu, leastCPU), fit(rows, bytes, leastBytes)
	slices.SortStableFunc(curve, func(x, y *result.FleetRun) int { return x.Config.Instances - y.Config.Instances })
	largest := largestThatKeptUp(curve)
	n := float64(largest.Config.Instances)
	outside := float64(largest.Outside)/largest.Seconds + changes(largest) - float64(largest.Writes+largest.Outside)/largest.Seconds
	perChange, perFar, perLoad := float64(largest.Writes)/largest.Seconds/n, answered(largest, instance.Far)/n, answered(largest, instance.Load)/n
	e := &result.Extrapolation{
		Instances: instances,
		Formula:   formula,
		Parameters: map[string]float64{
			"a": a[0], "b": a[1], "c": a[2], "d": a[3], "e": a[4], "g": a[5], "A": b[0], "B": b[1], "C": b[2], "D": b[3], "E": b[4], "G": b[5],
			"w": perChange, "w0": outside, "f": perFar, "l": perLoad,
		},
		Assumptions: []string{
			fmt.Sprintf("each instance does what it did in the run of %d, the largest that kept its rate: %s requests a second, %s changes, %s far hits, %s loads",
				largest.Config.Instances, term.Number(largest.Throughput/n), term.Number(perChange), term.Number(perFar), term.Number(perLoad)),
			"no parameter is negative; relative errors of all runs, calibrations included, are least squares",
			"one server has one thread for all of this: past 100 % of a core it cannot keep up, whatever the formula says",
			"its cores were shared with the fleet's: what it costs to be interrupted is in the figures",
			"more instances asking for the same keys load them no more often: f and l of a large fleet are at most those of the measured one",
			"one lane; on a Cluster the share is that of the busiest node, and more lanes would spread W over nodes",
		},
	}
	for _, r := range curve {
		l := loadOf(r)
		share := r.Redis.CPUShare
		e.Points = append(e.Points, point(r.Config.Instances, l, a, b, &share))
	}
	e.Assumptions = append(e.Assumptions, residual(curve, a, b))
	e.Assumptions = append(e.Assumptions, unsettled("CPU", "abcdeg", doubts(rows, cpu, leastCPU, a), a)...)
	e.Assumptions = append(e.Assumptions, unsettled("bytes", "ABCDEG", doubts(rows, bytes, leastBytes, b), b)...)
	for _, size := range append(slices.Clone(further), instances) {
		if size > instances || size <= curve[len(curve)-1].Config.Instances || slices.ContainsFunc(e.Points, func(p result.ExtrapolatedPoint) bool { return p.Instances == size }) {
			continue
		}
		s := float64(size)
		e.Points = append(e.Points, point(size, load{s + 1, perChange*s + outside, perFar * s, perLoad * s}, a, b, nil))
	}
	return e
}

// residual says how far the formula is off where it was measured.
func residual(curve []*result.FleetRun, a, b []float64) string {
	cpu, bytes := 0.0, 0.0
	for _, r := range curve {
		terms := loadOf(r).terms()
		cpu = max(cpu, offBy(dot(terms, a), r.Redis.CPUShare, leastCPU))
		bytes = max(bytes, offBy(dot(terms, b), r.ServerBytesOut, leastBytes))
	}
	return fmt.Sprintf("what was not measured is no further off than what was: there the formula is off by up to %s of the CPU, and %s of the bytes",
		term.Percent(cpu), term.Percent(bytes))
}

// unsettled says of which weights, by their letters, the runs do not tell that they are not 0, and which they do not tell apart.
func unsettled(what, letters string, doubts []doubt, weights []float64) (said []string) {
	var zero, same []string
	vague := func(c int) bool { return doubts[c].inflated >= entangled || weights[c] <= doubts[c].off }
	for c, d := range doubts {
		switch {
		case !vague(c):
		case math.IsInf(d.off, 1):
			zero = append(zero, fmt.Sprintf("%c (no run had any)", letters[c]))
		default:
			zero = append(zero, fmt.Sprintf("%c (%.2g, give or take %.2g)", letters[c], weights[c], d.off))
		}
		for other := range c {
			if math.Abs(d.with[other]) >= alike && (vague(c) || vague(other)) {
				same = append(same, fmt.Sprintf("%c and %c", letters[other], letters[c]))
			}
		}
	}
	if zero != nil {
		said = append(said, fmt.Sprintf("of the %s these runs do not tell from 0: %s", what, strings.Join(zero, ", ")))
	}
	if same != nil {
		said = append(said, fmt.Sprintf("of the %s these runs do not tell from one another: %s", what, strings.Join(same, ", ")))
	}
	return said
}

// offBy is the relative error of a prediction, as the fit sees it.
func offBy(predicted, measured, least float64) float64 {
	return math.Abs(predicted-measured) / max(measured, least)
}

// largestThatKeptUp is the last step of a curve whose fleet made the requests that it was to make; failing that, the last. One that fell
// behind says what a machine can bear, not what an instance asks for.
func largestThatKeptUp(curve []*result.FleetRun) *result.FleetRun {
	const kept = 0.95
	for _, r := range slices.Backward(curve) {
		if r.Throughput >= kept*r.Config.Rate {
			return r
		}
	}
	return curve[len(curve)-1]
}

func point(n int, l load, cpu, bytes []float64, measured *float64) result.ExtrapolatedPoint {
	return result.ExtrapolatedPoint{
		Instances: n, Measured: measured, ServerCPU: dot(l.terms(), cpu), BytesOut: dot(l.terms(), bytes), Messages: l.changes * l.subscribers,
	}
}
