package compare

import (
	"context"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

// commands counts what operations ask of the server, one after the other.
func (s *session) commands() *group {
	const name = "commands"
	whole, data := wholeStage(s)
	remote, remoteData := remoteStage(s, &s.accounts)
	whole.baselines, remote.baselines = nil, nil
	var rows []*row
	add := func(what string, st *stage[account], task func(p *player[account], e *entrant) error) {
		rows = append(rows, &row{group: name, name: what, unit: commandsPerOp, measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
			return s.countRow(ctx, r, st, task)
		}})
	}
	add("get that hits remotely", remote, func(p *player[account], e *entrant) error {
		g, err := can[peers.Getter[account]](p.cache(), errNoGet)
		e.do = remoteData().gets(g, pattern(uniform, allOf(s.o.sizes.remote), 0, s.o.Seed))
		return err
	})
	add("get of 100 keys that are remote", remote, func(p *player[account], e *entrant) error {
		m, err := can[peers.ManyGetter[account]](p.cache(), errNoMany)
		e.do = remoteData().many(m, batch)
		return err
	})
	add("get-or-load that loads", whole, func(p *player[account], e *entrant) error {
		return missing(p, e, data(), &fresh{prefix: "miss"})
	})
	add("set", whole, func(p *player[account], e *entrant) error {
		w, err := can[peers.Setter[account]](p.cache(), errNoSet)
		e.do = data().sets(w, pattern(uniform, allOf(s.o.sizes.remote), 0, s.o.Seed))
		return err
	})
	add("delete", whole, func(p *player[account], e *entrant) error {
		return deleting(p, e, data(), &fresh{prefix: "delete"})
	})
	return &group{rows: rows, close: closeAll(whole.close, remote.close)}
}

// countRow lets each player do its work once to warm up, which loads scripts, and then counts.
func (s *session) countRow(ctx context.Context, r *row, st *stage[account], task func(*player[account], *entrant) error) ([]result.Cell, error) {
	if err := st.ready(ctx); err != nil {
		return nil, err
	}
	n := s.o.sizes.operations
	players := make(map[*entrant]*player[account])
	c := s.contest(r, 1, st.entrants(func(p *player[account], e *entrant) error {
		players[e] = p
		return task(p, e)
	}))
	c.rounds = 1 // commands are the same every time
	c.once = func(ctx context.Context, e *entrant, round int) error {
		if _, err := c.work(ctx, e, calibration, 1); err != nil {
			return err
		}
		if e.prepare != nil {
			if err := e.prepare(ctx, round, 1, n); err != nil {
				return err
			}
		}
		counted, err := s.count(ctx, players[e].ns, func() error { return e.do(ctx, round, 0, n) })
		if err != nil {
			return err
		}
		e.times = append(e.times, hundredths(counted.sent/float64(n)))
		if counted.scripted > 0 {
			e.note("in scripts", counted.scripted/float64(n))
		}
		return nil
	}
	err := c.run(ctx)
	return c.cells(r.baseline), err
}
