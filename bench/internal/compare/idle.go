package compare

import (
	"context"
	"runtime"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// idles are instances that nobody uses: what they have running, and what they ask of the server. Each is alone meanwhile.
func (s *session) idles() *group {
	seen := make(map[string]idleness) // by subject: one watch gives both rows
	one := func(name, unit string, value func(idleness) float64) *row {
		return &row{group: "idle", name: name, unit: unit, measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
			return s.idleRow(ctx, r, seen, value)
		}}
	}
	return &group{rows: []*row{
		one("goroutines of an instance", goroutines, func(i idleness) float64 { return i.goroutines }),
		one("commands a second of an instance", commandsPerSecond, func(i idleness) float64 { return i.commands }),
	}}
}

type idleness struct {
	goroutines, commands float64
	missing              string
}

func (s *session) idleRow(ctx context.Context, r *row, seen map[string]idleness, value func(idleness) float64) ([]result.Cell, error) {
	var cells []result.Cell
	for i, subject := range s.accounts.subjects {
		name := subject.Info.Name
		if !s.takesPart(name, nil) {
			continue
		}
		idle, ok := seen[name]
		if !ok {
			var err error
			if idle, err = s.watchIdle(ctx, i); err != nil {
				if ctx.Err() != nil {
					return cells, ctx.Err()
				}
				idle.missing = err.Error()
			}
			seen[name] = idle
		}
		cell := result.Cell{Subject: name, Missing: idle.missing}
		if idle.missing == "" {
			cell.Value = result.SpreadOf([]float64{value(idle)})
		}
		cells = append(cells, cell)
		s.tell(r, float64(i+1)/float64(len(s.accounts.subjects)))
	}
	return cells, nil
}

// watchIdle opens one subject and leaves it alone.
func (s *session) watchIdle(ctx context.Context, subject int) (idle idleness, err error) {
	const settling = 200 * time.Millisecond // connections are made, goroutines that only begin are gone
	if _, err := s.calls(ctx); err != nil { // the counting connection is there before
		return idle, err
	}
	before := runtime.NumGoroutine()
	st := &stage[account]{s: s, b: &bench[account]{subjects: s.accounts.subjects[subject : subject+1]}, local: true, any: true, entries: int64(s.o.sizes.keys)}
	defer func() {
		if e := st.close(context.WithoutCancel(ctx)); err == nil {
			err = e
		}
	}()
	if err := st.ready(ctx); err != nil {
		return idle, err
	}
	if p := st.players[0]; p.missing != "" {
		return idleness{missing: p.missing}, nil
	}
	if err := pass(ctx, settling); err != nil {
		return idle, err
	}
	var watched time.Duration
	began := time.Now()
	n, err := s.count(ctx, st.players[0].ns, func() error {
		err := pass(ctx, s.o.sizes.idle)
		watched = time.Since(began)
		return err
	})
	if err != nil {
		return idle, err
	}
	idle.goroutines = float64(runtime.NumGoroutine() - before)
	idle.commands = hundredths(n.sent / watched.Seconds())
	return idle, nil
}
