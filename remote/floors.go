package remote

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

// RaiseFloor invalidates, in one step, every remote record of the cache with this name ("*": of all
// caches) that is older than a, and announces a. It works when Redis is out of memory.
func (s *Store) RaiseFloor(ctx context.Context, name string, a *Announcement) error {
	return s.raiseFloor(ctx, "raise-floor", scriptRaiseFloor, name, a)
}

// BeginHistory invalidates every remote record that a lost history of a's lane has left, for a
// caller that has noticed the loss itself. end is the last id of that history that the caller
// knows; a's message contains only what the caller knew. a.ID becomes the floor of all caches,
// which is where the histories part: no record of a change that the new history has acknowledged is
// below it. It is the same for all callers that notice the loss, however late. It works when Redis
// is out of memory.
func (s *Store) BeginHistory(ctx context.Context, end uint64, a *Announcement) error {
	return s.raiseFloor(ctx, "part", scriptBeginHistory, lane.ID(end).String(), a)
}

func (s *Store) raiseFloor(ctx context.Context, op string, sc luascript.Script, arg string, a *Announcement) error {
	if s.lanes == nil {
		return &OptionError{Field: "Namespace", Reason: "a floor is kept in a lane, which has the namespace's name"}
	}
	step := s.announceCall(a)
	id, err := call(ctx, s, s.breakerFor(ctx, step.Keys[0]), op, true, func(ctx context.Context) (lane.ID, error) {
		return parseID(sc.Run(ctx, s.rdb, step.Keys, append(step.Args, arg)...))
	})
	if err == nil {
		a.ID = uint64(id)
	}
	return err
}

// Floors returns the floors of a lane, by the name of their cache: "*" is that of all caches, "!"
// the newest of all. A field that is not an id is left out, as if the floor had not been raised;
// the next raise replaces it. If there are more floors than a lane keeps, or the key has another
// type, one floor at the end of the lane replaces all: it invalidates too much, and never too
// little.
func (s *Store) Floors(ctx context.Context, index int) (map[string]uint64, error) {
	if s.lanes == nil {
		return map[string]uint64{}, nil
	}
	l := s.lanes[index]
	return call(ctx, s, s.breakerFor(ctx, l.Floors), "floors", false, func(ctx context.Context) (map[string]uint64, error) {
		reply, err := scriptFloors.Run(ctx, s.rdb, []string{l.Stream, l.Floors})
		if err == nil {
			floors, _, err := lane.ParseFloors(reply)
			return floors, err
		}
		if !errors.Is(classify("floors", false, err), ErrDenied) {
			return nil, err
		}
		// A user without the permission for scripts may read.
		fields, err := s.rdb.HGetAll(ctx, l.Floors).Result()
		floors, _ := lane.Floors(fields)
		return floors, err
	})
}
