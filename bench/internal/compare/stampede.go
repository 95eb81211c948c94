package compare

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// instances that a stampede runs over: caches in one process, which know of each other only by Redis.
const instances = 4

// stampedes are many callers who want one cold key at once.
func (s *session) stampedes() *group {
	st, data := wholeStage(s)
	st.any, st.copies = true, instances // without a remote tier there is a load for each instance, if all goes well
	return &group{close: st.close, rows: []*row{{
		group: "stampede", name: fmt.Sprintf("%d instances × %d callers of a cold key, load of %v", instances, s.o.sizes.callers, s.o.sizes.load), unit: "ms",
		measure: func(ctx context.Context, r *row) ([]result.Cell, error) { return s.stampede(ctx, r, st, data()) },
	}}}
}

func (s *session) stampede(ctx context.Context, r *row, st *stage[account], d *data[account]) ([]result.Cell, error) {
	if err := st.ready(ctx); err != nil {
		return nil, err
	}
	players := make(map[*entrant]*player[account])
	c := s.contest(r, 1, st.entrants(func(p *player[account], e *entrant) error {
		players[e] = p
		return nil
	}))
	// The first storm makes the connections, and has scripts and stacks where they are wanted: it is nobody's time.
	for e, p := range players {
		if e.missing != "" {
			continue
		}
		if _, _, err := s.rush(ctx, p, d, "warm"); err != nil {
			if ctx.Err() != nil {
				return c.cells(r.baseline), ctx.Err()
			}
			e.missing = err.Error()
		}
	}
	c.once = func(ctx context.Context, e *entrant, round int) error {
		return s.stampeded(ctx, players[e], e, d, round)
	}
	err := c.run(ctx)
	return c.cells(r.baseline), err
}

// stampeded lets two keys be stormed: one by the clock alone, and one that is counted, for which the server has to tell MONITOR
// of each command, and so is slower.
func (s *session) stampeded(ctx context.Context, p *player[account], e *entrant, d *data[account], round int) error {
	runtime.GC()
	took, loads, err := s.rush(ctx, p, d, fmt.Sprintf("cold:%d", round))
	if err != nil {
		return err
	}
	var n counted
	if p.remote {
		if n, err = s.count(ctx, p.ns, func() error {
			_, _, err := s.rush(ctx, p, d, fmt.Sprintf("counted:%d", round))
			return err
		}); err != nil {
			return err
		}
		e.note("commands", n.sent)
		e.note("commands in scripts", n.scripted)
	}
	e.times = append(e.times, float64(took.Microseconds())/1000)
	e.note("loads", float64(loads))
	return nil
}

// rush lets all callers of all instances ask for key at once, and returns how long it took until the last was answered, and
// how many loads that took.
func (s *session) rush(ctx context.Context, p *player[account], d *data[account], key string) (time.Duration, int64, error) {
	var loads atomic.Int64
	load := func(ctx context.Context) (account, error) {
		loads.Add(1)
		return d.values[0], pass(ctx, s.o.sizes.load)
	}
	loaders := make([]peers.Loader[account], 0, len(p.caches))
	for _, cache := range p.caches {
		l, err := can[peers.Loader[account]](cache, errNoLoad)
		if err != nil {
			return 0, 0, err
		}
		loaders = append(loaders, l)
	}
	errs := make([]error, len(loaders)*s.o.sizes.callers)
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for i, l := range loaders {
		for j := range s.o.sizes.callers {
			ready.Add(1)
			done.Go(func() {
				ready.Done()
				<-start
				v, err := l.GetOrLoad(ctx, key, load)
				if err == nil && d.mark(v) != d.marks[0] {
					err = errWrong
				}
				errs[i*s.o.sizes.callers+j] = err
			})
		}
	}
	ready.Wait()
	began := time.Now()
	close(start)
	done.Wait()
	return time.Since(began), loads.Load(), firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
