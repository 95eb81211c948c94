package tiered

import (
	"context"
	"errors"
	"strings"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/remote"
)

// Clear removes what matches the glob pattern, "" for all of this cache, from the remote tier, and
// every entry of this cache from the local tiers of all instances. It gives how many entries went.
// Only this cache's keys are touched.
//
// With "", all that the cache holds is invalid in both tiers and on all instances at once, however
// much it is, loads under way included; the scan that follows only reclaims the memory. If that
// fails, or ctx ends, the error is returned, and the cache is empty all the same. With a pattern,
// what was removed until then stays removed, and is announced.
func (c *Cache[V]) Clear(ctx context.Context, pattern string) (int, error) {
	removed, err := c.clear(ctx, pattern)
	return removed, c.shared.fault("Clear", err)
}

func (c *Cache[V]) clear(ctx context.Context, pattern string) (int, error) {
	if c.shared.client.isClosed() {
		return 0, ErrClosed
	}
	if c.shared.client.opts.Disabled {
		return 0, nil
	}
	if err := c.shared.client.co.CheckLanes(ctx); err != nil {
		c.shared.countRemoteError(err)
		if pattern == "" {
			c.shared.validity.ClearLater(err)
		}
		return 0, err
	}
	if pattern == "" {
		return c.clearAll(ctx)
	}
	c.shared.validity.InvalidateAll()
	removed, err := c.shared.client.remote.Clear(ctx, c.shared.prefix, pattern, func(key string) (reclaim, floor uint64) { return 0, c.minIDOf(key) })
	if err != nil {
		c.shared.countRemoteError(err)
	}
	// Announced even if the caller gave up: what went is gone.
	announced := c.shared.validity.AnnounceRemoved(context.WithoutCancel(ctx))
	return removed, errors.Join(remote.WithoutOp(err), c.cleared(ctx, announced))
}

// clearAll raises the floor of the cache's remote records on every lane, and then reclaims what
// lies below it.
func (c *Cache[V]) clearAll(ctx context.Context) (int, error) {
	before, reclaim := c.shared.validity.MinIDs(), make([]uint64, c.shared.validity.Lanes())
	cleared := c.shared.validity.Clear(ctx)
	if err := c.cleared(ctx, cleared); err != nil {
		return 0, err
	}
	for i, lane := range cleared {
		reclaim[i] = lane.ID
	}
	// Ids of different lanes do not compare: each entry goes by the floor of its own, so that what
	// was stored since stays in both tiers.
	removed, err := c.shared.client.remote.Clear(ctx, c.shared.prefix, "", func(key string) (_, floor uint64) {
		i := c.laneOfKey(key)
		return reclaim[i], before[i]
	})
	if err != nil {
		c.shared.countRemoteError(err)
	}
	return removed, err
}

// cleared counts the lanes of which a cache's part could not be cleared, and adds the others to the
// Token of ctx.
func (c *Cache[V]) cleared(ctx context.Context, lanes []coherence.Cleared) error {
	var errs []error
	for _, l := range lanes {
		if l.Err != nil {
			c.shared.countRemoteError(l.Err)
			errs = append(errs, remote.WithoutOp(l.Err))
			continue
		}
		acknowledgedAt(ctx, l.Lane, l.ID)
	}
	return errors.Join(errs...)
}

// laneOfKey is the lane of a key as Redis has it.
func (c *Cache[V]) laneOfKey(key string) int {
	return c.shared.validity.LaneOf(c.shared.hash(strings.TrimPrefix(key, c.shared.prefix)))
}

// minIDOf is the id that the record of a key, as Redis has it, must have reached.
func (c *Cache[V]) minIDOf(key string) uint64 {
	return c.shared.validity.MinID(c.shared.hash(strings.TrimPrefix(key, c.shared.prefix)))
}

// Count tells how many entries of this cache match the glob pattern, "" for all. It scans the
// remote tier: entries that come or go meanwhile may or may not be counted. It does not look at
// tags: an entry one of whose tags was invalidated counts until it is replaced or ends.
func (c *Cache[V]) Count(ctx context.Context, pattern string) (int, error) {
	n, err := c.count(ctx, pattern)
	return n, c.shared.fault("Count", err)
}

func (c *Cache[V]) count(ctx context.Context, pattern string) (int, error) {
	if c.shared.client.isClosed() {
		return 0, ErrClosed
	}
	if c.shared.client.opts.Disabled {
		return 0, nil
	}
	if err := c.shared.validity.CatchUp(ctx, c.after, c.shared.validity.AllLanes()...); err != nil {
		c.shared.countRemoteError(err)
		return 0, err
	}
	n, err := c.shared.client.remote.Count(ctx, c.shared.prefix, pattern, c.minIDOf)
	if err != nil {
		c.shared.countRemoteError(err)
	}
	return n, err
}
