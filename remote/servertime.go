package remote

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A record's life is counted by the clock of the server that keeps it: scripts date what they store, and Redis ends it. Who reads a
// record with one GET needs that server's time to tell how much of its life is left, for a local copy, and whether it is in its grace.
// So a store keeps an estimate of the time of each server, and asks for it again now and then. The wall clocks of the machines that
// write and read have no say.
//
// The estimate is never behind the server's clock, as long as that is not set forward, and ahead of it by what a round trip takes at
// most: a local copy ends that much before its record, never after. After a server's clock was set, or after a failover to a server
// with another one, it is wrong by the difference for up to serverTimeFresh.
type serverTimes struct {
	one  serverTime
	many sync.Map // on a Cluster: *serverTime by the node's address
}

// serverTime is the estimate for one server.
type serverTime struct {
	ahead  atomic.Int64 // the server's Unix time less ours since epoch, in microseconds; 0 is unknown
	asked  atomic.Int64 // when, since epoch in nanoseconds
	asking atomic.Bool
}

// serverTimeFresh is how old an estimate may be before the next reader asks for another: clocks that are disciplined differ by less
// than 3 ms after that.
const serverTimeFresh = 5 * time.Second

func (t *serverTime) now(since time.Duration) time.Time {
	return time.UnixMicro(t.ahead.Load() + since.Microseconds())
}

// settle completes the reading of a record, whose error is passed through: it reckons when its life ends. It is an error if the
// server's time cannot be had for a record with a grace, which may be over; one without is there as long as Redis returns it.
func (s *Store) settle(ctx context.Context, key string, r *Record, err error) error {
	if err != nil || r.life() == 0 || r.Kind == KindLease {
		return err
	}
	t, err := s.serverTime(ctx, key)
	now := time.Now()
	if err != nil {
		if r.Grace > 0 {
			return err
		}
		r.Ends = now // nothing to keep a copy by
		return nil
	}
	r.Ends = now.Add(min(r.TTL, r.Created.Add(r.TTL).Sub(t.now(now.Sub(epoch)))))
	return nil
}

// serverTime gives the estimate for the server that keeps key. Where there is none, or an old one, the caller asks the server; of
// several callers one does, unless there is none yet.
func (s *Store) serverTime(ctx context.Context, key string) (*serverTime, error) {
	t, node := &s.times.one, redis.Cmdable(s.rdb)
	if s.masters != nil {
		master, err := s.masters.MasterForKey(ctx, key)
		if err != nil {
			return nil, classify("time", false, err)
		}
		known, _ := s.times.many.LoadOrStore(master.Options().Addr, new(serverTime))
		t, node = known.(*serverTime), master
	}
	known := t.ahead.Load() != 0
	if known && time.Since(epoch)-time.Duration(t.asked.Load()) < serverTimeFresh {
		return t, nil
	}
	if known && !t.asking.CompareAndSwap(false, true) {
		return t, nil
	}
	sent := time.Since(epoch)
	at, err := call(ctx, s, s.at(ctx, key), "time", false, func(ctx context.Context) (time.Time, error) { return node.Time(ctx).Result() })
	if err == nil {
		t.ahead.Store(at.UnixMicro() - sent.Microseconds())
		t.asked.Store(int64(sent))
	}
	if known {
		t.asking.Store(false)
		return t, nil // an old estimate is better than none
	}
	return t, err
}
