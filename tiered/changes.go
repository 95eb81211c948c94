package tiered

import (
	"context"

	"github.com/doppio-cache/doppio/remote"
)

// changing makes the changes of one kind, Set or Delete, of one lane. Those that are made together are one script with one message for
// all of their keys, so that every other instance, too, has less to do.
type changing struct {
	combining[order]
	op string
	// one makes one change with its caller's context, many makes several that share their announcement.
	one  func(ctx context.Context, o *order, a *remote.Announcement) (bool, error)
	many func(ctx context.Context, group []*combined[order], a *remote.Announcement) ([]bool, []error)
}

// order is one change, and what became of it.
type order struct {
	key    string
	record *remote.Record // of a Set
	floor  uint64         // of a Delete

	ctx  context.Context //nolint:containedctx // its caller's, for what it carries, not for its end
	lane int
	hash uint64

	news  news // guarded by combining.mu until the change was made
	found bool
	err   error
}

// largeRecord is from when on a record is sent alone. It gains nothing by company, and the smaller ones would wait for it; of those,
// maxTogether are 1 MiB at most, which Redis takes in one script.
const largeRecord = 16 << 10

func large(r *remote.Record) bool { return r != nil && len(r.Payload) >= largeRecord }

func newChanging(c *Client, op string) *changing {
	b := &changing{op: op}
	b.client, b.most = c, maxTogether
	b.leave = func(group []*combined[order]) {
		hashes := make([]uint64, len(group))
		for i, w := range group {
			hashes[i] = w.call.hash
		}
		shared := c.co.publish(group[0].call.lane, hashes...)
		for _, w := range group {
			w.call.news = shared
		}
	}
	b.fly = func(group []*combined[order]) {
		// Whoever leaves, the others stay: it ends by the far tier's own timeout.
		ctx := remote.Stay(context.WithoutCancel(group[0].call.ctx))
		found, errs := b.many(ctx, group, group[0].call.news.told)
		for i, w := range group {
			w.call.found, w.call.err = found[i], errs[i]
		}
	}
	b.refuse = func(o *order) { o.err = ErrClosed }
	return b
}

// newSets and newDeletes give what makes changes, for each lane.
func newSets(c *Client) []*changing {
	all := make([]*changing, c.opts.Lanes)
	for i := range all {
		all[i] = newChanging(c, "set")
		all[i].one = func(ctx context.Context, o *order, a *remote.Announcement) (bool, error) {
			return false, c.far.Set(ctx, o.key, o.record, a)
		}
		all[i].many = func(ctx context.Context, group []*combined[order], a *remote.Announcement) ([]bool, []error) {
			writes := make([]remote.Write, len(group))
			for i, w := range group {
				writes[i] = remote.Write{Key: w.call.key, Record: w.call.record, Announcement: a}
			}
			return make([]bool, len(group)), c.far.SetMany(ctx, writes)
		}
	}
	return all
}

func newDeletes(c *Client) []*changing {
	all := make([]*changing, c.opts.Lanes)
	for i := range all {
		all[i] = newChanging(c, "delete")
		all[i].one = func(ctx context.Context, o *order, a *remote.Announcement) (bool, error) {
			return c.far.Delete(ctx, o.key, o.floor, a)
		}
		all[i].many = func(ctx context.Context, group []*combined[order], a *remote.Announcement) ([]bool, []error) {
			deletions := make([]remote.Deletion, len(group))
			for i, w := range group {
				deletions[i] = remote.Deletion{Key: w.call.key, Floor: w.call.floor, Announcement: a}
			}
			return c.far.DeleteMany(ctx, deletions)
		}
	}
	return all
}

// make makes a change, and gives m its news. The caller may leave with ctx: what was not sent by then is not made.
func (b *changing) make(ctx context.Context, m *mutation, o order) (bool, error) {
	if !b.client.far.OneStep() || large(o.record) { // keys lie on several servers, of which one may be down
		m.news = b.client.co.publish(m.lane, m.hash)
		return b.one(ctx, &o, m.told)
	}
	if p, ok := b.alone(); ok {
		defer b.land(p)
		m.news = b.client.co.publish(m.lane, m.hash)
		return b.one(ctx, &o, m.told)
	}
	if ctx.Err() != nil {
		return false, remote.Left(ctx, b.op, false)
	}
	o.ctx, o.lane, o.hash = ctx, m.lane, m.hash
	ended := b.client.far.Joined(ctx, b.op)
	w, made, sent := b.join(ctx, o)
	m.news = w.call.news // it is not given any more: either it was sent, or it waits no longer
	if !made {
		err := remote.Left(ctx, b.op, sent)
		ended(err)
		return false, err
	}
	ended(w.call.err)
	return w.call.found, w.call.err
}
