package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
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
	f.subscribers(ctx, rdb, names.Channel)
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
func (f *Finding) subscribers(ctx context.Context, rdb redis.UniversalClient, channel string) {
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
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		count(rdb.PubSubNumSub(ctx, channel).Result())
		return
	}
	// Sharded subscribers are all at the node that has the lane. A Cluster without sharded pub/sub counts node by node, and
	// classic subscribers of another node are not seen from here.
	node, err := cluster.MasterForKey(ctx, channel)
	if err != nil {
		return
	}
	counts, err := node.PubSubShardNumSub(ctx, channel).Result()
	f.Lane.ShardedSub = err == nil
	if err != nil {
		counts, err = node.PubSubNumSub(ctx, channel).Result()
	}
	count(counts, err)
}
