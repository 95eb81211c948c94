package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

// Scale says which curves are measured.
type Scale string

// The scales.
const (
	Single            Scale = "" // one run
	OverInstances     Scale = "instances"
	OverInvalidations Scale = "invalidations"
	OverAll           Scale = "all"
)

// The series of runs.
const (
	seriesSingle        = "single"
	seriesInstances     = "instances"
	seriesInvalidations = "invalidations"
	seriesCalibration   = "calibration" // runs that each measure what one thing costs Redis
)

// Defaults of a [Plan].
var (
	InstanceSteps     = []int{1, 2, 4, 8, 16}
	InvalidationSteps = []float64{0, 100, 300, 1000, 3000}
)

const (
	// DefaultExtrapolation is to how many instances a curve is continued.
	DefaultExtrapolation = 1000
	// scaledRate is how many requests a second each instance has on a curve over instances, unless it is told: few enough for
	// 16 instances and Redis on two cores.
	scaledRate = 250.0
	// steadyRate is the same, of all together, on a curve over invalidations.
	steadyRate       = 2000.0
	maxExtrapolation = 1_000_000
)

// Calibrations have one thing to do and nothing else: so many changes, remote hits or loads a second, for which few keys and workers
// do. What there is to load for remote hits is loaded in the warm-up. There are several rounds of them, which tell by how much a
// cost that was measured may be off.
const (
	calibrationRounds  = 3
	calibrationChanges = 1000.0
	calibrationRemote  = 3000.0
	calibrationLoads   = 500.0
	calibrationKeys    = 50
	calibrationWorkers = 8
	calibrationWarmup  = 500 * time.Millisecond
	nothingLocal       = time.Nanosecond // a local TTL
)

// Plan is the runs of the command fleet.
type Plan struct {
	Base          Config
	Scale         Scale
	Instances     []int     // the steps over instances
	Invalidations []float64 // the steps over invalidations
	Extrapolate   int       // to so many instances
}

// step is a run of a plan.
type step struct {
	series string
	cfg    Config
}

// Validate reports every fault at once.
func (p Plan) Validate() error {
	var faults []error
	switch p.Scale {
	case Single, OverInstances, OverInvalidations, OverAll:
	default:
		faults = append(faults, fmt.Errorf("%w: a scale %q: want %s, %s or %s", ErrConfig, p.Scale, OverInstances, OverInvalidations, OverAll))
	}
	if p.Extrapolate < 1 || p.Extrapolate > maxExtrapolation {
		faults = append(faults, fmt.Errorf("%w: an extrapolation to %d instances: want 1 … %d", ErrConfig, p.Extrapolate, maxExtrapolation))
	}
	switch {
	case p.Scale == Single:
		faults = append(faults, p.Base.Validate())
	case len(p.Instances) == 0 || len(p.Invalidations) == 0:
		faults = append(faults, fmt.Errorf("%w: no steps: want at least one", ErrConfig))
	default:
		for _, s := range p.steps() {
			if err := s.cfg.Validate(); err != nil {
				faults = append(faults, fmt.Errorf("step %s of %d instances: %w", s.series, s.cfg.Instances, err))
				break
			}
		}
	}
	return errors.Join(faults...)
}

// steps are the runs. A curve over instances has the same load for each of them, and so needs calibrations beside it: where
// everything grows with the number of instances, nobody can say because of which part of it Redis has more to do.
func (p Plan) steps() (steps []step) {
	add := func(series string, change func(*Config)) {
		cfg := p.Base
		change(&cfg)
		steps = append(steps, step{series, cfg})
	}
	if p.Scale == Single {
		add(seriesSingle, func(*Config) {})
	}
	if p.Scale == OverInstances || p.Scale == OverAll {
		each := p.Base.Rate
		if each == 0 {
			each = scaledRate
		}
		for _, n := range p.Instances {
			add(seriesInstances, func(c *Config) { c.Instances, c.Rate = n, each*float64(n) })
		}
		largest := max(2, p.Instances[len(p.Instances)-1]/2)
		for range calibrationRounds {
			for _, changes := range []float64{0, calibrationChanges} {
				for _, n := range []int{1, largest} {
					add(seriesCalibration, func(c *Config) { c.Instances, c.Workers, c.Rate, c.Invalidations = n, 0, 0, changes })
				}
			}
			add(seriesCalibration, func(c *Config) { c.readAlone(calibrationRemote); c.LocalTTL = nothingLocal })
			add(seriesCalibration, func(c *Config) { c.readAlone(calibrationLoads); c.Fresh = true })
		}
	}
	if p.Scale == OverInvalidations || p.Scale == OverAll {
		for _, rate := range p.Invalidations {
			add(seriesInvalidations, func(c *Config) {
				if c.Invalidations = rate; c.Rate == 0 {
					c.Rate = steadyRate
				}
			})
		}
	}
	return steps
}

// readAlone lets one instance read, so often, and nobody change anything.
func (c *Config) readAlone(rate float64) {
	c.Instances, c.Workers, c.Keys, c.Skew = 1, calibrationWorkers, calibrationKeys, 0
	c.ReadShare, c.Invalidations, c.Rate = 1, 0, rate
	c.Warmup = max(c.Warmup, calibrationWarmup)
}

// Run runs all steps. What was measured is returned also beside an error.
func (p Plan) Run(ctx context.Context, s *server.Server, progress Progress) (*result.Fleet, error) {
	all := &result.Fleet{}
	steps := p.steps()
	for n, step := range steps {
		if err := prepare(ctx, s); err != nil {
			return all, err
		}
		var told Progress
		if progress != nil {
			told = func(share float64, text string) {
				progress((float64(n)+share)/float64(len(steps)), fmt.Sprintf("run %d of %d (%s)  %s", n+1, len(steps), step.series, text))
			}
		}
		out, err := Run(ctx, step.cfg, s, told)
		if out != nil {
			out.Run.Series = step.series
			all.Runs = append(all.Runs, out.Run)
		}
		if err != nil {
			return all, err
		}
	}
	if p.Scale == OverInstances || p.Scale == OverAll {
		all.Extrapolation = extrapolate(all.Runs, p.Extrapolate)
	}
	return all, nil
}

// prepare empties a server that is the run's own, so that no step finds what another left.
func prepare(ctx context.Context, s *server.Server) error {
	if s.Nodes() == 0 {
		return nil
	}
	return s.FlushAll(ctx)
}

// Clean tells whether all runs kept what the cache promises. Errors are none of its promises while something is going wrong.
func Clean(f *result.Fleet) bool {
	for _, r := range f.Runs {
		if len(lies(&r)) > 0 || r.Unrecovered > 0 || r.Errors > 0 && r.Config.Fault == "" {
			return false
		}
	}
	return true
}

// changes are how many a second the lane of a run carried, those of the probes included.
func changes(r *result.FleetRun) float64 {
	return float64(r.Writes+r.Outside)/r.Seconds + float64(time.Second)/float64(probeEvery)
}
