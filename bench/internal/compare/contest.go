package compare

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// maxOperations of a slice: who answers faster than that ends it earlier.
const maxOperations = 1 << 28

// task is what one caller does n times in a slice. round and caller tell where in the sequence of keys it begins, which is the
// same for every entrant.
type task func(ctx context.Context, round, caller, n int) error

// entrant is a subject in a contest.
type entrant struct {
	subject string
	missing string // why it takes no part, or dropped out
	do      task
	// prepare makes, untimed, what callers × n operations will need; may be nil.
	prepare func(ctx context.Context, round, callers, n int) error
	// watch is asked before and after each slice, untimed, and its differences are shown by operation; may be nil.
	watch func(ctx context.Context) (map[string]float64, error)
	// limits are what a watched figure may be at most, floors what it has to be at least.
	limits, floors map[string]float64

	each   int // operations of each caller in a slice
	times  []float64
	allocs []float64
	bytes  []float64
	extra  map[string][]float64
}

// contest is one row's work, done by all.
type contest struct {
	callers  int
	rounds   int
	slice    time.Duration
	order    *rand.Rand
	entrants []*entrant
	perSec   bool // the value is operations a second instead of nanoseconds
	stepped  func(round int)
	// once is the work of a round where that is no sequence of operations: it adds to the samples itself. Without calibration.
	once func(ctx context.Context, e *entrant, round int) error
}

// run lets all entrants work. If ctx ends first, what was measured until then stays, and its error is returned.
func (c *contest) run(ctx context.Context) error {
	for _, e := range c.entrants {
		if e.missing != "" || c.once != nil {
			continue
		}
		if err := c.calibrate(ctx, e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.missing = err.Error()
		}
	}
	for round := range c.rounds {
		order := slices.Clone(c.entrants)
		c.order.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, e := range order {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if e.missing != "" {
				continue
			}
			if err := c.measure(ctx, e, round); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				e.missing = err.Error()
			}
		}
		if c.stepped != nil {
			c.stepped(round)
		}
	}
	return nil
}

// calibrate finds how many operations fill a slice, which also warms the entrant up.
func (c *contest) calibrate(ctx context.Context, e *entrant) error {
	for each := 1; ; {
		took, err := c.work(ctx, e, calibration, each)
		if err != nil {
			return err
		}
		fit := grow(each, took, c.slice)
		if took >= c.slice/2 || fit >= maxOperations {
			e.each = min(fit, maxOperations)
			return nil
		}
		each = min(fit, 100*each)
	}
}

// calibration is the round that comes before the first.
const calibration = -1

// grow is how many operations would take as long as a slice, if each took as long as these did. A measurement that is
// much too short is not trusted further than to ask for more.
func grow(each int, took, slice time.Duration) int {
	if took < slice/1000 {
		return 100 * each
	}
	return max(1, int(math.Ceil(float64(each)*float64(slice)/float64(took))))
}

// measure adds one slice to the samples of e.
func (c *contest) measure(ctx context.Context, e *entrant, round int) error {
	if c.once != nil {
		return c.once(ctx, e, round)
	}
	if e.prepare != nil {
		if err := e.prepare(ctx, round, c.callers, e.each); err != nil {
			return err
		}
	}
	watched, err := e.look(ctx)
	if err != nil {
		return err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	took, err := c.timed(ctx, e, round, e.each)
	runtime.ReadMemStats(&after)
	if err != nil {
		return err
	}
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	n := float64(e.each * c.callers)
	if err := e.weigh(watched, now, n); err != nil {
		return err
	}
	value := float64(took.Nanoseconds()) / n
	if c.perSec {
		value = n / took.Seconds()
	}
	e.times = append(e.times, value)
	e.allocs = append(e.allocs, float64(after.Mallocs-before.Mallocs)/n)
	e.bytes = append(e.bytes, float64(after.TotalAlloc-before.TotalAlloc)/n)
	return nil
}

// weigh notes what n operations made of the watched figures, unless that tells that they were other work than the row's.
func (e *entrant) weigh(before, now map[string]float64, n float64) error {
	for name := range now {
		diff := now[name] - before[name]
		per := diff / n
		if limit, ok := e.limits[name]; ok && per > limit && diff > stray {
			return fmt.Errorf("%s is %.4f, must be at most %g: this is not the work of the row", name, per, limit)
		}
		if floor, ok := e.floors[name]; ok && per < floor {
			return fmt.Errorf("%s is %.4f, must be at least %g: this is not the work of the row", name, per, floor)
		}
		e.note(name, per)
	}
	return nil
}

// note adds a sample of what else tells.
func (e *entrant) note(name string, v float64) {
	if e.extra == nil {
		e.extra = make(map[string][]float64)
	}
	e.extra[name] = append(e.extra[name], v)
}

func (e *entrant) look(ctx context.Context) (map[string]float64, error) {
	if e.watch == nil {
		return nil, nil
	}
	return e.watch(ctx)
}

func (c *contest) work(ctx context.Context, e *entrant, round, each int) (time.Duration, error) {
	if e.prepare != nil {
		if err := e.prepare(ctx, round, c.callers, each); err != nil {
			return 0, err
		}
	}
	return c.timed(ctx, e, round, each)
}

// timed lets all callers begin at once, and returns how long it took until the last had done its share.
func (c *contest) timed(ctx context.Context, e *entrant, round, each int) (time.Duration, error) {
	if c.callers == 1 {
		began := time.Now()
		err := e.do(ctx, round, 0, each)
		return time.Since(began), err
	}
	errs := make([]error, c.callers)
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for caller := range c.callers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			errs[caller] = e.do(ctx, round, caller, each)
		})
	}
	ready.Wait()
	began := time.Now()
	close(start)
	done.Wait()
	took := time.Since(began)
	return took, firstOf(errs)
}

// cells are what was measured so far, in the order of the entrants.
func (c *contest) cells(baseline string) []result.Cell {
	var base []float64
	for _, e := range c.entrants {
		if e.subject == baseline && e.missing == "" {
			base = e.times
		}
	}
	cells := make([]result.Cell, 0, len(c.entrants))
	for _, e := range c.entrants {
		cells = append(cells, e.cell(base))
	}
	return cells
}

func (e *entrant) cell(base []float64) result.Cell {
	if e.missing != "" {
		return result.Cell{Subject: e.subject, Missing: e.missing}
	}
	if len(e.times) == 0 {
		return result.Cell{Subject: e.subject, Missing: notReached}
	}
	cell := result.Cell{
		Subject: e.subject, Value: result.SpreadOf(e.times), Ratio: result.SpreadOf(result.Ratios(e.times, base)),
		Allocs: lowest(e.allocs), Bytes: lowest(e.bytes),
	}
	for name, samples := range e.extra {
		if cell.Extra == nil {
			cell.Extra = make(map[string]float64)
		}
		cell.Extra[name] = fine(result.SpreadOf(samples).Median)
	}
	return cell
}

// notReached is said of cells that an interruption left empty.
const notReached = "interrupted before it was measured"

// lowest of the samples, to a hundredth: what the process does beside the work is less than that.
func lowest(samples []float64) *float64 {
	if len(samples) == 0 {
		return nil
	}
	v := hundredths(slices.Min(samples))
	return &v
}

func hundredths(f float64) float64 { return math.Round(100*f) / 100 }

// fine is for what must be seen though it is little: a local hit in a thousand that was none.
func fine(f float64) float64 { return math.Round(10_000*f) / 10_000 }
