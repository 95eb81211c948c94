package compare

import (
	"context"
	"sync/atomic"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// loadsPerOp tells who did not have what was read: of all operations, writes too.
const loadsPerOp = "loads/op"

// mixes are reads and writes together, as a service makes them.
func (s *session) mixes() *group {
	const callers = 16
	data := lazily(func() *data[account] { return s.accounts.data("mix", s.o.sizes.keys) })
	st, _ := wholeStage(s)
	st.baselines = []string{byHand}
	st.fill = func(ctx context.Context, p *player[account]) error {
		_, err := data().fillLocal(ctx, s, p) // all begin with as much local: what they lose later, they load
		return err
	}
	return &group{close: st.close, rows: []*row{{
		group: "95/5 mix", name: "95 % get-or-load, 5 % set, struct, zipf, 16 callers", unit: "ops/s", more: true, baseline: byHand,
		measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
			seq := pattern(zipf, allOf(s.o.sizes.keys), 0, s.o.Seed)
			return st.compete(ctx, r, callers, func(p *player[account], e *entrant) error {
				l, err := can[peers.Loader[account]](p.cache(), errNoLoad)
				if err != nil {
					return err
				}
				w, err := can[peers.Setter[account]](p.cache(), errNoSet)
				var loads atomic.Int64
				e.do = data().mix(l, w, seq, &loads)
				e.watch = func(ctx context.Context) (map[string]float64, error) {
					watched, err := s.watchCommands(ctx)
					if err == nil {
						watched[loadsPerOp] = float64(loads.Load())
					}
					return watched, err
				}
				return err
			})
		},
	}}}
}
