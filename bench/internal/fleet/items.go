package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// Item is what the cache holds: a version of a key of the source, and something to carry.
type Item struct {
	Key     uint64
	Version uint64
	Body    string
}

// answer says when a read began, how long it took, and what answered it.
type answer struct {
	begin time.Time
	took  time.Duration
	tier  Tier
}

const (
	readyTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
)

// items is the cache itself.
type items struct {
	client *tiered.Client
	cache  *tiered.Cache[Item]
	rdb    redis.UniversalClient
	sent   *sent
}

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
	c := &items{rdb: rdb, sent: countSent(rdb)}
	c.client, err = tiered.New(rdb, tiered.Options{
		Namespace:    cfg.Namespace,
		MaxStaleness: cfg.MaxStaleness,
		RetryBackoff: retryBackoff,
		Local:        local.Options{MaxEntries: cfg.LocalEntries, Engine: engine},
	})
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", errors.Join(err, rdb.Close()))
	}
	c.cache, err = tiered.NewCache[Item](c.client, "items", tiered.CacheOptions{TTL: cfg.TTL, LocalTTL: cfg.LocalTTL})
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

func (c *items) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := c.client.Ready(ctx); err != nil {
		return fmt.Errorf("fleet: the cache did not become ready: %w", err)
	}
	return nil
}

func (c *items) get(ctx context.Context, key string, load func(context.Context) (Item, error)) (Item, answer, error) {
	var answered tiered.Source
	ctx = tiered.WithSource(ctx, &answered)
	begin := time.Now()
	item, err := c.cache.GetOrSet(ctx, key, load)
	took := time.Since(begin)
	return item, answer{begin, took, classify(answered)}, err
}

func (c *items) change(ctx context.Context, how Change, key string, item Item) (uint64, error) {
	var token tiered.Token
	ctx = tiered.WithToken(ctx, &token)
	var err error
	if how == Set {
		err = c.cache.Set(ctx, key, item)
	} else {
		_, err = c.cache.Delete(ctx, key)
	}
	if err != nil {
		return 0, err
	}
	return idOf(token.String()), nil
}

// idOf reads the id in a text, which may have the lane's number and a colon before it; 0 if there
// is none.
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

func (c *items) applied() uint64 {
	lanes := c.client.Stats().Lanes
	if len(lanes) == 0 {
		return 0
	}
	return idOf(lanes[0].Applied)
}

func (c *items) state() state {
	s := c.client.Stats()
	out := state{coherent: s.Coherent, invalidations: s.Invalidations, losses: s.Losses, sent: c.sent.Load(), drops: s.Drops}
	for _, l := range s.Lanes {
		out.coherent = out.coherent && l.State == tiered.StateLive
	}
	return out
}

// reach asks each node by a command and by a pipeline, which have connections of their own.
func (c *items) reach(ctx context.Context) error {
	if c.client.Stats().BreakerOpen {
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
		return fmt.Errorf("fleet: a client of type %T", rdb)
	}
}

// errBreaker reports that calls fail at once.
var errBreaker = errors.New("fleet: the breaker is open")

// Close closes the cache, which waits for its loads, and the connections.
func (c *items) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(c.client.Close(ctx), c.rdb.Close())
}
