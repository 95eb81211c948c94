package demo

import (
	"context"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// items is the cache under demonstration.
type items struct{ *instance.Items }

func openItems(cfg instanceConfig) (cache, error) {
	rdb, err := server.NewClient(cfg.RedisURL, nil)
	if err != nil {
		return nil, err
	}
	c, err := instance.OpenItems(rdb, tiered.Options{
		Namespace: cfg.Namespace,
		Local:     local.Options{MaxEntries: cfg.NearEntries},
	}, tiered.CacheOptions{TTL: cfg.TTL})
	if err != nil {
		return nil, err
	}
	return items{c}, nil
}

func (c items) invalidate(ctx context.Context, key string) error {
	_, err := c.Cache.Delete(ctx, key)
	return err
}

func (c items) received() (invalidations, losses int64) {
	s := c.Client.Stats()
	return int64(s.Invalidations), int64(s.Losses)
}

func (c items) commands() int64 { return int64(c.Sent()) }
