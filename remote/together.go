package remote

import (
	"context"
	"errors"
	"slices"
)

// Changes that share one Announcement are made together: on one server by one script, with one message for all of their
// keys. That is what makes a batch cheap for Redis and for every other instance, which else gets a message for each key.
// Each change is still one step by itself, and on a Cluster they are made one by one.

// together are the scripts for changes of one kind: for one of them, and for many with one announcement.
type together struct{ one, many script }

var (
	setting  = together{scriptSet, scriptSetAll}
	deleting = together{scriptDelete, scriptDeleteAll}
)

// grouped gives the indexes of changes without an error: of single ones, and of groups of those that share their announcement.
func (s *Store) grouped(changes []change, errs []error) (single []int, groups [][]int) {
	part := make([]int, 0, len(changes))
	for i, err := range errs {
		if err == nil {
			part = append(part, i)
		}
	}
	for len(part) > 0 {
		n := 1
		if a := changes[part[0]].a; a != nil && s.lanes != nil {
			for n < len(part) && changes[part[n]].a == a {
				n++
			}
		}
		if n == 1 {
			single = append(single, part[0])
		} else {
			groups = append(groups, part[:n])
		}
		part = part[n:]
	}
	return single, groups
}

// changeTogether makes changes that share an announcement.
func (s *Store) changeTogether(ctx context.Context, op string, by together, changes []change, group []int, errs []error, done func(i int, rest []any)) {
	a := changes[group[0]].a
	s.conclude(ctx, op, changes, group, errs, done, func(ctx context.Context) []settled {
		if s.masters != nil {
			return s.settleApart(ctx, op, by.one, changes, group, a)
		}
		return s.settleTogether(ctx, op, by.many, changes, group, a)
	})
}

// settleTogether is one script for all. What becomes of it becomes of each.
func (s *Store) settleTogether(ctx context.Context, op string, many script, changes []change, group []int, a *Announcement) []settled {
	l := s.lanes[a.Lane]
	c := scriptCall{keys: make([]string, 1, 1+len(group)), args: make([]any, 2, 3+2*len(group))}
	c.keys[0], c.args[0], c.args[1] = l.Stream, l.Channel, a.Message
	for _, i := range group {
		c.keys = append(c.keys, changes[i].key)
		c.args = append(c.args, changes[i].args...)
	}
	c.args = append(c.args, noDeadline)
	c = s.by(ctx, op, c)
	v, err := many.run(ctx, s.rdb, c.keys, c.args...)
	if s.clock.late(err) && ctx.Err() == nil {
		c = s.by(ctx, op, c)
		v, err = many.run(ctx, s.rdb, c.keys, c.args...)
	}
	all := settle(op, v, err)
	out := make([]settled, len(group))
	for j := range out {
		out[j] = all
		switch {
		case all.err != nil, len(all.rest) == 0:
		case len(all.rest) == len(group):
			out[j].rest = all.rest[j : j+1]
		default:
			out[j].err = &Error{Op: op, Err: errors.New("reply of another length than the request"), kinds: []error{ErrUnknownOutcome}}
		}
	}
	return out
}

// settleApart is a round trip with a script for each, and one more with the announcement of all that have changed something, or
// may have.
func (s *Store) settleApart(ctx context.Context, op string, one script, changes []change, group []int, a *Announcement) []settled {
	all := make([]steps, len(group))
	for j, i := range group {
		all[j] = s.steps(change{key: changes[i].key, args: changes[i].args})
	}
	out := s.settleMany(ctx, op, one, all)
	if !slices.ContainsFunc(out, func(o settled) bool { return o.changed }) {
		return out
	}
	step := s.announcing(a)
	v, err := scriptAnnounce.run(ctx, s.rdb, step.keys, step.args...)
	for j := range out {
		if out[j].changed {
			out[j].announced(op, v, err)
		}
	}
	return out
}

// Left is the error of a change whose caller, whose context has ended, waits for it no longer: it was not sent, or nobody knows
// what becomes of it.
func Left(ctx context.Context, op string, sent bool) error { return abandoned(ctx, op, sent) }

// Joined makes the span of a change that is made together with other callers', by a round trip with a span of its own. The
// function it gives ends it.
func (s *Store) Joined(ctx context.Context, op string) (ended func(error)) {
	_, span := s.tracer.start(ctx, op)
	return span.end
}
