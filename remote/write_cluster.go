package remote

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// On a Cluster the changes of a batch are made on all nodes at the same time: a node that does not
// answer delays only its own keys. The changes are announced when all nodes have answered, with one
// announcement for all changes that share it. If a node takes much longer than the first one, the
// changes of the others are announced before, and its own when it has answered.

// writeManyOnCluster is writeMany on a Cluster.
func (s *Store) writeManyOnCluster(ctx context.Context, b *batchWrite) {
	keys := make([]string, len(b.plans))
	for i, p := range b.plans {
		keys[i] = p.key
		if b.errs[i] == nil && p.announcement != nil && s.lanes != nil {
			b.errs[i] = s.checkLaneServer(ctx, b.op, s.announceCall(p.announcement))
		}
	}
	var rounds [][]int
	single, groups := s.groupByAnnouncement(b)
	for _, part := range s.splitGroups(groups) {
		rounds = append(rounds, slices.Concat(part...))
	}
	s.eachChunk(len(single), func(from, to int) { rounds = append(rounds, single[from:to]) })

	var parts []batchPart
	order := make(map[*breaker]int) // of the nodes, as the keys come to them
	for _, indexes := range rounds {
		w := &clusterWrite{store: s, ctx: ctx, batch: b}
		nodes := s.splitByNode(ctx, keys, indexes)
		w.unanswered = len(nodes)
		for _, p := range nodes {
			if _, ok := order[p.node]; !ok {
				order[p.node] = len(order)
			}
			p.round = w
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, func(a, b batchPart) int { return cmp.Compare(order[a.node], order[b.node]) })

	var mu sync.Mutex // guards b.errs and the announcements' ids, and is held while b.done is called
	eachNode(parts, func(p batchPart) error {
		var asked atomic.Bool
		results, err := call(ctx, s, p.node, b.op, true, func(ctx context.Context) ([]writeResult, error) {
			asked.Store(true)
			results := s.runEachWrite(ctx, b, p.indexes)
			reportToBreaker(ctx, breakerError(results))
			p.round.add(p.indexes, results)
			return results, breakerError(results)
		})
		if !asked.Load() {
			p.round.add(nil, nil)
		}
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.indexes {
			switch {
			case results == nil:
				b.errs[i] = err
			case results[j].err != nil:
				b.errs[i] = results[j].err
			default:
				if a := b.plans[i].announcement; a != nil {
					a.ID = max(a.ID, uint64(results[j].id))
					s.learnServerTime(results[j].id)
				}
				b.done(i, results[j].rest)
			}
		}
		return err
	}, func(p batchPart, err error) {
		p.round.add(nil, nil)
		err = unsent(b.op, err)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.indexes {
			b.errs[i] = err
		}
	})
}

// clusterWrite is a set of changes that the nodes of a Cluster make at the same time and announce
// together.
type clusterWrite struct {
	store *Store
	ctx   context.Context //nolint:containedctx // the batch's, for its values
	batch *batchWrite

	mu         sync.Mutex
	unanswered int // nodes that have not answered
	waiting    []*nodeResult
	timer      *time.Timer
	late       bool // the nodes that have not answered are not waited for
}

// nodeResult is the result of a node whose changes wait to be announced.
type nodeResult struct {
	indexes []int // of its changes
	results []writeResult
	done    chan struct{} // closed when they are announced
}

// defaultStragglerWait is how long the changes of a node wait for those of other nodes, to be
// announced with them.
const defaultStragglerWait = 20 * time.Millisecond

// add adds the results of a node, or none for a node that is not asked. It returns when the node's
// changes are announced.
func (w *clusterWrite) add(indexes []int, results []writeResult) {
	n := &nodeResult{indexes, results, make(chan struct{})}
	w.mu.Lock()
	w.unanswered--
	if len(indexes) > 0 {
		w.waiting = append(w.waiting, n)
	} else {
		close(n.done)
	}
	var ready []*nodeResult
	switch {
	case w.unanswered <= 0 || w.late:
		ready, w.waiting = w.waiting, nil
	case w.timer == nil && len(w.waiting) > 0:
		w.timer = time.AfterFunc(w.store.stragglerWait, w.announceEarly)
	}
	w.mu.Unlock()
	w.announce(ready)
	<-n.done
}

// announceEarly announces the changes of the nodes that have answered.
func (w *clusterWrite) announceEarly() {
	w.mu.Lock()
	ready := w.waiting
	w.waiting, w.late = nil, true
	w.mu.Unlock()
	w.announce(ready)
}

// announce announces the changes that these nodes have made, or may have made, in the order of the
// changes, once for all that share an announcement. It goes on if the caller's context ends: other
// instances may hold copies from before the changes.
func (w *clusterWrite) announce(ready []*nodeResult) {
	type change struct {
		i      int
		result *writeResult
	}
	s, plans := w.store, w.batch.plans
	var changes []change
	for _, n := range ready {
		for j, i := range n.indexes {
			if n.results[j].changed && plans[i].announcement != nil && s.lanes != nil {
				changes = append(changes, change{i, &n.results[j]})
			}
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.i - b.i })
	var calls []luascript.Call
	var results [][]*writeResult // of the changes of each call
	callOf := make(map[*Announcement]int)
	for _, c := range changes {
		a := plans[c.i].announcement
		g, ok := callOf[a]
		if !ok {
			g = len(calls)
			callOf[a], calls, results = g, append(calls, s.announceCall(a)), append(results, nil)
		}
		results[g] = append(results[g], c.result)
	}
	ctx := context.WithoutCancel(w.ctx)
	if len(calls) > 0 {
		s.announceEach(ctx, calls, func(g int, v any, err error) {
			for _, r := range results[g] {
				r.setAnnouncement(w.batch.op, v, err)
			}
		})
	}
	stamped := make([]stampedWrite, len(changes))
	for n, c := range changes {
		stamped[n] = stampedWrite{plans[c.i].key, plans[c.i].record, c.result}
	}
	s.raiseStamps(ctx, w.batch.op, stamped)
	for _, n := range ready {
		close(n.done)
	}
}

// breakerError returns the result that is reported to the breaker: an outage only if every change
// met one.
func breakerError(results []writeResult) error {
	for _, r := range results {
		if !isOutage(r.err) {
			return nil
		}
	}
	return results[0].err
}
