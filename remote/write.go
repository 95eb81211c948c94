package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

// writePlan is a script that changes the record under one key, and the announcement of the change
// (nil: none). Before its own arguments the script gets a channel and a message, both empty if
// nothing is announced; otherwise its second and third key are the lane's stream and floors. It
// replies with 1 if it has changed something, the id of the announcement ("" for none), and its own
// results.
type writePlan struct {
	key          string
	args         []any
	announcement *Announcement
	record       *Record // the record that the change stores; nil for none
}

// writeSteps are the scripts of a change. On one server the first does everything. On a Cluster,
// where the lane is on another node than the key, the second announces what the first has changed.
// The order is never reversed: an instance that learns of a change must not find the record from
// before it.
type writeSteps struct {
	data, lane luascript.Call
	twoSteps   bool // there is a second step
}

func (s *Store) stepsFor(c writePlan) writeSteps {
	st := writeSteps{data: luascript.Call{Keys: append(make([]string, 0, 3), c.key)}}
	channel, message := "", []byte{}
	if s.lanes != nil && c.announcement != nil {
		if s.onCluster() {
			st.lane, st.twoSteps = s.announceCall(c.announcement), true
		} else {
			l := s.lanes[c.announcement.Lane]
			st.data.Keys = append(st.data.Keys, l.Stream, l.Floors)
			channel, message = l.Channel, c.announcement.Message
		}
	}
	st.data.Args = append(append(append(make([]any, 0, 3+len(c.args)), channel, message), c.args...), noDeadline)
	return st
}

// writeResult is the result of a change.
type writeResult struct {
	id   lane.ID
	rest []any
	err  error // classified
	// changed is true if the change was made, or may have been.
	changed bool
	// floor is the floor of all caches when a change on a Cluster was announced.
	floor lane.ID
}

// parseWriteReply parses the reply of a change's first step.
func parseWriteReply(ctx context.Context, op string, v any, err error) writeResult {
	if err != nil {
		err = classify(op, wasSent(ctx, err), err)
		return writeResult{err: err, changed: errors.Is(err, ErrUnknownOutcome)}
	}
	list, _ := v.([]any)
	if len(list) < 2 {
		err := fmt.Errorf("reply of type %T with %d parts", v, len(list))
		return writeResult{err: &Error{Op: op, Err: err, kinds: []error{ErrUnknownOutcome}}, changed: true}
	}
	out := writeResult{changed: list[0] == int64(1), rest: list[2:]}
	if list[1] != "" {
		if out.id, err = parseID(list[1], nil); err != nil {
			out.err = unknownOutcome(op, err)
		}
	}
	return out
}

// setAnnouncement records the reply of the second step. A change that is not announced has an
// unknown outcome: other instances may hold copies from before it.
func (o *writeResult) setAnnouncement(op string, v any, err error) {
	id, floor, err := parseAnnounceReply(v, err)
	switch {
	case o.err != nil: // its outcome is unknown already
	case err != nil:
		o.err, o.rest = unknownOutcome(op, err), nil
	default:
		o.id, o.floor = id, floor
	}
}

// write makes one change, sets the id of its announcement, and returns the script's own results.
func (s *Store) write(ctx context.Context, op string, sc luascript.Script, c writePlan) ([]any, error) {
	st := s.stepsFor(c)
	if st.twoSteps {
		if err := s.checkLaneServer(ctx, op, st.lane); err != nil {
			return nil, err
		}
	}
	out, err := call(ctx, s, s.breakerFor(ctx, c.key), op, true, func(ctx context.Context) (writeResult, error) {
		began := time.Now()
		data := s.withDeadline(ctx, op, st.data)
		v, err := sc.Run(ctx, s.rdb, data.Keys, data.Args...)
		if s.clock.learnFrom(err) && ctx.Err() == nil {
			data = s.withDeadline(ctx, op, st.data)
			v, err = sc.Run(ctx, s.rdb, data.Keys, data.Args...)
		}
		out := parseWriteReply(ctx, op, v, err)
		if st.twoSteps && out.changed {
			reportToBreaker(ctx, out.err)
			ctx := context.WithoutCancel(ctx)
			s.announceEach(ctx, []luascript.Call{st.lane}, func(_ int, v any, err error) { out.setAnnouncement(op, v, err) })
			s.raiseStamps(ctx, op, []stampedWrite{{c.key, c.record, &out}})
		}
		s.proveMaster(began, out)
		return out, out.err
	})
	if err != nil {
		return nil, err
	}
	if c.announcement != nil {
		c.announcement.ID = uint64(out.id)
		s.learnServerTime(out.id)
	}
	return out.rest, nil
}

// checkLaneServer returns an error if the node of a lane is skipped. A change on a Cluster is then
// not made, since it could not be announced.
func (s *Store) checkLaneServer(ctx context.Context, op string, lane luascript.Call) error {
	if err := s.breakerFor(ctx, lane.Keys[0]).skipError(); err != nil {
		return &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	}
	return nil
}

// reportToBreaker reports the result of a round trip's server to its breaker, if the round trip
// goes on with another server.
func reportToBreaker(ctx context.Context, err error) {
	if t, ok := ctx.(*roundTrip); ok {
		t.report(err)
	}
}

// proveMaster records that the server takes changes, if it made one.
func (s *Store) proveMaster(began time.Time, o writeResult) {
	if o.err == nil && o.id > 0 {
		s.servers.Proved(began)
	}
}

// batchWrite is a batch of changes of one kind.
type batchWrite struct {
	op      string
	scripts scriptPair
	plans   []writePlan
	errs    []error                    // of each change; a change whose error is set already is left out
	done    func(i int, results []any) // called for each change that succeeded, by one goroutine at a time
}

func newBatchWrite(op string, scripts scriptPair, n int) *batchWrite {
	return &batchWrite{op: op, scripts: scripts, plans: make([]writePlan, n), errs: make([]error, n)}
}

// writeMany makes the changes of a batch, in parts. Changes that share an announcement are in one
// part if they fit: an instance that receives the announcement takes all of them for made. For a
// Cluster see writeManyOnCluster.
func (s *Store) writeMany(ctx context.Context, b *batchWrite) {
	if s.onCluster() {
		s.writeManyOnCluster(ctx, b)
		return
	}
	single, groups := s.groupByAnnouncement(b)
	for _, part := range s.splitGroups(groups) {
		s.runWrites(ctx, b, slices.Concat(part...), func(ctx context.Context) []writeResult {
			return s.runGrouped(ctx, b, part)
		})
	}
	s.eachChunk(len(single), func(from, to int) {
		part := single[from:to]
		s.runWrites(ctx, b, part, func(ctx context.Context) []writeResult { return s.runEachWrite(ctx, b, part) })
	})
}

// runWrites makes some changes of a batch in one round trip to the one server, by run, and records
// the result of each.
func (s *Store) runWrites(ctx context.Context, b *batchWrite, indexes []int, run func(context.Context) []writeResult) {
	results, err := call(ctx, s, s.routes.single, b.op, true, func(ctx context.Context) ([]writeResult, error) {
		began := time.Now()
		results := run(ctx)
		for _, r := range results {
			s.proveMaster(began, r)
			if !isOutage(r.err) {
				return results, nil
			}
		}
		// The breaker learns of the first error, but each change keeps its own: some may have been
		// sent.
		return results, results[0].err
	})
	for j, i := range indexes {
		switch {
		case results == nil:
			b.errs[i] = err
		case results[j].err != nil:
			b.errs[i] = results[j].err
		default:
			if a := b.plans[i].announcement; a != nil {
				a.ID = uint64(results[j].id)
				s.learnServerTime(results[j].id)
			}
			b.done(i, results[j].rest)
		}
	}
}

// runEachWrite runs a script for each of some changes of a batch.
func (s *Store) runEachWrite(ctx context.Context, b *batchWrite, indexes []int) []writeResult {
	calls := make([]luascript.Call, len(indexes))
	for j, i := range indexes {
		calls[j] = s.withDeadline(ctx, b.op, s.stepsFor(b.plans[i]).data)
	}
	results := make([]writeResult, len(calls))
	for j, c := range s.runWithDeadline(ctx, b.op, calls, b.scripts.one.Pipeline) {
		v, err := c.Result()
		results[j] = parseWriteReply(ctx, b.op, v, err)
	}
	return results
}

// stampArg returns a floor, or another id that stamps are compared with, as an argument of a
// script.
func stampArg(floor uint64) any {
	if floor == 0 {
		return zeroStamp
	}
	return binary.BigEndian.AppendUint64(nil, floor)
}

// zeroStamp is the argument that most calls have, made once.
var zeroStamp any = make([]byte, 8)
