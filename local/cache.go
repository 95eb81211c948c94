package local

import (
	"math"
	"time"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// NoExpiration is the TTL of a value that does not expire.
const NoExpiration time.Duration = math.MaxInt64

// Cache is a typed cache in this process, on a tier of its own. Its methods are safe for concurrent
// use and keep the guarantees of the package.
type Cache[V any] struct {
	tier  *Tier
	scope *Scope
	clock func() int64
}

// NewCache returns a cache. Call Close in the end. Options.Cost, if set, gets the value as a *V.
// The errors are those of [New].
func NewCache[V any](opts Options) (*Cache[V], error) {
	t, err := New(opts)
	if err != nil {
		return nil, err
	}
	return &Cache[V]{tier: t, scope: t.NewScope(), clock: opts.withDefaults().Clock}, nil
}

// Get returns the value of key, and reports whether there is one. It allocates nothing. The value
// is shared with other readers: data that it refers to must not be changed.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	hash := keyhash.Sum(0, key)
	e := c.scope.Lookup(hash, key)
	if e == nil {
		return value, false
	}
	if e.Expires != Never && c.clock() >= e.Expires {
		c.scope.Stale(hash)
		return value, false
	}
	c.scope.Hit(hash)
	return *ValueOf[V](e), true
}

// Set stores value under key for the duration ttl. NoExpiration keeps it until it is evicted, and a
// ttl of zero or less deletes the key. Set reports whether the value can be read now. It also
// returns false if the value is larger than the cache, if the engine did not keep pace with the
// writers, or if the cache is closed.
func (c *Cache[V]) Set(key string, value V, ttl time.Duration) bool {
	hash := keyhash.Sum(0, key)
	if ttl <= 0 {
		c.scope.Delete(hash, key)
		return false
	}
	expires := Never
	if ttl != NoExpiration {
		if now := c.clock(); int64(ttl) < Never-max(now, 0) {
			expires = now + int64(ttl)
		}
	}
	e := NewEntry(key, &value)
	e.Expires = expires
	return c.scope.Set(hash, e)
}

// Delete removes key.
func (c *Cache[V]) Delete(key string) { c.scope.Delete(keyhash.Sum(0, key), key) }

// Clear removes every key. It takes time in proportion to their number.
func (c *Cache[V]) Clear() { c.tier.Clear() }

// Len returns the number of values. It includes values that expired in the last seconds.
func (c *Cache[V]) Len() int { return c.tier.Len() }

// CacheStats is a snapshot of a Cache. Hits, Misses and Stale (found, but expired) count calls of
// Get.
type CacheStats struct {
	Stats
	Hits, Misses, Stale uint64
}

// Stats returns a snapshot.
func (c *Cache[V]) Stats() CacheStats {
	s := CacheStats{Stats: c.tier.Stats()}
	s.Hits, s.Misses, s.Stale = c.scope.Stats()
	return s
}

// Close frees the cache and waits for its goroutines. After it every Get is a miss. It is
// idempotent and the error is always nil.
func (c *Cache[V]) Close() error { return c.tier.Close() }
