//go:build linux

package attack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/tiered"
)

// cache is what is attacked.
type cache interface {
	ready(ctx context.Context) error
	// get reads a key. load is nil for a read that does not load.
	get(ctx context.Context, key string, load func(context.Context) (string, error)) (string, history.Tier, error)
	set(ctx context.Context, key, value string) error
	remove(ctx context.Context, key string) error
	close() error
}

// kinds of caches, by name.
var kinds = map[string]func(workerConfig) (cache, error){
	"tiered": openTiered,
	// Two that are broken by intention: one never hears of others' changes, one not even of its own.
	"alone": func(workerConfig) (cache, error) { return &broken{held: map[string]string{}, own: true}, nil },
	"deaf":  func(workerConfig) (cache, error) { return &broken{held: map[string]string{}}, nil },
}

// valueOf is what is stored: it tells what it is, wherever it is found.
func valueOf(key int, version uint64) string { return fmt.Sprintf("k%d.v%d.", key, version) }

// parseValue gives the version of a key's value.
func parseValue(key int, value string) (history.Result, uint64) {
	digits, ok := strings.CutPrefix(value, fmt.Sprintf("k%d.v", key))
	version, err := strconv.ParseUint(strings.TrimSuffix(digits, "."), 10, 64)
	if !ok || err != nil || version == 0 || !strings.HasSuffix(digits, ".") {
		return history.Foreign, 0
	}
	return history.Value, version
}

type tieredCache struct {
	rdb    redis.UniversalClient
	client *tiered.Client
	cache  *tiered.Cache[string]
}

const (
	cacheName     = "hot"
	remoteTimeout = 500 * time.Millisecond
	closeTimeout  = 10 * time.Second
)

func openTiered(cfg workerConfig) (cache, error) {
	c := &tieredCache{rdb: cfg.dial()}
	policy := tiered.Gutter
	if cfg.Bypass {
		policy = tiered.Bypass
	}
	var err error
	c.client, err = tiered.New(c.rdb, tiered.Options{
		Namespace: cfg.Namespace, MaxStaleness: cfg.MaxStaleness, WhenIncoherent: policy,
		RemoteTimeout: remoteTimeout, BreakerPause: 200 * time.Millisecond, RetryBackoff: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return nil, errors.Join(err, c.rdb.Close())
	}
	c.cache, err = tiered.NewCache[string](c.client, cacheName, tiered.CacheOptions{TTL: time.Hour})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// dial makes the client of Redis, whose connections take the instance's own ways.
func (cfg workerConfig) dial() redis.UniversalClient {
	dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if way, ok := cfg.Ways[addr]; ok {
			addr = way
		}
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	}
	const poolSize = 32
	switch cfg.Topology {
	case "cluster":
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: cfg.Addrs, Dialer: dialer, PoolSize: poolSize,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
	case "sentinel":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: cfg.MasterName, SentinelAddrs: cfg.Addrs, Dialer: dialer, PoolSize: poolSize,
		})
	default:
		return redis.NewClient(&redis.Options{
			Addr: cfg.Addrs[0], Dialer: dialer, PoolSize: poolSize,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
	}
}

func (c *tieredCache) ready(ctx context.Context) error { return c.client.Ready(ctx) }

func (c *tieredCache) get(ctx context.Context, key string, load func(context.Context) (string, error)) (string, history.Tier, error) {
	var answer tiered.Source
	ctx = tiered.WithSource(ctx, &answer)
	var value string
	var err error
	if load == nil {
		value, err = c.cache.Get(ctx, key)
	} else {
		value, err = c.cache.GetOrSet(ctx, key, load)
	}
	tier := [...]history.Tier{
		tiered.SourceLocal: history.Local, tiered.SourceRemote: history.Remote, tiered.SourceLoader: history.Load, tiered.SourceStale: history.Old,
	}[answer]
	return value, tier, err
}

func (c *tieredCache) set(ctx context.Context, key, value string) error {
	return c.cache.Set(ctx, key, value)
}

func (c *tieredCache) remove(ctx context.Context, key string) error {
	_, err := c.cache.Delete(ctx, key)
	return err
}

func (c *tieredCache) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(c.client.Close(ctx), c.rdb.Close())
}

// broken is a map that nobody invalidates.
type broken struct {
	own bool // its own changes are heard of

	mu   sync.Mutex
	held map[string]string
}

func (b *broken) ready(context.Context) error { return nil }

func (b *broken) get(ctx context.Context, key string, load func(context.Context) (string, error)) (string, history.Tier, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if value, ok := b.held[key]; ok {
		return value, history.Local, nil
	}
	if load == nil {
		return "", history.Remote, tiered.ErrNotFound
	}
	value, err := load(ctx)
	if err == nil {
		b.held[key] = value
	}
	return value, history.Load, err
}

func (b *broken) set(ctx context.Context, key, _ string) error { return b.remove(ctx, key) }

func (b *broken) remove(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.own {
		delete(b.held, key)
	}
	return nil
}

func (b *broken) close() error { return nil }
