package compare

import (
	"context"
	"fmt"
	"runtime"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// localLimit is how many reads of Redis a local hit may cost: one key of a thousand may have to come local yet.
const localLimit = 0.001

const localHit = "local hit"

// localHits are reads of what is local.
func (s *session) localHits() *group {
	structs := newLocal(s, &s.accounts, "struct")
	blobs := newLocal(s, &s.blobs, "1 KiB")
	return &group{
		rows:  append(structs.rows(), blobs.rows()...),
		close: closeAll(structs.stage.close, blobs.stage.close),
	}
}

type local[V any] struct {
	s     *session
	kind  string
	stage *stage[V]
	data  *data[V]
	held  []uint32 // by all
}

func newLocal[V any](s *session, b *bench[V], kind string) *local[V] {
	l := &local[V]{s: s, kind: kind}
	l.stage = &stage[V]{s: s, b: b, baselines: []string{ristretto}, local: true, entries: 2 * int64(s.o.sizes.keys)}
	lost := make(map[uint32]bool)
	l.stage.fill = func(ctx context.Context, p *player[V]) error {
		if l.data == nil {
			l.data = b.data("account", s.o.sizes.keys)
		}
		missing, err := l.data.fillLocal(ctx, s, p)
		for i := range missing {
			lost[i] = true
		}
		l.held = l.held[:0]
		for _, i := range allOf(len(l.data.keys)) {
			if !lost[i] {
				l.held = append(l.held, i)
			}
		}
		return err
	}
	return l
}

func (l *local[V]) rows() []*row {
	cores := runtime.GOMAXPROCS(0)
	var rows []*row
	for _, operation := range []string{"get", "get-or-load"} {
		for _, keys := range []string{zipf, uniform, hot} {
			for _, callers := range []int{1, cores} {
				rows = append(rows, &row{
					group: localHit, name: fmt.Sprintf("%s, %s, %s, %s", operation, l.kind, keys, callersOf(callers)), unit: nanos, baseline: ristretto,
					measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
						return l.measure(ctx, r, operation, keys, callers)
					},
				})
				if cores == 1 {
					break
				}
			}
		}
	}
	return rows
}

func (l *local[V]) measure(ctx context.Context, r *row, operation, keys string, callers int) ([]result.Cell, error) {
	if err := l.stage.ready(ctx); err != nil { // before its data is looked at
		return nil, err
	}
	var seq []uint32
	if len(l.held) > 1 {
		seq = pattern(keys, l.held, l.s.o.sizes.hot, l.s.o.Seed)
	}
	return l.stage.compete(ctx, r, callers, func(p *player[V], e *entrant) error {
		e.watch, e.limits = l.s.watchReads, map[string]float64{readsPerOp: localLimit}
		if operation == "get" {
			g, err := can[peers.Getter[V]](p.cache(), errNoGet)
			e.do = l.data.gets(g, seq)
			return err
		}
		load, err := can[peers.Loader[V]](p.cache(), errNoLoad)
		e.do = l.data.loads(load, seq)
		return err
	})
}

// Units.
const (
	nanos             = "ns/op"
	goroutines        = "goroutines"
	commandsPerSecond = "commands/s"
)

// Baselines.
const (
	ristretto = "ristretto"
	raw       = "go-redis+json/v2"
	byHand    = "by hand"
)

func callersOf(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprintf("%d callers", n)
}
