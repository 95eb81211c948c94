package fleet

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// cache is what an instance needs of the cache that it drives.
type cache interface {
	Ready(ctx context.Context) error
	Get(ctx context.Context, key string, load func(context.Context) (instance.Item, error)) (instance.Item, instance.Answer, error)
	// change does to both tiers of all instances what was committed to the source, and gives the id of the change in the lane.
	change(ctx context.Context, how Change, key string, item instance.Item) (id uint64, err error)
	// applied is the id up to which this instance knows all changes.
	applied() uint64
	state() state
	// Reach tells whether every node of Redis can be reached, and calls are let through to them.
	Reach(ctx context.Context) error
	Close() error
}

// state is what an instance says of its cache.
type state struct {
	coherent              bool
	invalidations, losses uint64
	sent                  uint64 // commands, to Redis
	drops                 map[string]uint64
}

// retryBackoff is how long a cache waits before it tries again what failed.
const retryBackoff = 250 * time.Millisecond

type openCache func(instanceConfig) (cache, error)

// items is the cache itself.
type items struct{ *instance.Items }

func openItems(cfg instanceConfig) (cache, error) {
	engine, err := engineKind(cfg.Engine)
	if err != nil {
		return nil, err
	}
	rdb, err := server.NewClient(cfg.RedisURL, func(o *redis.UniversalOptions) {
		o.MaxRetries, o.DialerRetries = 1, 1
		if len(cfg.Routes) > 0 {
			o.Dialer = server.DialThrough(cfg.Routes)
		}
	})
	if err != nil {
		return nil, err
	}
	c, err := instance.OpenItems(rdb, tiered.Options{
		Namespace:    cfg.Namespace,
		MaxStaleness: cfg.MaxStaleness,
		RetryBackoff: retryBackoff,
		Local:        local.Options{MaxEntries: cfg.NearEntries, Engine: engine},
	}, tiered.CacheOptions{TTL: cfg.TTL, LocalTTL: cfg.LocalTTL})
	if err != nil {
		return nil, err
	}
	return items{c}, nil
}

func (c items) change(ctx context.Context, how Change, key string, item instance.Item) (uint64, error) {
	var token tiered.Token
	ctx = tiered.WithToken(ctx, &token)
	var err error
	if how == Set {
		err = c.Cache.Set(ctx, key, item)
	} else {
		_, err = c.Cache.Delete(ctx, key)
	}
	if err != nil {
		return 0, err
	}
	return idOf(token.String()), nil
}

// idOf reads the id in a text, which may have the lane's number and a colon before it; 0 if there is none.
func idOf(text string) uint64 {
	if _, after, found := strings.Cut(text, ":"); found {
		text = after
	}
	id, err := lane.Parse(text)
	if err != nil {
		return 0
	}
	return uint64(id)
}

func (c items) applied() uint64 {
	lanes := c.Client.Stats().Lanes
	if len(lanes) == 0 {
		return 0
	}
	return idOf(lanes[0].Applied)
}

func (c items) state() state {
	s := c.Client.Stats()
	out := state{coherent: s.Coherent, invalidations: s.Invalidations, losses: s.Losses, sent: c.Sent(), drops: s.Drops}
	for _, l := range s.Lanes {
		out.coherent = out.coherent && l.State == tiered.Live
	}
	return out
}
