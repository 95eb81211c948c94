package replay

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// Options say what is replayed.
type Options struct {
	Policies []Policy // Defaults to all
	Sizes    []int    // in entries. Defaults to DefaultSizes
	// Progress, if not nil, is told how many of all requests of all simulations are done. It may be called by several
	// goroutines at once.
	Progress func(done, total int64, policy string, size int)
}

// simulation is one policy with the sizes that it takes in one go.
type simulation struct {
	policy Policy
	index  int   // of the policy
	sizes  []int // never none
}

// Run replays a trace with every policy at every size. What needs the processors to itself runs alone and first; the
// rest runs on all of them. When ctx ends or a simulation fails, what was done is returned beside the error.
func Run(ctx context.Context, t *Trace, opts Options) (result.ReplayedTrace, error) {
	if opts.Policies == nil {
		opts.Policies = Policies()
	}
	if len(opts.Sizes) == 0 {
		opts.Sizes = DefaultSizes(t.Count)
	}
	sizes := slices.Compact(slices.Sorted(slices.Values(opts.Sizes)))
	r := &runner{trace: t, progress: opts.Progress, points: make([][]result.Point, len(opts.Policies))}
	if len(t.Keys) > 0 {
		t.prepare()
		var alone, together []simulation
		for i, p := range opts.Policies {
			for _, s := range simulationsOf(p, i, sizes) {
				if p.alone {
					alone = append(alone, s)
				} else {
					together = append(together, s)
				}
				r.total += int64(len(t.Keys))
			}
		}
		r.all(ctx, alone, 1)
		r.all(ctx, together, runtime.GOMAXPROCS(0))
	}
	return r.result(opts.Policies, sizes), errors.Join(r.errs...)
}

func simulationsOf(p Policy, index int, sizes []int) (out []simulation) {
	if p.exact == lru {
		return []simulation{{p, index, sizes}}
	}
	for _, size := range sizes {
		if size >= p.least {
			out = append(out, simulation{p, index, []int{size}})
		}
	}
	return out
}

type runner struct {
	trace    *Trace
	progress func(done, total int64, policy string, size int)
	total    int64
	done     atomic.Int64

	mu     sync.Mutex
	points [][]result.Point // guarded by mu; by policy
	errs   []error          // guarded by mu
}

func (r *runner) all(ctx context.Context, simulations []simulation, workers int) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(workers, len(simulations)) {
		running.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(simulations) || r.failed() {
					return
				}
				r.one(ctx, simulations[i])
			}
		})
	}
	running.Wait()
}

func (r *runner) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.errs) > 0
}

func (r *runner) one(ctx context.Context, s simulation) {
	tick := func(n int) {
		done := r.done.Add(int64(n))
		if r.progress != nil {
			r.progress(done, r.total, s.policy.Name, s.sizes[0])
		}
	}
	points, err := simulate(ctx, r.trace, s, tick)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		switch cause := context.Cause(ctx); {
		case cause == nil || !errors.Is(err, cause):
			r.errs = append(r.errs, fmt.Errorf("replay: %s at %d entries: %w", s.policy.Name, s.sizes[0], err))
		case len(r.errs) == 0: // once, however many it stopped
			r.errs = append(r.errs, err)
		}
		return
	}
	r.points[s.index] = append(r.points[s.index], points...)
}

func simulate(ctx context.Context, t *Trace, s simulation, tick func(int)) ([]result.Point, error) {
	began := time.Now()
	switch s.policy.exact {
	case lru:
		distances, err := stackDistances(ctx, t.Keys, t.Count, tick)
		if err != nil {
			return nil, err
		}
		return curve(distances, len(t.Keys), steps(t.Count, s.sizes), time.Since(began)), nil
	case optimum:
		hits, err := optimalHits(ctx, t.next, s.sizes[0], tick)
		if err != nil {
			return nil, err
		}
		return []result.Point{point(s.sizes[0], hits, len(t.Keys), time.Since(began))}, nil
	default:
		hits, held, err := replay(ctx, t, s, tick)
		if err != nil {
			return nil, err
		}
		p := point(s.sizes[0], hits, len(t.Keys), time.Since(began))
		p.Held = held
		return []result.Point{p}, nil
	}
}

// holder is a store that says how many entries can be read in it.
type holder interface{ held() int }

// replay asks a cache for every key of the trace and sets those that it has not. held is the mean number of entries it
// held over the last half of the trace, when it knows.
func replay(ctx context.Context, t *Trace, s simulation, tick func(int)) (hits int64, held float64, err error) {
	cache, err := s.policy.open(s.sizes[0])
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, cache.close()) }()
	counted, knows := cache.(holder)
	var sum, looks float64
	const lookEvery = 1 << 8
	for i, key := range t.Keys {
		if i%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return 0, 0, err
			}
			tick(min(checkEvery, len(t.Keys)-i))
		}
		if knows && i%lookEvery == 0 && i > len(t.Keys)/2 {
			sum += float64(counted.held())
			looks++
		}
		if name := t.names[key]; cache.get(name) {
			hits++
		} else {
			cache.set(name)
		}
	}
	if looks > 0 {
		held = sum / looks
	}
	return hits, held, nil
}

func point(size int, hits int64, requests int, took time.Duration) result.Point {
	return result.Point{Size: int64(size), HitRatio: float64(hits) / float64(requests), Seconds: took.Seconds()}
}

// curve sums distances up to each size.
func curve(distances []int64, requests int, sizes []int, took time.Duration) []result.Point {
	var points []result.Point
	var hits int64
	d := 1
	for _, size := range sizes {
		for ; d < len(distances) && d <= size; d++ {
			hits += distances[d]
		}
		points = append(points, point(size, hits, requests, took))
	}
	return points
}

func (r *runner) result(policies []Policy, sizes []int) result.ReplayedTrace {
	out := result.ReplayedTrace{
		Name: r.trace.Name, Format: string(r.trace.Format), Requests: int64(len(r.trace.Keys)), Keys: int64(r.trace.Count),
	}
	for _, size := range sizes {
		out.Sizes = append(out.Sizes, int64(size))
	}
	for i, p := range policies {
		if len(r.points[i]) == 0 {
			continue
		}
		slices.SortFunc(r.points[i], func(a, b result.Point) int { return int(a.Size - b.Size) })
		out.Curves = append(out.Curves, result.Curve{Policy: p.Name, About: p.About, Points: r.points[i]})
	}
	return out
}
