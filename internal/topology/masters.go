package topology

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// guardedMasters makes errors of panics: to find the masters, a client may have to dial, and so to
// run a dialer or a hook of the user's, in goroutines where a panic ends the process.
type guardedMasters struct{ Masters }

func (m guardedMasters) ForEachMaster(ctx context.Context, fn func(context.Context, *redis.Client) error) (err error) {
	defer caught(&err)
	return m.Masters.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) (err error) {
		defer caught(&err) // this is a goroutine of the client's
		return fn(ctx, master)
	})
}

func (m guardedMasters) MasterForKey(ctx context.Context, key string) (master *redis.Client, err error) {
	defer caught(&err)
	return m.Masters.MasterForKey(ctx, key)
}

func caught(err *error) {
	if r := recover(); r != nil { //nolint:revive // it is deferred
		*err = fmt.Errorf("the Redis client panicked: %v", r)
	}
}
