package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

// Announcement is the message of a change to the other instances. It is part of the change: on one
// server (standalone or Sentinel) both are one script. On a Cluster the change comes first; if the
// announcement fails then, the outcome of the change is unknown.
type Announcement struct {
	// Lane is the index of its lane, below Options.Lanes.
	Lane int
	// Message is the message as invalidation.Message.Append encodes it. The server sets its bytes 2
	// to 26, which are the ids of the message before it and of itself. Until then they are the
	// newest id of the lane, and the newest floor of all caches, that the sender knows.
	Message []byte
	// ID is the id of the message in the lane, ms<<20|seq. It is set when the change was
	// acknowledged, unless the change did nothing and so announced nothing. On one server it is
	// also the stamp of the record that the change stored.
	ID uint64
}

// Publish publishes a message outside a lane: a receiver that misses it misses no invalidation.
func (s *Store) Publish(ctx context.Context, index int, message []byte) error {
	if s.lanes == nil {
		return nil
	}
	l := s.lanes[index]
	_, err := call(ctx, s, s.breakerFor(ctx, l.Stream), "publish", true, func(ctx context.Context) (any, error) {
		return scriptPublish.Run(ctx, s.rdb, []string{l.Stream}, l.Channel, message, s.shardedArg())
	})
	return err
}

// Announce appends a to its lane and publishes it, without a change. It works when Redis is out of
// memory.
func (s *Store) Announce(ctx context.Context, a *Announcement) error {
	if s.lanes == nil {
		return nil
	}
	step := s.announceCall(a)
	id, err := call(ctx, s, s.breakerFor(ctx, step.Keys[0]), "announce", true, func(ctx context.Context) (lane.ID, error) {
		v, err := scriptAnnounce.Run(ctx, s.rdb, step.Keys, step.Args...)
		if isMoving(err) {
			v, err = scriptAnnounce.Run(ctx, s.rdb, step.Keys[:1], step.Args...)
		}
		id, _, err := parseAnnounceReply(v, err)
		return id, err
	})
	if err == nil {
		a.ID = uint64(id)
	}
	return err
}

// announceEach makes announcements on a Cluster.
func (s *Store) announceEach(ctx context.Context, calls []luascript.Call, done func(i int, v any, err error)) {
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
	alone := make([]luascript.Call, len(moving))
	for j, i := range moving {
		alone[j] = withoutFloors(calls[i])
	}
	s.runEach(ctx, "announce", scriptAnnounce, alone, func(j int, v any, err error) { done(moving[j], v, err) })
}

// isMoving reports whether a node of a Cluster has refused a script because it has only some of the
// keys: their slot is moving to another node. Nothing was executed.
func isMoving(err error) bool { return err != nil && redis.HasErrorPrefix(err, "TRYAGAIN") }

// withoutFloors returns the call of an announcement without the lane's floors, which may be on
// another node than the lane while their slot moves.
func withoutFloors(c luascript.Call) luascript.Call {
	return luascript.Call{Keys: c.Keys[:1], Args: c.Args}
}

// runEach runs a script for each call on a Cluster, the calls of each node in a pipeline and the
// nodes at the same time. done is called with the result of each, by one goroutine at a time.
func (s *Store) runEach(ctx context.Context, op string, sc luascript.Script, calls []luascript.Call, done func(i int, v any, err error)) {
	keys := make([]string, len(calls))
	for i, c := range calls {
		keys[i] = c.Keys[0]
	}
	var mu sync.Mutex
	background := callModeOf(ctx).background
	eachNode(s.splitByNode(ctx, keys, indexesTo(len(calls))), func(p batchPart) error {
		ticket, err := p.node.allow(background)
		var outcomes []luascript.Cmd
		if err != nil {
			err = &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
		} else {
			some := make([]luascript.Call, len(p.indexes))
			for j, i := range p.indexes {
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
		for j, i := range p.indexes {
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

// runAll runs a script for each call in a pipeline. It returns a panic of the client's hooks as an
// error.
func (s *Store) runAll(ctx context.Context, sc luascript.Script, calls []luascript.Call) (out []luascript.Cmd, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(r)
		}
	}()
	return sc.RunEach(ctx, s.rdb, calls), nil
}

// parseAnnounceReply parses the reply of announce.lua.
func parseAnnounceReply(v any, err error) (id, floor lane.ID, _ error) {
	if err != nil {
		return 0, 0, err
	}
	list, _ := v.([]any)
	if len(list) == 0 {
		return 0, 0, fmt.Errorf("remote: reply of type %T where an id and a floor are due", v)
	}
	if id, err = parseID(list[0], nil); err != nil {
		return 0, 0, err
	}
	if len(list) > 1 {
		// A floor that is not an id counts as none: the next raise replaces it.
		floor, _ = parseID(list[1], nil)
	}
	return id, floor, nil
}

func parseID(v any, err error) (lane.ID, error) {
	text, err := parseString(v, err)
	if err != nil {
		return 0, err
	}
	id, err := lane.Parse(text)
	if err != nil {
		return 0, errors.New("the id in the reply is not one of a stream") // the error of package lane quotes it
	}
	return id, nil
}

// announceCall returns the call of the script that announces a without a change.
func (s *Store) announceCall(a *Announcement) luascript.Call {
	l := s.lanes[a.Lane]
	return luascript.Call{Keys: []string{l.Stream, l.Floors}, Args: []any{l.Channel, a.Message, s.shardedArg()}}
}

// CheckLanes records how many lanes the namespace has. It returns an *OptionError for Lanes if
// another instance recorded another number: the two would not receive each other's messages.
func (s *Store) CheckLanes(ctx context.Context) error {
	if s.lanes == nil {
		return nil
	}
	// It comes before the first change, and is made as a read, so that the server is asked first
	// what it is: the refusal of a replica, or of a node of a Cluster, would look like an outage.
	// Whether the number was recorded does not matter.
	noted, err := call(ctx, s, s.breakerFor(ctx, s.lanes[0].Count), "check-lanes", false, func(ctx context.Context) (string, error) {
		return parseString(scriptCheckLanes.Run(ctx, s.rdb, []string{s.lanes[0].Count}, s.opts.Lanes))
	})
	if err != nil {
		return err
	}
	if noted != strconv.Itoa(s.opts.Lanes) {
		return &OptionError{Field: "Lanes", Reason: fmt.Sprintf("%d, where the other instances of the namespace have %.20q", s.opts.Lanes, noted)}
	}
	return nil
}
