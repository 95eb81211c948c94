package fleet

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

const formula = "share of a core = a + b·W + c·W·S + d·S + e·F + g·L; " +
	"bytes out a second = A + B·W + C·W·S + D·S + E·F + G·L; messages a second = W·S. " +
	"N instances, S = N + 1 subscribers (the writer is one), W changes, F remote hits and L loads a second; " +
	"W = w·N + w0, F = f·N, L = l·N"

// Below these a prediction is not compared by its ratio: a hundredth of a core, and 1 KiB a second.
const (
	leastCPU   = 0.01
	leastBytes = 1 << 10
)

// further are the sizes of fleet that are looked at, as far as the extrapolation goes.
var further = []int{50, 100, 250, 500, 1000, 2500, 5000, 10_000}

func cpuOf(r *result.FleetRun) float64 { return r.Redis.CPUShare }

func bytesOf(r *result.FleetRun) float64 { return r.ServerBytesOut }

// extrapolate returns the cost of a larger fleet of the same instances to the server, by the unit
// costs that the calibrations measured. It returns nil where a server could not tell its own use,
// or a calibration is missing.
func extrapolate(runs []result.FleetRun, instances int) *result.Extrapolation {
	var curve []*result.FleetRun
	for i := range runs {
		r := &runs[i]
		if !r.Redis.HasCPU || !r.Redis.HasCommands {
			return nil
		}
		if r.Series == seriesInstances {
			curve = append(curve, r)
		}
	}
	all := rounds(runs)
	if len(all) == 0 || len(curve) == 0 {
		return nil
	}
	cpu, cpuOff := measured(all, cpuOf)
	bytes, bytesOff := measured(all, bytesOf)
	slices.SortStableFunc(curve, func(x, y *result.FleetRun) int {
		return x.Config.Instances - y.Config.Instances
	})
	largest := largestThatKeptUp(curve)
	n := float64(largest.Config.Instances)
	perChange := float64(largest.Writes) / largest.Seconds / n
	outside := changes(largest) - perChange*n
	perRemote, perLoad := answered(largest, Remote)/n, answered(largest, Load)/n
	e := &result.Extrapolation{
		Instances:  instances,
		Formula:    formula,
		Parameters: map[string]float64{"w": perChange, "w0": outside, "f": perRemote, "l": perLoad},
		GiveOrTake: make(map[string]float64),
		Assumptions: []string{
			fmt.Sprintf("each instance does what it did in the run of %d, the largest that kept its rate: "+
				"%s requests a second, %s changes, %s remote hits, %s loads",
				largest.Config.Instances, term.Number(largest.Throughput/n), term.Number(perChange),
				term.Number(perRemote), term.Number(perLoad)),
			fmt.Sprintf("each unit cost is the difference of two runs that differ in that thing only, "+
				"the median of %d rounds, give or take how far the rounds were from it", len(all)),
			"one server has one thread for all of this: past 100 % of a core it cannot keep up, " +
				"whatever the formula says",
			"its cores were shared with the fleet's: what it costs to be interrupted is in the figures",
			"more instances asking for the same keys load them no more often: f and l of a large fleet " +
				"are at most those of the measured one",
			"one lane; on a Cluster the share is that of the busiest node, and more lanes would spread " +
				"W over nodes",
			"changes that many ask for at once are made together, which costs less than the formula says",
		},
	}
	for _, r := range curve {
		share := cpuOf(r)
		p := point(r.Config.Instances, loadOf(r), cpu, cpuOff, bytes)
		p.Measured = &share
		e.Points = append(e.Points, p)
	}
	e.Assumptions = append(e.Assumptions, residual(curve, cpu, bytes))
	e.Assumptions = append(e.Assumptions, tell(e, "CPU", "abcdeg", cpu, cpuOff)...)
	e.Assumptions = append(e.Assumptions, tell(e, "bytes", "ABCDEG", bytes, bytesOff)...)
	for _, size := range append(slices.Clone(further), instances) {
		known := func(p result.ExtrapolatedPoint) bool { return p.Instances == size }
		if size > instances || size <= curve[len(curve)-1].Config.Instances ||
			slices.ContainsFunc(e.Points, known) {
			continue
		}
		s := float64(size)
		l := load{s + 1, perChange*s + outside, perRemote * s, perLoad * s}
		e.Points = append(e.Points, point(size, l, cpu, cpuOff, bytes))
	}
	return e
}

// tell notes costs by their letters, and returns which of them the rounds do not tell from 0.
func tell(e *result.Extrapolation, what, letters string, c, off costs) (said []string) {
	var small []string
	offs := off.fields()
	for i, v := range c.fields() {
		letter := letters[i : i+1]
		e.Parameters[letter], e.GiveOrTake[letter] = *v, *offs[i]
		if *v <= *offs[i] {
			small = append(small, letter)
		}
	}
	if small != nil {
		said = append(said, fmt.Sprintf("of the %s these runs do not tell from 0: %s; "+
			"the formula counts them as they were measured", what, strings.Join(small, ", ")))
	}
	return said
}

// residual says how far the formula is off where it was measured.
func residual(curve []*result.FleetRun, cpu, bytes costs) string {
	var cpuOff, bytesOff float64
	for _, r := range curve {
		l := loadOf(r)
		cpuOff = max(cpuOff, offBy(cpu.of(l), cpuOf(r), leastCPU))
		bytesOff = max(bytesOff, offBy(bytes.of(l), bytesOf(r), leastBytes))
	}
	return fmt.Sprintf("what was not measured is no further off than what was: there the formula is "+
		"off by up to %s of the CPU, and %s of the bytes", term.Percent(cpuOff), term.Percent(bytesOff))
}

// offBy is the relative error of a prediction.
func offBy(predicted, measured, least float64) float64 {
	return math.Abs(predicted-measured) / max(measured, least)
}

// largestThatKeptUp is the last step of a curve whose fleet made the requests that it was to make;
// failing that, the last. One that fell behind says what a machine can bear, not what an instance
// asks for.
func largestThatKeptUp(curve []*result.FleetRun) *result.FleetRun {
	const kept = 0.95
	for _, r := range slices.Backward(curve) {
		if r.Throughput >= kept*r.Config.Rate {
			return r
		}
	}
	return curve[len(curve)-1]
}

func point(n int, l load, cpu, cpuOff, bytes costs) result.ExtrapolatedPoint {
	return result.ExtrapolatedPoint{
		Instances: n, ServerCPU: cpu.of(l), CPUOff: cpuOff.of(l), BytesOut: bytes.of(l),
		Messages: l.changes * l.subscribers,
	}
}
