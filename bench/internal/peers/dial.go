package peers

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dial gives the go-redis client that all have who go over go-redis, connected: of the same options, whoever has it, so that
// none is faster for its client's sake. They are the library's defaults, but for the pool; for what doppio's README advises and
// what serves the others as well, that deadlines are heeded and a refused connection is not tried again and again; and for
// notices of maintenance, which only a service in the cloud sends and which would ask each connection for them.
func dial(ctx context.Context, c Config) (*redis.Client, error) {
	rdb := redis.NewClient(&redis.Options{
		Addr: c.Addr, DB: c.DB, PoolSize: c.PoolSize,
		ContextTimeoutEnabled: true, DialerRetries: 1, MaxRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
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
