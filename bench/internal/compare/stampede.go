package compare

import (
	"context"
	"fmt"
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
	st.any, st.copies = true, instances // without a far tier there is a load for each instance, if all goes well
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
	c.once = func(ctx context.Context, e *entrant, round int) error {
		return s.rush(ctx, players[e], e, d, fmt.Sprintf("cold:%d", round))
	}
	err := c.run(ctx)
	return c.cells(r.baseline), err
}

// rush lets all callers of all instances ask for key.
func (s *session) rush(ctx context.Context, p *player[account], e *entrant, d *data[account], key string) error {
	var loads atomic.Int64
	load := func(ctx context.Context) (account, error) {
		loads.Add(1)
		return d.values[0], pass(ctx, s.o.sizes.load)
	}
	var took time.Duration
	n, err := s.count(ctx, p.ns, func() error {
		errs := make([]error, len(p.caches)*s.o.sizes.callers)
		start := make(chan struct{})
		var ready, done sync.WaitGroup
		for i, cache := range p.caches {
			l, err := can[peers.Loader[account]](cache, errNoLoad)
			if err != nil {
				return err
			}
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
		took = time.Since(began)
		return firstOf(errs)
	})
	if err != nil {
		return err
	}
	e.times = append(e.times, float64(took.Microseconds())/1000)
	e.note("loads", float64(loads.Load()))
	if p.far {
		e.note("commands", n.sent)
		e.note("commands in scripts", n.scripted)
	}
	return nil
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
