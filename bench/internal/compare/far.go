package compare

import (
	"context"
	"errors"
	"fmt"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// batch is how many keys are read in one call.
const batch = 100

// remoteFloor is how many commands a remote hit has to make the server run: callers who want the same key at the same time may share
// one, which is rare among these keys. What is less is served locally.
const remoteFloor = 0.9

// remoteReads are reads without a local tier: one key at a time, and many.
func (s *session) remoteReads() *group {
	var rows []*row
	var closers []func(context.Context) error
	structs, data := remoteStage(s, &s.accounts)
	closers = append(closers, structs.close)
	for _, operation := range []string{"get", "get-or-load"} {
		for _, callers := range []int{2, 32} {
			rows = append(rows, remoteHit(structs, data, operation, "struct", callers))
		}
	}
	blobs, blobData := remoteStage(s, &s.blobs)
	closers = append(closers, blobs.close)
	for _, callers := range []int{2, 32} {
		rows = append(rows, remoteHit(blobs, blobData, "get", "1 KiB", callers))
	}
	for _, callers := range []int{1, 2} {
		rows = append(rows, &row{
			group: "100 keys", name: fmt.Sprintf("get many, struct, %s", callersOf(callers)), unit: nanos, baseline: raw,
			measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
				return structs.compete(ctx, r, callers, func(p *player[peers.Account], e *entrant) error {
					m, err := can[peers.ManyGetter[peers.Account]](p.cache(), errNoMany)
					e.do, e.watch, e.floors = data().many(m, batch), s.watchCommands, map[string]float64{commandsRunPerOp: remoteFloor}
					return err
				})
			},
		})
	}
	return &group{rows: rows, close: closeAll(closers...)}
}

// remoteStage is one without local tiers; what it is filled with is made when it is wanted.
func remoteStage[V any](s *session, b *bench[V]) (*stage[V], func() *data[V]) {
	d := lazily(func() *data[V] { return b.data("remote", s.o.sizes.remote) })
	return &stage[V]{
		s: s, b: b, baselines: []string{raw}, remote: true, entries: int64(s.o.sizes.remote),
		fill: func(ctx context.Context, p *player[V]) error { return d().fill(ctx, p) },
	}, d
}

// remoteHit reads what is in the remote tier. Its context can be cancelled, as that of a request can.
func remoteHit[V any](st *stage[V], d func() *data[V], operation, kind string, callers int) *row {
	return &row{
		group: "remote hit", name: fmt.Sprintf("%s, %s, %s", operation, kind, callersOf(callers)), unit: nanos, baseline: raw,
		measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
			seq := pattern(uniform, allOf(st.s.o.sizes.remote), 0, st.s.o.Seed)
			return st.compete(ctx, r, callers, func(p *player[V], e *entrant) error {
				e.watch, e.floors = st.s.watchCommands, map[string]float64{commandsRunPerOp: remoteFloor}
				if operation == "get" {
					g, err := can[peers.Getter[V]](p.cache(), errNoGet)
					e.do = d().gets(g, seq)
					return err
				}
				l, err := can[peers.Loader[V]](p.cache(), errNoLoad)
				e.do = d().loads(l, seq)
				return err
			})
		},
	}
}

// compete opens the stage and lets its players do a row's work.
func (st *stage[V]) compete(ctx context.Context, r *row, callers int, task func(*player[V], *entrant) error) ([]result.Cell, error) {
	if err := st.ready(ctx); err != nil {
		return nil, err
	}
	c := st.s.contest(r, callers, st.entrants(task))
	c.perSec = r.more
	err := c.run(ctx)
	return c.cells(r.baseline), err
}

// lazily makes something when it is first wanted.
func lazily[T any](create func() T) func() T {
	var made bool
	var v T
	return func() T {
		if !made {
			made, v = true, create()
		}
		return v
	}
}

func closeAll(closers ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c(ctx))
		}
		return errors.Join(errs...)
	}
}
