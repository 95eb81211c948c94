package remote

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

// A change that stores something has a deadline by the server's clock, after which its caller has
// given it up. The script refuses a change that comes later: another change may have been made
// meanwhile, and would be undone.

// serverClock is the time of the servers as it is known from the ids of lanes, which contain it,
// and from refusals. It lags by the time that a reply took. That is the safe side: a deadline that
// is too early costs another round trip at most. After a server's clock was set back, the ids of
// its lane stay ahead of it for as long, and so do deadlines.
//
// Every change and every message reads and sets it, so it takes no lock: it is one number.
type serverClock struct {
	offset atomic.Int64 // the servers' Unix time less ours since epoch, in ms; 0: unknown
}

// epoch is the local time from which durations are counted, by the monotonic clock.
var epoch = time.Now()

// init sets the time if it is unknown.
func (c *serverClock) init(ms int64) {
	if c.offset.Load() == 0 {
		c.offset.CompareAndSwap(0, ms-time.Since(epoch).Milliseconds())
	}
}

func (c *serverClock) set(ms int64) { c.offset.Store(ms - time.Since(epoch).Milliseconds()) }

// deadline returns a local time by the servers' clock, as scripts take it; "" if their time is
// unknown.
func (c *serverClock) deadline(t time.Time) string {
	offset := c.offset.Load()
	if offset == 0 {
		return ""
	}
	return strconv.FormatInt(offset+t.Sub(epoch).Milliseconds(), 10)
}

// learnFrom sets the time from the error of a change that came after its deadline, and reports
// whether err was that. The clocks of a Cluster's nodes differ.
func (c *serverClock) learnFrom(err error) bool {
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

// withDeadline sets the last argument of a call to the deadline of its round trip. A call that was
// refused may be given another one.
func (s *Store) withDeadline(ctx context.Context, op string, c luascript.Call) luascript.Call {
	if t, ok := ctx.Deadline(); ok && needsDeadline[op] {
		c.Args[len(c.Args)-1] = s.clock.deadline(t)
	}
	return c
}

// noDeadline is the last argument of a call without a deadline.
const noDeadline = ""

// needsDeadline are the changes that store something. A removal does no harm, however late it is.
var needsDeadline = map[string]bool{"set": true, "set-many": true, "set-if-absent": true, "increment": true, "expire": true}

// runWithDeadline runs a script for each call, and once more for those that were refused because
// the servers' time was not as assumed.
func (s *Store) runWithDeadline(ctx context.Context, op string, calls []luascript.Call,
	run func(context.Context, redis.UniversalClient, []luascript.Call) []luascript.Cmd,
) []luascript.Cmd {
	cmds := run(ctx, s.rdb, calls)
	var again []int
	for i, c := range cmds {
		if s.clock.learnFrom(c.Err()) {
			again = append(again, i)
		}
	}
	if len(again) == 0 || ctx.Err() != nil {
		return cmds
	}
	retried := make([]luascript.Call, len(again))
	for j, i := range again {
		retried[j] = s.withDeadline(ctx, op, calls[i])
	}
	for j, c := range run(ctx, s.rdb, retried) {
		cmds[again[j]] = c
	}
	return cmds
}

// ObserveID tells the store an id of a lane. It contains the server's time, or an earlier one. That
// is enough to give the first change a deadline, which costs a second round trip if the id was old.
func (s *Store) ObserveID(id uint64) {
	if ms := lane.ID(id).UnixMilli(); ms > 0 {
		s.clock.init(ms)
	}
}

// learnServerTime sets the servers' time from an id that was just made.
func (s *Store) learnServerTime(id lane.ID) {
	if ms := id.UnixMilli(); ms > 0 {
		s.clock.set(ms)
	}
}
