package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// Item is what the cache holds: a version of a key of the source, and something to carry.
type Item struct {
	Key     uint64
	Version uint64
	Body    string
}

// Answer says when a read began, how long it took, and what answered it.
type Answer struct {
	Begin time.Time
	Took  time.Duration
	Tier  Tier
}

const (
	readyTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
)

// Items is the cache of an instance.
type Items struct {
	Client *tiered.Client
	Cache  *tiered.Cache[Item]
	rdb    redis.UniversalClient
	sent   *sent
}

// OpenItems opens a cache over rdb, which is its own from now on, and has not been used yet.
func OpenItems(rdb redis.UniversalClient, o tiered.Options, lives tiered.CacheOptions) (*Items, error) {
	c := &Items{rdb: rdb, sent: countSent(rdb)}
	var err error
	if c.Client, err = tiered.New(rdb, o); err != nil {
		return nil, fmt.Errorf("instance: %w", errors.Join(err, rdb.Close()))
	}
	c.Cache, err = tiered.NewCache[Item](c.Client, "items", lives)
	if err != nil {
		return nil, fmt.Errorf("instance: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

// Ready waits until the near tier is coherent.
func (c *Items) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := c.Client.Ready(ctx); err != nil {
		return fmt.Errorf("instance: the cache did not become ready: %w", err)
	}
	return nil
}

// Get reads through the cache, and tells which tier answered.
func (c *Items) Get(ctx context.Context, key string, load func(context.Context) (Item, error)) (Item, Answer, error) {
	var answered tiered.Answer
	ctx = tiered.WithAnswer(ctx, &answered)
	begin := time.Now()
	item, err := c.Cache.GetOrSet(ctx, key, load)
	took := time.Since(begin)
	return item, Answer{Begin: begin, Took: took, Tier: Classify(answered)}, err
}

// Reach tells whether every node of Redis can be reached, by commands and by pipelines, which have connections of their own, and
// calls are let through to them.
func (c *Items) Reach(ctx context.Context) error {
	if c.Client.Stats().BreakerOpen {
		return errBreaker
	}
	ping := func(ctx context.Context, node *redis.Client) error {
		_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Ping(ctx).Err() })
		return errors.Join(err, node.Ping(ctx).Err())
	}
	switch rdb := c.rdb.(type) {
	case *redis.ClusterClient:
		return rdb.ForEachMaster(ctx, ping)
	case *redis.Client:
		return ping(ctx, rdb)
	default:
		return fmt.Errorf("instance: a client of type %T", rdb)
	}
}

// errBreaker reports that calls fail at once.
var errBreaker = errors.New("instance: the breaker is open")

// Sent is how many commands were sent to Redis. What scripts call there is not sent.
func (c *Items) Sent() uint64 { return c.sent.Load() }

// Close closes the cache, which waits for its loads, and the connections.
func (c *Items) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(c.Client.Close(ctx), c.rdb.Close())
}
