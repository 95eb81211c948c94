package remote

import (
	"context"
	"encoding/binary"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// On a Cluster a record is stored before its change is announced, so its stamp is an earlier id. If
// the lane had lost its history in between, the announcement reports a floor above that stamp, and
// the record would be absent for every reader. The record then gets the id of its announcement as
// its stamp, which is above the floor. A stamp of 0 stays: its writer uses no floors.

// stampedWrite is a change whose announcement has reported the floor.
type stampedWrite struct {
	key    string
	record *Record
	result *writeResult
}

// keptRecord reports whether an increment has added to an existing record, which keeps its stamp.
func (o *writeResult) keptRecord() bool { return len(o.rest) > 1 && o.rest[1] == int64(0) }

// raiseStamps gives the records below the floor the ids of their announcements. If that fails, the
// outcome of the change is unknown.
func (s *Store) raiseStamps(ctx context.Context, op string, all []stampedWrite) {
	var calls []luascript.Call
	var below []stampedWrite
	for _, w := range all {
		if w.record == nil || w.record.Stamp == 0 || uint64(w.result.floor) <= w.record.Stamp || w.result.err != nil || w.result.keptRecord() {
			continue
		}
		stamp := binary.BigEndian.AppendUint64(nil, uint64(w.result.id))
		calls = append(calls, luascript.Call{Keys: []string{w.key}, Args: []any{w.record.Token[:], stamp}})
		below = append(below, w)
	}
	if len(calls) == 0 {
		return
	}
	s.runEach(ctx, op, scriptRaiseStamp, calls, func(i int, v any, err error) {
		if _, err = parseInt(v, err); err != nil {
			below[i].result.err, below[i].result.rest = unknownOutcome(op, err), nil
		}
	})
}
