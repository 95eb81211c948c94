package fleet

import (
	"context"
	"time"
)

// cache is the cache that an instance drives.
type cache interface {
	// ready waits until the local tier is coherent.
	ready(ctx context.Context) error
	// get reads through the cache, and returns which tier answered.
	get(ctx context.Context, key string, load func(context.Context) (Item, error)) (Item, answer, error)
	// change tells the cache of a commit to the source, in both tiers of all instances, and returns
	// the id of the change in the lane.
	change(ctx context.Context, how Change, key string, item Item) (id uint64, err error)
	// applied is the id up to which this instance knows all changes.
	applied() uint64
	state() state
	// reach returns an error unless every node of Redis can be reached, and calls are let through
	// to them.
	reach(ctx context.Context) error
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
