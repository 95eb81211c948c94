package remote

import (
	"context"
	"errors"
)

// Changes that share one Announcement are made together: on one server by one script, with one message for all of their
// keys. That is what makes a batch cheap for Redis and for every other instance, which else gets a message for each key.
// Each change is still one step by itself, and on a Cluster they are made one by one.

// together are the scripts for changes of one kind: for one of them, and for many with one announcement.
type together struct{ one, many script }

var (
	setting  = together{scriptSet, scriptSetAll}
	deleting = together{scriptDelete, scriptDeleteAll}
	retiring = together{one: scriptRetire} // each has an announcement of its own, made only if the record is there
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

// portions divides groups among round trips. A group is divided only if it is larger than one.
func (s *Store) portions(groups [][]int) (out [][][]int) {
	room := 0
	for _, group := range groups {
		s.chunks(len(group), func(from, to int) {
			if part := group[from:to]; len(part) <= room {
				out[len(out)-1] = append(out[len(out)-1], part)
				room -= len(part)
			} else {
				out = append(out, [][]int{part})
				room = s.opts.BatchSize - len(part)
			}
		})
	}
	return out
}

// settleTogether is one script for each group. What becomes of it becomes of each of its changes.
func (s *Store) settleTogether(ctx context.Context, op string, many script, changes []change, groups [][]int) []settled {
	calls := make([]scriptCall, len(groups))
	for g, group := range groups {
		a := changes[group[0]].a
		l := s.lanes[a.Lane]
		c := scriptCall{keys: make([]string, 2, 2+len(group)), args: make([]any, 2, 3+2*len(group))}
		c.keys[0], c.keys[1], c.args[0], c.args[1] = l.Stream, l.Floors, l.Channel, a.Message
		for _, i := range group {
			c.keys = append(c.keys, changes[i].key)
			c.args = append(c.args, changes[i].args...)
		}
		c.args = append(c.args, noDeadline)
		calls[g] = s.by(ctx, op, c)
	}
	var out []settled
	for g, c := range s.inTime(ctx, op, calls, many.all) {
		v, err := c.Result()
		all := settle(ctx, op, v, err)
		for j := range groups[g] {
			o := all
			switch {
			case all.err != nil, len(all.rest) == 0:
			case len(all.rest) == len(groups[g]):
				o.rest = all.rest[j : j+1]
			default:
				o.err = &Error{Op: op, Err: errors.New("reply of another length than the request"), kinds: []error{ErrUnknownOutcome}}
			}
			out = append(out, o)
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
