package tiered

import (
	"context"
	"errors"
)

// Clear removes what matches the glob pattern, "" for all of this cache, from the far tier, and every entry of this
// cache from the near tiers of all instances. It gives how many entries went. Only this cache's keys are touched. It
// stops with ctx: what was removed until then stays removed, and is announced.
func (c *Cache[V]) Clear(ctx context.Context, pattern string) (int, error) {
	if c.client.isClosed() {
		return 0, ErrClosed
	}
	if c.client.opts.Disabled {
		return 0, nil
	}
	co := c.client.co
	co.raiseScope(c.seed)
	removed, err := c.client.far.Clear(ctx, c.prefix, pattern)
	// Announced even if the caller gave up: what went is gone.
	announced := c.client.far.Publish(context.WithoutCancel(ctx), co.announceScope(c.seed))
	co.raiseScope(c.seed)
	if err = errors.Join(err, announced); err != nil {
		c.countFar(err)
	}
	return removed, err
}

// Count tells how many entries of this cache match the glob pattern, "" for all. It scans the far tier: entries that
// come or go meanwhile may or may not be counted. It does not look at tags: an entry one of whose tags was invalidated
// counts until it is replaced or ends.
func (c *Cache[V]) Count(ctx context.Context, pattern string) (int, error) {
	if c.client.isClosed() {
		return 0, ErrClosed
	}
	if c.client.opts.Disabled {
		return 0, nil
	}
	n, err := c.client.far.Count(ctx, c.prefix, pattern)
	if err != nil {
		c.countFar(err)
	}
	return n, err
}
