package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/doppio-cache/doppio/internal/lane"
)

// Announcement is what a change tells the other instances. It is part of the change: on one server (standalone or
// Sentinel) both are one script. On a Cluster the change comes first, and what becomes of the announcement then decides
// whether the change's outcome is known.
type Announcement struct {
	// Lane is the index of the lane that carries it, below Options.Lanes.
	Lane int
	// Message is as invalidation.Message.Append gives it. Its bytes 2 to 26, the places of the
	// message and of the one before it in the lane, are filled in by the server. Until then they
	// say what the sender knows of the lane: its newest id, and the newest floor of all caches.
	Message []byte
	// ID is set when the change was acknowledged, unless it changed nothing and so announced nothing: the message's id in
	// the lane, ms<<20|seq. On one server it is the stamp of the record that the change stored, too.
	ID uint64
}

// Publish publishes message to those who listen to a lane, without a place in it: nobody misses it who misses it.
func (s *Store) Publish(ctx context.Context, index int, message []byte) error {
	if s.lanes == nil {
		return nil
	}
	l := s.lanes[index]
	_, err := call(ctx, s, s.at(ctx, l.Stream), "publish", true, func(ctx context.Context) (any, error) {
		return scriptPublish.run(ctx, s.rdb, []string{l.Stream}, l.Channel, message, s.sharded())
	})
	return err
}

// Announce appends a to its lane and publishes it, without a change of its own. It works when Redis is out of memory.
func (s *Store) Announce(ctx context.Context, a *Announcement) error {
	if s.lanes == nil {
		return nil
	}
	step := s.announcing(a)
	id, err := call(ctx, s, s.at(ctx, step.keys[0]), "announce", true, func(ctx context.Context) (lane.ID, error) {
		v, err := scriptAnnounce.run(ctx, s.rdb, step.keys, step.args...)
		if isMoving(err) {
			v, err = scriptAnnounce.run(ctx, s.rdb, step.keys[:1], step.args...)
		}
		id, _, err := asAnnounced(v, err)
		return id, err
	})
	if err == nil {
		a.ID = uint64(id)
	}
	return err
}

// RaiseFloor makes invalid, in one step, every far record of the cache called name ("*": of all caches) that is older than
// a, and announces a. It works when Redis is out of memory.
func (s *Store) RaiseFloor(ctx context.Context, name string, a *Announcement) error {
	return s.raise(ctx, "raise-floor", scriptFloor, name, a)
}

// Part makes invalid every remote record that a lost history of a's lane has left, for a caller
// that has noticed the loss by itself. The last id of that history which the caller knows is end;
// a's message says nothing but what the caller knew. a.ID becomes the floor of all caches, which
// lies where the histories part: no record of a change that the new history has acknowledged is
// below it. It is the same for all callers that notice the loss, however late. It works when Redis is
// out of memory.
func (s *Store) Part(ctx context.Context, end uint64, a *Announcement) error {
	return s.raise(ctx, "part", scriptPart, lane.ID(end).String(), a)
}

func (s *Store) raise(ctx context.Context, op string, sc script, arg string, a *Announcement) error {
	if s.lanes == nil {
		return &OptionError{Field: "Namespace", Reason: "a floor is kept in a lane, which has the namespace's name"}
	}
	step := s.announcing(a)
	id, err := call(ctx, s, s.at(ctx, step.keys[0]), op, true, func(ctx context.Context) (lane.ID, error) {
		return asID(sc.run(ctx, s.rdb, step.keys, append(step.args, arg)...))
	})
	if err == nil {
		a.ID = uint64(id)
	}
	return err
}

// Floors gives the floors that a lane keeps, by the name of their cache: "*" is that of all caches,
// "!" the newest of all. A field that is not an id is left out, as if nobody had raised that floor;
// the next raise replaces it. Where there are more floors than a lane keeps, or something else than
// floors, one at the lane's end takes the place of all: it invalidates too much, and never too
// little.
func (s *Store) Floors(ctx context.Context, index int) (map[string]uint64, error) {
	if s.lanes == nil {
		return map[string]uint64{}, nil
	}
	l := s.lanes[index]
	texts, err := call(ctx, s, s.at(ctx, l.Floors), "floors", false, func(ctx context.Context) (map[string]string, error) {
		texts, err := asPairs(scriptFloors.run(ctx, s.rdb, []string{l.Stream, l.Floors}))
		if err != nil && errors.Is(classify("floors", false, err), ErrDenied) {
			return s.rdb.HGetAll(ctx, l.Floors).Result() // a user that may run no script may read
		}
		return texts, err
	})
	if err != nil {
		return nil, err
	}
	floors, _ := lane.Floors(texts)
	return floors, nil
}

// CheckLanes notes how many lanes the namespace has, and reports an *OptionError for Lanes if another instance noted
// another number: the two would not hear each other.
func (s *Store) CheckLanes(ctx context.Context) error {
	if s.lanes == nil {
		return nil
	}
	// It comes before the first change, and is made as a read: the server is asked first what it
	// is, since a replica, or a node of a Cluster, would refuse it in words that look like an
	// outage; and nobody minds if the number was noted or not.
	noted, err := call(ctx, s, s.at(ctx, s.lanes[0].Count), "check-lanes", false, func(ctx context.Context) (string, error) {
		return asString(scriptLanes.run(ctx, s.rdb, []string{s.lanes[0].Count}, s.opts.Lanes))
	})
	if err != nil {
		return err
	}
	if noted != strconv.Itoa(s.opts.Lanes) {
		return &OptionError{Field: "Lanes", Reason: fmt.Sprintf("%d, where the other instances of the namespace have %.20q", s.opts.Lanes, noted)}
	}
	return nil
}

// asPairs reads a reply of names and texts by turns.
func asPairs(v any, err error) (map[string]string, error) {
	list, ok := v.([]any)
	if err == nil && (!ok || len(list)%2 != 0) {
		err = fmt.Errorf("reply of type %T with %d parts, want pairs", v, len(list))
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		name, err1 := asString(list[i], nil)
		text, err2 := asString(list[i+1], nil)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

// sharded tells scripts by which pub/sub to publish.
func (s *Store) sharded() string {
	if s.masters != nil {
		return "1"
	}
	return ""
}

// announcing is the script that announces a without a change.
func (s *Store) announcing(a *Announcement) scriptCall {
	l := s.lanes[a.Lane]
	return scriptCall{keys: []string{l.Stream, l.Floors}, args: []any{l.Channel, a.Message, s.sharded()}}
}
