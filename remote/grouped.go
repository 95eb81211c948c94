package remote

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// Changes that share one Announcement are made together: on one server by one script, with one
// message for all their keys. Otherwise each key of a batch would cost Redis, and every other
// instance, a message. Each change is still one step by itself. On a Cluster the changes are made
// one by one.

// scriptPair holds the scripts for changes of one kind: for one change, and for many with one
// announcement.
type scriptPair struct{ one, many luascript.Script }

var (
	setScripts    = scriptPair{scriptSet, scriptSetAll}
	deleteScripts = scriptPair{scriptDelete, scriptDeleteAll}
	// Each of these changes has an announcement of its own, which is made only if the record is
	// there.
	compareAndDeleteScripts = scriptPair{one: scriptCompareAndDelete}
)

// groupByAnnouncement returns the indexes of the changes without an error: of single ones, and of
// groups that share their announcement.
func (s *Store) groupByAnnouncement(b *batchWrite) (single []int, groups [][]int) {
	part := make([]int, 0, len(b.plans))
	for i, err := range b.errs {
		if err == nil {
			part = append(part, i)
		}
	}
	for len(part) > 0 {
		n := 1
		if a := b.plans[part[0]].announcement; a != nil && s.lanes != nil {
			for n < len(part) && b.plans[part[n]].announcement == a {
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

// splitGroups distributes groups over round trips. It divides a group only if it does not fit into
// one.
func (s *Store) splitGroups(groups [][]int) (out [][][]int) {
	room := 0
	for _, group := range groups {
		s.eachChunk(len(group), func(from, to int) {
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

// runGrouped runs one script for each group. The result of the script is that of each change in the
// group.
func (s *Store) runGrouped(ctx context.Context, b *batchWrite, groups [][]int) []writeResult {
	calls := make([]luascript.Call, len(groups))
	for g, group := range groups {
		a := b.plans[group[0]].announcement
		l := s.lanes[a.Lane]
		c := luascript.Call{Keys: make([]string, 2, 2+len(group)), Args: make([]any, 2, 3+2*len(group))}
		c.Keys[0], c.Keys[1], c.Args[0], c.Args[1] = l.Stream, l.Floors, l.Channel, a.Message
		for _, i := range group {
			c.Keys = append(c.Keys, b.plans[i].key)
			c.Args = append(c.Args, b.plans[i].args...)
		}
		c.Args = append(c.Args, noDeadline)
		calls[g] = s.withDeadline(ctx, b.op, c)
	}
	var out []writeResult
	for g, c := range s.runWithDeadline(ctx, b.op, calls, b.scripts.many.RunEach) {
		v, err := c.Result()
		all := parseWriteReply(ctx, b.op, v, err)
		for j := range groups[g] {
			o := all
			switch {
			case all.err != nil, len(all.rest) == 0:
			case len(all.rest) == len(groups[g]):
				o.rest = all.rest[j : j+1]
			default:
				o.err = &Error{Op: b.op, Err: errors.New("reply of another length than the request"), kinds: []error{ErrUnknownOutcome}}
			}
			out = append(out, o)
		}
	}
	return out
}

// AbandonedError returns the error of a change whose caller stopped waiting because its context
// ended. The change was not sent, or its outcome is unknown.
func AbandonedError(ctx context.Context, op string, sent bool) error {
	return abandonedError(ctx, op, sent)
}

// StartSpan starts the span of a change that is made together with other callers' changes, whose
// round trip has a span of its own. The returned function ends it.
func (s *Store) StartSpan(ctx context.Context, op string) (ended func(error)) {
	_, span := s.tracer.start(ctx, op)
	return span.end
}
