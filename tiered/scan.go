package tiered

import (
	"context"
	"errors"
	"strings"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// Clear removes what matches the glob pattern, "" for all of this cache, from the far tier, and every entry of this
// cache from the near tiers of all instances. It gives how many entries went. Only this cache's keys are touched.
//
// With "", all that the cache holds is invalid in both tiers and on all instances at once, however much it is, loads
// under way included; the scan that follows only reclaims the memory. If that fails, or ctx ends, the error is returned,
// and the cache is empty all the same. With a pattern, what was removed until then stays removed, and is announced.
func (c *Cache[V]) Clear(ctx context.Context, pattern string) (int, error) {
	removed, err := c.clear(ctx, pattern)
	return removed, c.fault("Clear", err)
}

func (c *Cache[V]) clear(ctx context.Context, pattern string) (int, error) {
	if c.client.isClosed() {
		return 0, ErrClosed
	}
	if c.client.opts.Disabled {
		return 0, nil
	}
	if err := c.client.lanesAgree(ctx); err != nil {
		c.countFar(err)
		if pattern == "" && undeliverable(err) {
			for i := range c.client.co.lanes {
				c.client.co.pending.clearCache(c.name, i, err)
			}
		}
		return 0, err
	}
	if pattern == "" {
		return c.clearAll(ctx)
	}
	co := c.client.co
	co.raiseScope(c.seed)
	removed, err := c.client.far.ClearEach(ctx, c.prefix, pattern, func(key string) (reclaim, floor uint64) { return 0, c.floorOf(key) })
	if err != nil {
		c.countFar(err)
	}
	// Announced even if the caller gave up: what went is gone.
	errs := []error{remote.Plain(err)}
	for i := range co.lanes {
		told := co.announcement(i, invalidation.Message{Type: invalidation.TypeCaches, Hashes: []uint64{c.seed}})
		announced := c.client.far.Announce(context.WithoutCancel(ctx), told)
		if announced != nil {
			c.countFar(announced)
			errs = append(errs, remote.Plain(announced))
			// Which keys went is not known any more: other instances learn that all may have.
			if undeliverable(announced) {
				co.pending.clearCache(c.name, i, announced)
			}
			continue
		}
		co.reached(i, told.ID)
		acknowledgedAt(ctx, i, told.ID)
	}
	co.raiseScope(c.seed)
	return removed, errors.Join(errs...)
}

// clearAll raises the cache's far floor on every lane, and then reclaims what lies below it.
func (c *Cache[V]) clearAll(ctx context.Context) (int, error) {
	co := c.client.co
	co.raiseScope(c.seed)
	before, reclaim := make([]uint64, len(co.lanes)), make([]uint64, len(co.lanes))
	for i := range before {
		before[i] = c.floors.far[i].Load()
	}
	var errs []error
	for i := range co.lanes {
		told := co.announcement(i, invalidation.Message{Type: invalidation.TypeCleared, Hashes: []uint64{c.seed}})
		if err := c.client.far.RaiseFloor(ctx, c.name, told); err != nil {
			c.countFar(err)
			if undeliverable(err) {
				co.pending.clearCache(c.name, i, err)
			}
			co.raiseScope(c.seed)
			errs = append(errs, remote.Plain(err))
			continue
		}
		co.reached(i, told.ID)
		co.cleared(i, c.seed, told.ID)
		acknowledgedAt(ctx, i, told.ID)
		reclaim[i] = told.ID
	}
	if len(errs) > 0 {
		return 0, errors.Join(errs...)
	}
	// Ids of different lanes do not compare: each entry goes by the floor of its own, so that what was stored since stays in both tiers.
	removed, err := c.client.far.ClearEach(ctx, c.prefix, "", func(key string) (_, floor uint64) {
		i := c.laneOfKey(key)
		return reclaim[i], before[i]
	})
	if err != nil {
		c.countFar(err)
	}
	return removed, err
}

// laneOfKey is the lane of a key as Redis has it.
func (c *Cache[V]) laneOfKey(key string) int {
	return c.client.co.laneOf(c.hash(strings.TrimPrefix(key, c.prefix)))
}

// floorOf is the far floor of a key as Redis has it.
func (c *Cache[V]) floorOf(key string) uint64 { return c.floors.far[c.laneOfKey(key)].Load() }

// announcement is that of a change which is heeded when it comes back, like a stranger's.
func (c *coherence) announcement(lane int, m invalidation.Message) *remote.Announcement {
	m.Publisher = c.own.id(0)
	return c.announcing(lane, m)
}

// Count tells how many entries of this cache match the glob pattern, "" for all. It scans the far tier: entries that
// come or go meanwhile may or may not be counted. It does not look at tags: an entry one of whose tags was invalidated
// counts until it is replaced or ends.
func (c *Cache[V]) Count(ctx context.Context, pattern string) (int, error) {
	n, err := c.count(ctx, pattern)
	return n, c.fault("Count", err)
}

func (c *Cache[V]) count(ctx context.Context, pattern string) (int, error) {
	if c.client.isClosed() {
		return 0, ErrClosed
	}
	if c.client.opts.Disabled {
		return 0, nil
	}
	if err := c.catchUp(ctx, c.client.co.allLanes()...); err != nil {
		c.countFar(err)
		return 0, err
	}
	n, err := c.client.far.CountEach(ctx, c.prefix, pattern, c.floorOf)
	if err != nil {
		c.countFar(err)
	}
	return n, err
}
