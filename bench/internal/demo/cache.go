package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// Item is what the cache holds: a version of a key of the source, and something to carry.
type Item struct {
	Key     uint64
	Version uint64
	Body    string
}

// items is the cache under demonstration: it alone knows package tiered.
type items struct {
	rdb    *redis.Client
	sent   commandCounter
	client *tiered.Client
	cache  *tiered.Cache[Item]
}

func openItems(cfg instanceConfig) (cache, error) {
	opts, err := redis.ParseURL(cfg.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("demo: redis: %w", err)
	}
	c := &items{rdb: redis.NewClient(opts)}
	c.rdb.AddHook(&c.sent)
	c.client, err = tiered.New(c.rdb, tiered.Options{
		Namespace: cfg.Namespace,
		Local:     local.Options{MaxEntries: cfg.NearEntries},
	})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", errors.Join(err, c.rdb.Close()))
	}
	c.cache, err = tiered.NewCache[Item](c.client, "items", tiered.CacheOptions{TTL: cfg.TTL})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", errors.Join(err, c.close()))
	}
	return c, nil
}

func (c *items) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := c.client.Ready(ctx); err != nil {
		return fmt.Errorf("demo: the cache did not become ready: %w", err)
	}
	return nil
}

func (c *items) get(ctx context.Context, key string, loadItem func(context.Context) (Item, error)) (Item, answer, error) {
	var answered tiered.Answer
	ctx = tiered.WithAnswer(ctx, &answered)
	begin := time.Now()
	item, err := c.cache.GetOrSet(ctx, key, loadItem)
	took := time.Since(begin)
	return item, answer{begin: begin, took: took, tier: classify(answered)}, err
}

func (c *items) invalidate(ctx context.Context, key string) error {
	_, err := c.cache.Delete(ctx, key)
	return err
}

func (c *items) received() (invalidations, losses int64) {
	s := c.client.Stats()
	return int64(s.Invalidations), int64(s.Losses)
}

func (c *items) commands() int64 { return c.sent.Load() }

func (c *items) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(c.client.Close(ctx), c.rdb.Close())
}

const (
	readyTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
)

// commandCounter is a go-redis hook that counts commands as they are sent. What a script runs inside Redis is not counted.
type commandCounter struct{ atomic.Int64 }

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}
