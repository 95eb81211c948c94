package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
	"github.com/doppio-cache/doppio/invalidation"
)

// look finds the entry's lane and where it stands, and gives the floor of the entry's cache.
func (f *Finding) look(ctx context.Context, rdb redis.UniversalClient, p Place) (floor lane.ID, err error) {
	count, err := countLanes(ctx, rdb, p.Namespace)
	if err != nil {
		return 0, err
	}
	f.Lane = Lane{Index: lane.Index(p.hash(), count), Lanes: count}
	names := lane.Of(p.Namespace, f.Lane.Index).In(topology.Database(rdb))
	if f.Lane.Length, err = rdb.XLen(ctx, names.Stream).Result(); err != nil {
		return 0, err
	}
	newest, err := rdb.XRevRangeN(ctx, names.Stream, "+", "-", 1).Result()
	if err != nil {
		return 0, err
	}
	if len(newest) > 0 {
		id, err := lane.Parse(newest[0].ID)
		if err != nil {
			return 0, err
		}
		at := time.UnixMilli(id.UnixMilli()).UTC()
		f.Lane.Newest, f.Lane.NewestAt = id.String(), &at
	}
	floors, err := rdb.HMGet(ctx, names.Floors, allCaches, p.Cache).Result()
	if err != nil {
		return 0, err
	}
	for _, v := range floors {
		text, ok := v.(string)
		if !ok {
			continue
		}
		id, err := lane.Parse(text)
		if err != nil {
			return 0, err
		}
		floor = max(floor, id)
	}
	if floor > 0 {
		f.Lane.Floor = floor.String()
	}
	f.subscribers(ctx, rdb, p.Namespace, names.Channel)
	return floor, nil
}

// countLanes tells how many lanes the namespace has, 0 if no instance has noted it.
func countLanes(ctx context.Context, rdb redis.UniversalClient, namespace string) (int, error) {
	text, err := rdb.Get(ctx, lane.Of(namespace, 0).Count).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the number of lanes of namespace %q is noted as %.20q", namespace, text)
	}
	return n, nil
}

// subscribers counts who listens to the lane: one for each instance, and those who tail. Where that may not be asked, it stays unknown.
func (f *Finding) subscribers(ctx context.Context, rdb redis.UniversalClient, namespace, channel string) {
	count := func(counts map[string]int64, err error) {
		if err != nil {
			return
		}
		n := counts[channel]
		if f.Lane.Subscribers != nil {
			n += *f.Lane.Subscribers
		}
		f.Lane.Subscribers = &n
	}
	cluster := topology.Cluster(rdb)
	if cluster == nil {
		count(rdb.PubSubNumSub(ctx, channel).Result())
		return
	}
	servers, err := topology.Of(rdb, namespace, invalidation.DefaultMaxStaleness)
	if err != nil {
		return
	}
	if f.Lane.ShardedSub, err = servers.Sharded(ctx, channel); err != nil {
		return
	}
	if f.Lane.ShardedSub { // all subscribers are at the node that has the lane
		if node, err := cluster.MasterForKey(ctx, channel); err == nil {
			count(node.PubSubShardNumSub(ctx, channel).Result())
		}
		return
	}
	// A subscription that is not sharded may be at any node.
	var mu sync.Mutex
	_ = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		counts, err := node.PubSubNumSub(ctx, channel).Result()
		mu.Lock()
		defer mu.Unlock()
		count(counts, err)
		return nil
	})
}
