package compare

import (
	"context"
	"errors"
	"fmt"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

type account = peers.Account

var errLateWrite = errors.New("it writes to Redis only by a load, and at a time of its own: there is nothing to delete yet")

// changes are what writes: misses that load, sets and deletes, of subjects as they are, with both tiers where they have them.
func (s *session) changes() *group {
	st, data := wholeStage(s)
	st.baselines = []string{raw}
	var rows []*row
	add := func(group, name string, task func(p *player[account], e *entrant) error) {
		for _, callers := range []int{2, 32} {
			rows = append(rows, &row{
				group: group, name: fmt.Sprintf("%s, %s", name, callersOf(callers)), unit: nanos, baseline: raw,
				measure: func(ctx context.Context, r *row) ([]result.Cell, error) { return st.compete(ctx, r, callers, task) },
			})
		}
	}
	kept := make(map[*player[account]]*fresh) // over rows, so that keys stay fresh
	freshOf := func(p *player[account]) *fresh {
		if kept[p] == nil {
			kept[p] = &fresh{prefix: "fresh"}
		}
		return kept[p]
	}
	add("full miss", "get-or-load, struct", func(p *player[account], e *entrant) error { return missing(p, e, data(), freshOf(p)) })
	add("set", "struct", func(p *player[account], e *entrant) error {
		w, err := can[peers.Setter[account]](p.cache(), errNoSet)
		e.do = data().sets(w, pattern(uniform, allOf(s.o.sizes.remote), 0, s.o.Seed))
		return err
	})
	add("delete", "struct", func(p *player[account], e *entrant) error { return deleting(p, e, data(), freshOf(p)) })
	return &group{rows: rows, close: st.close}
}

// wholeStage is one with both tiers.
func wholeStage(s *session) (*stage[account], func() *data[account]) {
	return &stage[account]{s: s, b: &s.accounts, local: true, remote: true, entries: 2 * int64(s.o.sizes.keys)},
		lazily(func() *data[account] { return s.accounts.data("change", s.o.sizes.remote) })
}

// missing makes an entrant of full misses.
func missing(p *player[account], e *entrant, d *data[account], f *fresh) error {
	l, err := can[peers.Loader[account]](p.cache(), errNoLoad)
	e.do = d.misses(l, f)
	e.prepare = func(_ context.Context, _, callers, n int) error {
		f.next(callers * n)
		return nil
	}
	return err
}

// deleting makes an entrant of deletes, of entries that exist.
func deleting(p *player[account], e *entrant, d *data[account], f *fresh) error {
	del, err := can[peers.Deleter](p.cache(), errNoDelete)
	if err != nil {
		return err
	}
	w, err := can[peers.Setter[account]](p.cache(), errLateWrite)
	e.do = deletes(del, f)
	e.prepare = func(ctx context.Context, _, callers, n int) error {
		f.next(callers * n)
		err := each(ctx, fillers, len(f.keys), func(i int) error { return w.Set(ctx, f.keys[i], d.values[0]) })
		settle(p.cache())
		return err
	}
	return err
}
