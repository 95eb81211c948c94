package demo

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// items is the cache under demonstration, and counts the commands that it sends.
type items struct {
	*instance.Items
	sent *commandCounter
}

func openItems(cfg instanceConfig) (cache, error) {
	rdb, err := server.NewClient(cfg.RedisURL, nil)
	if err != nil {
		return nil, err
	}
	c := items{sent: new(commandCounter)}
	rdb.AddHook(c.sent)
	c.Items, err = instance.OpenItems(rdb, tiered.Options{
		Namespace: cfg.Namespace,
		Local:     local.Options{MaxEntries: cfg.NearEntries},
	}, cfg.TTL)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c items) invalidate(ctx context.Context, key string) error {
	_, err := c.Cache.Delete(ctx, key)
	return err
}

func (c items) received() (invalidations, losses int64) {
	s := c.Client.Stats()
	return int64(s.Invalidations), int64(s.Losses)
}

func (c items) commands() int64 { return c.sent.Load() }

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
