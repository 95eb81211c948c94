package remote

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// On a Cluster the changes of a batch are made node by node, at the same time: a node that does not answer neither fails
// nor holds up what concerns the others. What was changed is announced when all nodes of a round have answered, one
// announcement for all that share it. A node that takes much longer than the first is not waited for: what the others
// have changed is announced by then, and once more when that node has answered, too.

// changeApart is changeMany on a Cluster.
func (s *Store) changeApart(ctx context.Context, op string, by together, changes []change, errs []error, done func(i int, rest []any)) {
	keys := make([]string, len(changes))
	for i, c := range changes {
		keys[i] = c.key
		if errs[i] == nil && c.a != nil && s.lanes != nil {
			errs[i] = s.unannounceable(ctx, op, s.announcing(c.a))
		}
	}
	var rounds [][]int
	single, groups := s.grouped(changes, errs)
	for _, portion := range s.portions(groups) {
		rounds = append(rounds, slices.Concat(portion...))
	}
	s.chunks(len(single), func(from, to int) { rounds = append(rounds, single[from:to]) })

	var portions []portion
	at := make(map[*breaker]int) // the order in which nodes are met
	for _, part := range rounds {
		r := &round{s: s, ctx: ctx, op: op, changes: changes}
		mine := s.byNode(ctx, keys, part)
		r.missing = len(mine)
		for _, p := range mine {
			if _, ok := at[p.node]; !ok {
				at[p.node] = len(at)
			}
			p.round = r
			portions = append(portions, p)
		}
	}
	slices.SortStableFunc(portions, func(a, b portion) int { return cmp.Compare(at[a.node], at[b.node]) })

	var mu sync.Mutex // guards errs, the announcements' ids, and what done does
	eachNode(portions, func(p portion) error {
		var arrived atomic.Bool
		out, err := call(ctx, s, p.node, op, true, func(ctx context.Context) ([]settled, error) {
			arrived.Store(true)
			out := s.settleEach(ctx, op, by.one, s.stepsOf(changes, p.part))
			met(ctx, outcomeOf(out))
			p.round.arrive(p.part, out)
			return out, outcomeOf(out)
		})
		if !arrived.Load() { // it was refused
			p.round.arrive(nil, nil)
		}
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.part {
			switch {
			case out == nil:
				errs[i] = err
			case out[j].err != nil:
				errs[i] = out[j].err
			default:
				if a := changes[i].a; a != nil {
					a.ID = max(a.ID, uint64(out[j].id))
					s.learnTime(out[j].id)
				}
				done(i, out[j].rest)
			}
		}
		return err
	}, func(p portion, err error) {
		p.round.arrive(nil, nil)
		err = unsent(op, err)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.part {
			errs[i] = err
		}
	})
}

// round is what the nodes of a Cluster change at the same time, and announce together.
type round struct {
	s       *Store
	ctx     context.Context //nolint:containedctx // the batch's, for what it carries
	op      string
	changes []change

	mu      sync.Mutex
	missing int // nodes that have not answered
	waiting []*arrival
	timer   *time.Timer
	over    bool // the rest is not waited for any more
}

// arrival is a node that has answered, and waits for its changes to be announced.
type arrival struct {
	part []int // the indexes of its changes
	out  []settled
	done chan struct{}
}

// defaultStraggler is how long the changes of a node wait for those of others, to be announced with them.
const defaultStraggler = 20 * time.Millisecond

// arrive notes that a node has answered, or is not asked, and returns when what it has changed is announced.
func (r *round) arrive(part []int, out []settled) {
	a := &arrival{part, out, make(chan struct{})}
	r.mu.Lock()
	r.missing--
	if len(part) > 0 {
		r.waiting = append(r.waiting, a)
	} else {
		close(a.done)
	}
	var ready []*arrival
	switch {
	case r.missing <= 0 || r.over:
		ready, r.waiting = r.waiting, nil
	case r.timer == nil && len(r.waiting) > 0:
		r.timer = time.AfterFunc(r.s.straggler, r.goOn)
	}
	r.mu.Unlock()
	r.announce(ready)
	<-a.done
}

// goOn announces without those that have not answered.
func (r *round) goOn() {
	r.mu.Lock()
	ready := r.waiting
	r.waiting, r.over = nil, true
	r.mu.Unlock()
	r.announce(ready)
}

// announce announces what these nodes have changed, or may have: in the order of the changes, and once what shares its
// announcement. No caller's end keeps it from that: others may hold what was there before.
func (r *round) announce(ready []*arrival) {
	type changed struct {
		i   int
		out *settled
	}
	var all []changed
	for _, a := range ready {
		for j, i := range a.part {
			if a.out[j].changed && r.changes[i].a != nil && r.s.lanes != nil {
				all = append(all, changed{i, &a.out[j]})
			}
		}
	}
	slices.SortFunc(all, func(a, b changed) int { return a.i - b.i })
	var calls []scriptCall
	var about [][]*settled // of each announcement, the changes that it is about
	told := make(map[*Announcement]int)
	for _, c := range all {
		a := r.changes[c.i].a
		g, ok := told[a]
		if !ok {
			g = len(calls)
			told[a], calls, about = g, append(calls, r.s.announcing(a)), append(about, nil)
		}
		about[g] = append(about[g], c.out)
	}
	if len(calls) > 0 {
		r.s.announceEach(context.WithoutCancel(r.ctx), calls, func(g int, v any, err error) {
			for _, out := range about[g] {
				out.announced(r.op, v, err)
			}
		})
	}
	lifts := make([]lifting, len(all))
	for n, c := range all {
		lifts[n] = lifting{r.changes[c.i].key, r.changes[c.i].stored, c.out}
	}
	r.s.lift(context.WithoutCancel(r.ctx), r.op, lifts)
	for _, a := range ready {
		close(a.done)
	}
}

// outcomeOf is what the breaker hears of a round trip: an outage if nothing else was met.
func outcomeOf(out []settled) error {
	for _, o := range out {
		if !isOutage(o.err) {
			return nil
		}
	}
	return out[0].err
}
