package peers

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dial gives the go-redis client that all have who go over go-redis, connected. Its options are the library's defaults, but for the
// pool and for notices of maintenance, which only a service in the cloud sends and which would ask each connection for them.
// advice changes what a library advises to change.
func dial(ctx context.Context, c Config, advice ...func(*redis.Options)) (*redis.Client, error) {
	o := &redis.Options{
		Addr: c.Addr, DB: c.DB, PoolSize: c.PoolSize,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, a := range advice {
		a(o)
	}
	rdb := redis.NewClient(o)
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, closing(rdb, fmt.Errorf("cannot reach Redis: %w", err))
	}
	return rdb, nil
}

// closing closes what was opened before something failed, and gives that failure.
func closing(rdb *redis.Client, failure error) error {
	if err := rdb.Close(); err != nil {
		return fmt.Errorf("%w (and closing failed: %w)", failure, err)
	}
	return failure
}
