package remote

import (
	"context"
	"encoding/binary"
)

// On a Cluster a record is stored before its change is announced, so that its stamp is an id of
// before. Where the lane had lost its history in between, the announcement tells of a floor above
// that stamp: the record would be absent for every reader. It is given the id of its announcement,
// which lies above the floor. A stamp of 0 stays: its writer keeps no floors.

// lifting is a change of which the announcement has told its floor.
type lifting struct {
	key    string
	stored *Record
	out    *settled
}

// kept reports whether an increment has added to a record that was there: that one keeps its stamp.
func (o *settled) kept() bool { return len(o.rest) > 1 && o.rest[1] == int64(0) }

// lift gives the records that lie below the floor the ids of their announcements. Where that fails,
// the outcome of the change is unknown.
func (s *Store) lift(ctx context.Context, op string, all []lifting) {
	var calls []scriptCall
	var buried []lifting
	for _, l := range all {
		if l.stored == nil || l.stored.Stamp == 0 || uint64(l.out.floor) <= l.stored.Stamp || l.out.err != nil || l.out.kept() {
			continue
		}
		stamp := binary.BigEndian.AppendUint64(nil, uint64(l.out.id))
		calls = append(calls, scriptCall{keys: []string{l.key}, args: []any{l.stored.Token[:], stamp}})
		buried = append(buried, l)
	}
	if len(calls) == 0 {
		return
	}
	s.runEach(ctx, op, scriptLift, calls, func(i int, v any, err error) {
		if _, err = asInt(v, err); err != nil {
			buried[i].out.err, buried[i].out.rest = unknown(op, err), nil
		}
	})
}
