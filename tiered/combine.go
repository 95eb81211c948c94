package tiered

import (
	"context"
	"slices"
	"sync"

	"github.com/doppio-cache/doppio/remote"
)

// combiner makes the changes of one kind, Set or Delete, that callers ask for at the same time. Each is made by its caller as long
// as few are under way in its lane. What is asked for meanwhile waits until one of those is done, and is then made together: one script, one
// message for all of their keys. So nobody waits who need not, and the more callers there are, the less each change costs this
// instance, Redis, and every other instance, which hears of many changes at once.
type combiner struct {
	client *Client
	op     string
	// one makes one change with its caller's context, many makes several that share their announcement.
	one  func(ctx context.Context, o order, a *remote.Announcement) (bool, error)
	many func(ctx context.Context, all []order, a *remote.Announcement) ([]bool, []error)

	lanes []combining
}

// combining is what is under way in one lane.
type combining struct {
	mu      sync.Mutex
	flights int       // under way; guarded by mu
	waiting []*waiter // guarded by mu
	crowded bool      // several waited when the last flight landed; guarded by mu
}

// maxFlights is how many changes of a kind and lane are made at the same time, before others wait to be made together. It is for few
// callers, who would take turns otherwise; when there are many, one flight at a time carries most of them.
const maxFlights = 2

// order is one change.
type order struct {
	key    string
	record *remote.Record // of a Set
	floor  uint64         // of a Delete
}

// waiter is a change that is to be made together with others.
type waiter struct {
	order order
	hash  uint64
	ctx   context.Context //nolint:containedctx // its caller's, for what it carries, not for its end
	done  chan struct{}

	sent  bool  // guarded by combining.mu until done is closed
	news  news  // likewise
	found bool  // the flight's own until done is closed
	err   error // likewise
}

func (c *Client) combineSets() *combiner {
	return &combiner{
		client: c, op: "set", lanes: make([]combining, c.opts.Lanes),
		one: func(ctx context.Context, o order, a *remote.Announcement) (bool, error) {
			return false, c.far.Set(ctx, o.key, o.record, a)
		},
		many: func(ctx context.Context, all []order, a *remote.Announcement) ([]bool, []error) {
			writes := make([]remote.Write, len(all))
			for i, o := range all {
				writes[i] = remote.Write{Key: o.key, Record: o.record, Announcement: a}
			}
			return make([]bool, len(all)), c.far.SetMany(ctx, writes)
		},
	}
}

func (c *Client) combineDeletes() *combiner {
	return &combiner{
		client: c, op: "delete", lanes: make([]combining, c.opts.Lanes),
		one: func(ctx context.Context, o order, a *remote.Announcement) (bool, error) {
			return c.far.Delete(ctx, o.key, o.floor, a)
		},
		many: func(ctx context.Context, all []order, a *remote.Announcement) ([]bool, []error) {
			deletions := make([]remote.Deletion, len(all))
			for i, o := range all {
				deletions[i] = remote.Deletion{Key: o.key, Floor: o.floor, Announcement: a}
			}
			return c.far.DeleteMany(ctx, deletions)
		},
	}
}

// make makes a change, and gives m its news. The caller may leave with ctx: what was not sent by then is not made.
func (b *combiner) make(ctx context.Context, m *mutation, o order) (bool, error) {
	l := &b.lanes[m.lane]
	l.mu.Lock()
	if l.flights == 0 || l.flights < maxFlights && !l.crowded {
		l.flights++
		l.mu.Unlock()
		defer b.landed(m.lane)
		m.news = b.client.co.publish(m.lane, m.hash)
		return b.one(ctx, o, m.told)
	}
	w := &waiter{order: o, hash: m.hash, ctx: ctx, done: make(chan struct{})}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	ended := b.client.far.Joined(ctx, b.op)
	found, err := l.await(ctx, w, b.op)
	ended(err)
	m.news = w.news // it is not given any more: either it was sent, or it waits no longer
	return found, err
}

func (l *combining) await(ctx context.Context, w *waiter, op string) (bool, error) {
	select {
	case <-w.done:
		return w.found, w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.sent {
		l.waiting = slices.DeleteFunc(l.waiting, func(other *waiter) bool { return other == w })
	}
	return false, remote.Left(ctx, op, w.sent)
}

// landed ends a flight, and begins the next if anybody waits.
func (b *combiner) landed(lane int) {
	l := &b.lanes[lane]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crowded = len(l.waiting) > 1 || l.crowded && l.flights > 1
	if len(l.waiting) == 0 {
		l.flights--
		return
	}
	if !b.client.start() {
		for _, w := range l.waiting {
			w.err = ErrClosed
			close(w.done)
		}
		l.waiting = nil
		l.flights--
		return
	}
	n := min(len(l.waiting), together)
	group := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	hashes := make([]uint64, n)
	for i, w := range group {
		hashes[i] = w.hash
	}
	shared := b.client.co.publish(lane, hashes...)
	for _, w := range group {
		w.sent, w.news = true, shared
	}
	go b.fly(lane, group, shared)
}

// fly makes changes together.
func (b *combiner) fly(lane int, group []*waiter, shared news) {
	defer b.client.running.Done()
	orders := make([]order, len(group))
	for i, w := range group {
		orders[i] = w.order
	}
	// Whoever leaves, the others stay: it ends by the far tier's own timeout.
	ctx := remote.Stay(context.WithoutCancel(group[0].ctx))
	found, errs := b.many(ctx, orders, shared.told)
	b.landed(lane)
	for i, w := range group {
		w.found, w.err = found[i], errs[i]
		close(w.done)
	}
}
