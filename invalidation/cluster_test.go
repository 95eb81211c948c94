package invalidation

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

func TestCluster_usesShardedChannels(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	rdb := c.Client(t)
	rec := receive(t, rdb)
	rec.live(t)
	names := lane.Of(t.Name(), 0)
	owner := c.Owner(t, c.Slot(t, names.Stream)).Client(t)
	if n := owner.PubSubShardNumSub(t.Context(), names.Channel).Val()[names.Channel]; n != 1 {
		t.Errorf("%d sharded subscribers", n)
	}
	want := []uint64{1, 2, 3}
	for _, h := range want {
		announce(t, rdb, keys(h))
	}
	rec.awaitHash(t, 3)
	rec.live(t)
	rec.awaitDrops(t, DropFirstSync)
	if !slices.Equal(rec.received(), want) {
		t.Errorf("received %v", rec.received())
	}
}

// withoutShards takes sharded pub/sub away, which servers before 7.0 do not have.
var withoutShards = redistest.WithArgs("--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", "")

func TestCluster_withoutShardedChannels(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, withoutShards)
	rdb := c.Client(t)
	rec := receive(t, rdb)
	rec.live(t)
	announce(t, rdb, keys(1))
	rec.awaitHash(t, 1)
	rec.live(t)
	rec.awaitDrops(t, DropFirstSync)
	if lost := rec.all("lost"); len(lost) > 0 {
		t.Errorf("lost: %v", lost[0].err)
	}
}

func TestCluster_slotMovesUnderMessages(t *testing.T) {
	for name, of := range map[string]struct {
		protocol int
		servers  []redistest.Option
		lost     error // nil: what the server says
	}{
		"RESP2": {protocol: 2}, "RESP3": {protocol: 3},
		// No server ends a subscription that is not sharded: the receiver notices that the slot has
		// moved.
		"RESP2 without shards": {2, []redistest.Option{withoutShards}, errMoved}, "RESP3 without shards": {3, []redistest.Option{withoutShards}, errMoved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := redistest.StartCluster(t, 3, of.servers...)
			rdb := c.Client(t, func(o *redis.ClusterOptions) { o.Protocol = of.protocol; o.MaxRedirects = 8 })
			rec := receive(t, rdb)
			rec.live(t)
			slot := c.Slot(t, lane.Of(t.Name(), 0).Stream)
			var want []uint64
			say := func(n int) {
				for range n {
					want = append(want, uint64(len(want)+1))
					announce(t, rdb, keys(want[len(want)-1]))
				}
			}
			for round := range 3 {
				say(10)
				from := c.Owner(t, slot)
				to := c.Nodes[0]
				if from == to {
					to = c.Nodes[1]
				}
				lost := len(rec.all("lost"))
				c.MoveSlot(t, slot, from, to)
				moved := time.Now()
				say(10)
				e := rec.await(t, "lost", lost+1)
				if of.lost != nil && !errors.Is(e.err, of.lost) {
					t.Errorf("round %d: lost by %v", round, e.err)
				}
				rec.live(t)
				subscribedAt(t, rec, to, of.lost == nil)
				t.Logf("round %d: lost by %v after %v, live after %v", round, e.err, e.at.Sub(moved), time.Since(moved))
				redistest.Eventually(t, patience, func() error {
					got := slices.Compact(slices.Sorted(slices.Values(rec.received())))
					if !slices.Equal(got, want) {
						return fmt.Errorf("received %v, want %v", got, want)
					}
					return nil
				})
			}
			rec.awaitDrops(t, DropFirstSync)
		})
	}
}

// subscribedAt waits until the lane's subscription is at a node.
func subscribedAt(t *testing.T, rec *recorder, node *redistest.Server, sharded bool) {
	t.Helper()
	channel := lane.Of(t.Name(), 0).Channel
	rdb := node.Client(t)
	redistest.Eventually(t, patience, func() error {
		ask := rdb.PubSubNumSub
		if sharded {
			ask = rdb.PubSubShardNumSub
		}
		if n, err := ask(t.Context(), channel).Result(); err != nil || n[channel] != 1 {
			return fmt.Errorf("%d subscriptions at %s, %w", n[channel], node.Addr, err)
		}
		return nil
	})
	rec.live(t)
}

func TestSentinel_failoverIsFollowed(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	rdb := s.Client(t)
	rec := receive(t, rdb)
	rec.live(t)
	announce(t, rdb, keys(1))
	rec.awaitHash(t, 1)
	s.Failover(t)
	failed := time.Now()
	announce(t, s.Client(t), keys(2))
	redistest.Eventually(t, patience, func() error {
		// Replayed, or dropped with all else if the promoted replica had not heard of the first.
		if !slices.Contains(rec.received(), 2) && !slices.Contains(rec.reasons(), DropHistoryLost) {
			return errors.New("what the new master announced is not known")
		}
		return nil
	})
	rec.live(t)
	announce(t, s.Client(t), keys(3))
	rec.awaitHash(t, 3)
	t.Logf("live after %v, lost %d times, dropped for %v", time.Since(failed), len(rec.all("lost")), rec.reasons())
}
