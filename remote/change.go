package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

// change is a script that changes what lies under one key, and what it announces (nil: nothing).
// Before its own arguments the script is given a channel and a message, both empty where it is to
// announce nothing, else with the lane's stream and floors as its second and third key. It replies
// with 1 if it has changed something, the id of the announcement ("" for none), and what else it
// has to tell.
type change struct {
	key  string
	args []any
	a    *Announcement
	// stored is the record that the change stores; nil where it stores none.
	stored *Record
}

// clock is what is known of the servers' time: from ids of lanes, which are made of it, and from refusals. It lags behind by
// what a reply took, and that is the safe side: a deadline that is early costs another round trip at most. After a server's
// clock was set back its lane's ids stay ahead of it, and so do deadlines, for as long.
//
// It is read and set by every change and every message, so it takes no lock: one number says it all.
type clock struct {
	ahead atomic.Int64 // the servers' Unix ms less ours since epoch; 0 is unknown
}

// epoch is what our time is counted from, by the monotonic clock.
var epoch = time.Now()

// seed is set for who knows nothing yet.
func (c *clock) seed(ms int64) {
	if c.ahead.Load() == 0 {
		c.ahead.CompareAndSwap(0, ms-time.Since(epoch).Milliseconds())
	}
}

func (c *clock) set(ms int64) { c.ahead.Store(ms - time.Since(epoch).Milliseconds()) }

// deadline is a time of ours in the servers' terms, as scripts take it; none as long as nothing is known of their time.
func (c *clock) deadline(t time.Time) string {
	ahead := c.ahead.Load()
	if ahead == 0 {
		return ""
	}
	return strconv.FormatInt(ahead+t.Sub(epoch).Milliseconds(), 10)
}

// late takes the error of a change that a server found to come too late, by what was thought to be its time, and tells
// whether it was that. The clocks of a Cluster's nodes differ.
func (c *clock) late(err error) bool {
	if err == nil || !redis.HasErrorPrefix(err, "DOPPIO-LATE") {
		return false
	}
	ms, parseErr := strconv.ParseInt(strings.TrimPrefix(err.Error(), "DOPPIO-LATE "), 10, 64)
	if parseErr != nil {
		return false
	}
	c.set(ms)
	return true
}

// by gives the script call its deadline, for which its last argument is kept free: that of the round trip, after which nobody
// waits for it. A call that was refused may be given another.
func (s *Store) by(ctx context.Context, op string, c scriptCall) scriptCall {
	if t, ok := ctx.Deadline(); ok && fenced[op] {
		c.args[len(c.args)-1] = s.clock.deadline(t)
	}
	return c
}

// noDeadline is the last argument of a call that has none.
const noDeadline = ""

// fenced are the changes that store something. A removal does no harm, however late.
var fenced = map[string]bool{"set": true, "set-many": true, "set-if-absent": true, "increment": true, "expire": true}

// steps are the scripts of a change. On one server the first does all; on a Cluster, where the lane lies elsewhere than
// the key, the second announces what the first has changed. Never the other way round: whoever hears of a change must not find
// what was there before it.
type steps struct {
	data, lane scriptCall
	announce   bool // there is a second step
}

func (s *Store) steps(c change) steps {
	st := steps{data: scriptCall{keys: append(make([]string, 0, 3), c.key)}}
	channel, message := "", []byte{}
	if s.lanes != nil && c.a != nil {
		if s.masters != nil {
			st.lane, st.announce = s.announcing(c.a), true
		} else {
			l := s.lanes[c.a.Lane]
			st.data.keys = append(st.data.keys, l.Stream, l.Floors)
			channel, message = l.Channel, c.a.Message
		}
	}
	st.data.args = append(append(append(make([]any, 0, 3+len(c.args)), channel, message), c.args...), noDeadline)
	return st
}

// settled is what became of a change.
type settled struct {
	id   lane.ID
	rest []any
	err  error // classified
	// changed is true if something has changed, or may have.
	changed bool
	// floor is that of all caches when a change on a Cluster was announced.
	floor lane.ID
}

// settle reads the reply of a change's first step.
func settle(ctx context.Context, op string, v any, err error) settled {
	if err != nil {
		err = classify(op, wasSent(ctx, err), err)
		return settled{err: err, changed: errors.Is(err, ErrUnknownOutcome)}
	}
	list, _ := v.([]any)
	if len(list) < 2 {
		return settled{err: &Error{Op: op, Err: fmt.Errorf("reply of type %T with %d parts", v, len(list)), kinds: []error{ErrUnknownOutcome}}, changed: true}
	}
	out := settled{changed: list[0] == int64(1), rest: list[2:]}
	if list[1] != "" {
		if out.id, err = asID(list[1], nil); err != nil {
			out.err = unknown(op, err)
		}
	}
	return out
}

// announced takes the reply of the second step. What has changed and is not announced is of unknown outcome: others may hold what
// was there before.
func (o *settled) announced(op string, v any, err error) {
	id, floor, err := asAnnounced(v, err)
	switch {
	case o.err != nil: // of unknown outcome already
	case err != nil:
		o.err, o.rest = unknown(op, err), nil
	default:
		o.id, o.floor = id, floor
	}
}

// change makes one change, sets its announcement's id, and gives what else the script has told.
func (s *Store) change(ctx context.Context, op string, sc script, c change) ([]any, error) {
	st := s.steps(c)
	if st.announce {
		if err := s.unannounceable(ctx, op, st.lane); err != nil {
			return nil, err
		}
	}
	out, err := call(ctx, s, s.at(ctx, c.key), op, true, func(ctx context.Context) (settled, error) {
		began := time.Now()
		data := s.by(ctx, op, st.data)
		v, err := sc.run(ctx, s.rdb, data.keys, data.args...)
		if s.clock.late(err) && ctx.Err() == nil {
			data = s.by(ctx, op, st.data)
			v, err = sc.run(ctx, s.rdb, data.keys, data.args...)
		}
		out := settle(ctx, op, v, err)
		if st.announce && out.changed {
			met(ctx, out.err)
			ctx := context.WithoutCancel(ctx)
			s.announceEach(ctx, []scriptCall{st.lane}, func(_ int, v any, err error) { out.announced(op, v, err) })
			s.lift(ctx, op, []lifting{{c.key, c.stored, &out}})
		}
		s.wrote(began, out)
		return out, out.err
	})
	if err != nil {
		return nil, err
	}
	if c.a != nil {
		c.a.ID = uint64(out.id)
		s.learnTime(out.id)
	}
	return out.rest, nil
}

// unannounceable says why a change on a Cluster is not made: the node of its lane is skipped, so that nobody could be told.
func (s *Store) unannounceable(ctx context.Context, op string, lane scriptCall) error {
	if err := s.at(ctx, lane.keys[0]).skips(); err != nil {
		return &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	}
	return nil
}

// met tells the breaker of a round trip's server what the server did, when the round trip goes on with another's.
func met(ctx context.Context, err error) {
	if t, ok := ctx.(*trip); ok {
		t.tell(err)
	}
}

// announceEach makes announcements on a Cluster.
func (s *Store) announceEach(ctx context.Context, calls []scriptCall, done func(i int, v any, err error)) {
	var moving []int
	s.runEach(ctx, "announce", scriptAnnounce, calls, func(i int, v any, err error) {
		if isMoving(err) {
			moving = append(moving, i)
			return
		}
		done(i, v, err)
	})
	if len(moving) == 0 {
		return
	}
	alone := make([]scriptCall, len(moving))
	for j, i := range moving {
		alone[j] = calls[i].streamAlone()
	}
	s.runEach(ctx, "announce", scriptAnnounce, alone, func(j int, v any, err error) { done(moving[j], v, err) })
}

// isMoving reports whether a node of a Cluster has refused a script since only some of its keys are
// there: their slot is moving to another node. Nothing was executed.
func isMoving(err error) bool { return err != nil && redis.HasErrorPrefix(err, "TRYAGAIN") }

// streamAlone is an announcement that does without the lane's floors, which may be on another node
// than the lane for as long as their slot moves.
func (c scriptCall) streamAlone() scriptCall { return scriptCall{keys: c.keys[:1], args: c.args} }

// runEach runs a script for each call on a Cluster, those of each node in a pipeline and nodes at
// the same time. done is told what became of each, by one goroutine at a time.
func (s *Store) runEach(ctx context.Context, op string, sc script, calls []scriptCall, done func(i int, v any, err error)) {
	keys := make([]string, len(calls))
	for i, c := range calls {
		keys[i] = c.keys[0]
	}
	var mu sync.Mutex
	background := mannerOf(ctx).background
	eachNode(s.byNode(ctx, keys, indexes(len(calls))), func(p portion) error {
		ticket, err := p.node.allow(background)
		var outcomes []onceCmd
		if err != nil {
			err = &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
		} else {
			some := make([]scriptCall, len(p.part))
			for j, i := range p.part {
				some[j] = calls[i]
			}
			outcomes, err = s.runAll(ctx, sc, some)
			met := err
			if met == nil && !isMoving(outcomes[0].Err()) {
				met = outcomes[0].Err()
			}
			ticket.report(classify(op, true, met))
		}
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.part {
			if err != nil {
				done(i, nil, err)
				continue
			}
			v, err := outcomes[j].Result()
			done(i, v, err)
		}
		return nil
	}, nil)
}

// runAll runs a script for each call in a pipeline. A panic of the client's hooks is an error.
func (s *Store) runAll(ctx context.Context, sc script, calls []scriptCall) (out []onceCmd, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.caught(r)
		}
	}()
	return sc.all(ctx, s.rdb, calls), nil
}

// wrote notes that the server takes changes, if it made one.
func (s *Store) wrote(began time.Time, o settled) {
	if o.err == nil && o.id > 0 {
		s.servers.Proved(began)
	}
}

// changeMany makes changes of one kind, in chunks. Those whose error is set already are left out; done is told the
// reply of each that succeeded, by one goroutine at a time. What shares an announcement is in one chunk if it fits: who
// hears the announcement takes all for made. For a Cluster see changeApart.
func (s *Store) changeMany(ctx context.Context, op string, by together, changes []change, errs []error, done func(i int, rest []any)) {
	if s.nodes != nil {
		s.changeApart(ctx, op, by, changes, errs, done)
		return
	}
	single, groups := s.grouped(changes, errs)
	for _, portion := range s.portions(groups) {
		s.conclude(ctx, op, s.only, changes, slices.Concat(portion...), errs, done, func(ctx context.Context) []settled {
			return s.settleTogether(ctx, op, by.many, changes, portion)
		})
	}
	s.chunks(len(single), func(from, to int) {
		part := single[from:to]
		s.conclude(ctx, op, s.only, changes, part, errs, done, func(ctx context.Context) []settled {
			return s.settleEach(ctx, op, by.one, s.stepsOf(changes, part))
		})
	})
}

func (s *Store) stepsOf(changes []change, part []int) []steps {
	all := make([]steps, len(part))
	for j, i := range part {
		all[j] = s.steps(changes[i])
	}
	return all
}

// conclude makes those of changes that part names, by settle, and notes what became of each.
func (s *Store) conclude(ctx context.Context, op string, node *breaker, changes []change, part []int, errs []error, done func(i int, rest []any), settle func(context.Context) []settled) {
	out, err := call(ctx, s, node, op, true, func(ctx context.Context) ([]settled, error) {
		began := time.Now()
		out := settle(ctx)
		for _, o := range out {
			s.wrote(began, o)
			if !isOutage(o.err) {
				return out, nil
			}
		}
		// The breaker hears of the first, but each change keeps its own: one may have been sent where another was not.
		return out, out[0].err
	})
	for j, i := range part {
		switch {
		case out == nil:
			errs[i] = err
		case out[j].err != nil:
			errs[i] = out[j].err
		default:
			if a := changes[i].a; a != nil {
				a.ID = uint64(out[j].id)
				s.learnTime(out[j].id)
			}
			done(i, out[j].rest)
		}
	}
}

// settleEach is one round trip of changeMany, with a script for each change.
func (s *Store) settleEach(ctx context.Context, op string, sc script, all []steps) []settled {
	calls := make([]scriptCall, len(all))
	for i, st := range all {
		calls[i] = s.by(ctx, op, st.data)
	}
	out := make([]settled, len(all))
	for i, c := range s.inTime(ctx, op, calls, sc.pipeline) {
		v, err := c.Result()
		out[i] = settle(ctx, op, v, err)
	}
	return out
}

// inTime runs a script for each call, and once more for those that were refused because the servers' time was not what it was
// thought to be.
func (s *Store) inTime(ctx context.Context, op string, calls []scriptCall, run func(context.Context, redis.UniversalClient, []scriptCall) []onceCmd) []onceCmd {
	cmds := run(ctx, s.rdb, calls)
	var again []int
	for i, c := range cmds {
		if s.clock.late(c.Err()) {
			again = append(again, i)
		}
	}
	if len(again) == 0 || ctx.Err() != nil {
		return cmds
	}
	retried := make([]scriptCall, len(again))
	for j, i := range again {
		retried[j] = s.by(ctx, op, calls[i])
	}
	for j, c := range run(ctx, s.rdb, retried) {
		cmds[again[j]] = c
	}
	return cmds
}

// Seen tells a store of an id of a lane, in which there is the servers' time, or one of before: enough to give its first
// change a deadline, at the price of a second round trip if the id was old.
func (s *Store) Seen(id uint64) {
	if ms := lane.ID(id).UnixMilli(); ms > 0 {
		s.clock.seed(ms)
	}
}

// learnTime takes an id that was just made.
func (s *Store) learnTime(id lane.ID) {
	if ms := id.UnixMilli(); ms > 0 {
		s.clock.set(ms)
	}
}

// floorArg is a remote floor, or another id to compare stamps with, as scripts take it.
func floorArg(floor uint64) any {
	if floor == 0 {
		return noFloor
	}
	return binary.BigEndian.AppendUint64(nil, floor)
}

// noFloor is the argument that most calls have, made once.
var noFloor any = make([]byte, 8)

// asAnnounced reads the reply of announce.lua.
func asAnnounced(v any, err error) (id, floor lane.ID, _ error) {
	if err != nil {
		return 0, 0, err
	}
	list, _ := v.([]any)
	if len(list) == 0 {
		return 0, 0, fmt.Errorf("remote: reply of type %T where an id and a floor are due", v)
	}
	if id, err = asID(list[0], nil); err != nil {
		return 0, 0, err
	}
	if len(list) > 1 {
		// What is not an id is no floor: the next raise replaces it.
		floor, _ = asID(list[1], nil)
	}
	return id, floor, nil
}

func asID(v any, err error) (lane.ID, error) {
	text, err := asString(v, err)
	if err != nil {
		return 0, err
	}
	id, err := lane.Parse(text)
	if err != nil {
		return 0, errors.New("the id in the reply is not one of a stream") // lane's error repeats it
	}
	return id, nil
}
