package coherence

import (
	"context"

	"github.com/doppio-cache/doppio/invalidation"
)

// Cleared is what became of a cache's part in one lane that was to be invalidated.
type Cleared struct {
	Lane int
	ID   uint64 // of the announcement; 0 with Err
	Err  error
}

// Clear invalidates the whole cache, in both tiers and on all instances: it raises the floor of its
// remote records on every lane. What could not be raised is queued to be raised later.
func (c *Cache) Clear(ctx context.Context) []Cleared {
	c.InvalidateAll()
	out := make([]Cleared, len(c.lanes))
	for i := range c.lanes {
		a := c.strangersAnnouncement(i, invalidation.Message{Type: invalidation.TypeCleared, Hashes: []uint64{c.seed}})
		if err := c.remote.RaiseFloor(ctx, c.name, a); err != nil {
			c.clearLater(i, err)
			c.InvalidateAll()
			out[i] = Cleared{Lane: i, Err: err}
			continue
		}
		c.reached(i, a.ID)
		c.raiseFloor(i, c.seed, a.ID)
		out[i] = Cleared{Lane: i, ID: a.ID}
	}
	return out
}

// AnnounceRemoved announces, on every lane, that entries of the cache were removed of which the
// keys are not listed: other instances drop all local copies of the cache. Where that failed, the
// whole cache is queued to be invalidated later.
func (c *Cache) AnnounceRemoved(ctx context.Context) []Cleared {
	out := make([]Cleared, len(c.lanes))
	for i := range c.lanes {
		a := c.strangersAnnouncement(i, invalidation.Message{Type: invalidation.TypeCaches, Hashes: []uint64{c.seed}})
		if err := c.remote.Announce(ctx, a); err != nil {
			c.clearLater(i, err)
			out[i] = Cleared{Lane: i, Err: err}
			continue
		}
		c.reached(i, a.ID)
		out[i] = Cleared{Lane: i, ID: a.ID}
	}
	c.InvalidateAll()
	return out
}

// ClearLater queues the invalidation of the whole cache, which failed with err.
func (c *Cache) ClearLater(err error) {
	for i := range c.lanes {
		c.clearLater(i, err)
	}
}

func (c *Cache) clearLater(lane int, err error) {
	if undeliverable(err) {
		c.retries.addClear(c.name, lane, err)
	}
}
