package remote

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The TTL of a record is counted by the clock of the server that has it: scripts set the time of
// storing, and Redis expires the record. A reader that gets a record with one GET needs that
// server's time, to know how long a local copy may live and whether the record is in its grace. So
// a store keeps an estimate of the time of each server, and asks again now and then. The wall
// clocks of the machines that write and read do not matter.
//
// An estimate is never behind the server's clock, unless that is set forward, and ahead of it by at
// most a round trip. So a local copy ends at most that much before its record, and never after it.
// After a server's clock was set, or after a failover to a server with another clock, an estimate
// is wrong by the difference for up to timeEstimateMaxAge.
type timeEstimates struct {
	single timeEstimate
	byNode sync.Map // on a Cluster: *timeEstimate by the node's address
}

// timeEstimate is the estimate for one server.
type timeEstimate struct {
	offset  atomic.Int64 // the server's Unix time less ours since epoch, in µs; 0: unknown
	askedAt atomic.Int64 // when it was asked, since epoch in ns
	asking  atomic.Bool
}

// timeEstimateMaxAge is how old an estimate may be before the next reader asks again: disciplined
// clocks differ by less than 3 ms after that.
const timeEstimateMaxAge = 5 * time.Second

func (t *timeEstimate) now(since time.Duration) time.Time {
	return time.UnixMicro(t.offset.Load() + since.Microseconds())
}

// setEnds sets the end of a record that was read. It returns err if that is not nil. It returns an
// error if the server's time is unknown and the record has a grace, which may be over; a record
// without a grace is there as long as Redis returns it.
func (s *Store) setEnds(ctx context.Context, key string, r *Record, err error) error {
	if err != nil || r.finiteTTL() == 0 || r.Kind == KindLease {
		return err
	}
	t, err := s.estimateFor(ctx, key)
	now := time.Now()
	if err != nil {
		if r.Grace > 0 {
			return err
		}
		r.Ends = now // no copy can be kept
		return nil
	}
	r.Ends = now.Add(min(r.TTL, r.Created.Add(r.TTL).Sub(t.now(now.Sub(epoch)))))
	return nil
}

// estimateFor returns the estimate for the server that has key. If there is none, or an old one, it
// asks the server. If there is an old one, only one of several callers asks.
func (s *Store) estimateFor(ctx context.Context, key string) (*timeEstimate, error) {
	t, node := &s.times.single, redis.Cmdable(s.rdb)
	if s.onCluster() {
		master, err := s.nodeFor(ctx, key)
		if err != nil {
			return nil, classify("time", false, err)
		}
		known, _ := s.times.byNode.LoadOrStore(master.Options().Addr, new(timeEstimate))
		t, node = known.(*timeEstimate), master
	}
	known := t.offset.Load() != 0
	if known && time.Since(epoch)-time.Duration(t.askedAt.Load()) < timeEstimateMaxAge {
		return t, nil
	}
	if known && !t.asking.CompareAndSwap(false, true) {
		return t, nil
	}
	sent := time.Since(epoch)
	at, err := call(ctx, s, s.breakerFor(ctx, key), "time", false, func(ctx context.Context) (time.Time, error) {
		return node.Time(ctx).Result()
	})
	if err == nil {
		t.offset.Store(at.UnixMicro() - sent.Microseconds())
		t.askedAt.Store(int64(sent))
	}
	if known {
		t.asking.Store(false)
		return t, nil // an old estimate is better than none
	}
	return t, err
}
