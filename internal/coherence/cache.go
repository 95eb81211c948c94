package coherence

import (
	"sync/atomic"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
)

// Cache is what is known about the copies of one cache.
type Cache struct {
	*Manager
	name    string
	seed    uint64
	inspect func(key string) invalidation.CopyStatus // what the cache holds locally; nil until InspectBy. Guarded by Manager.mu

	min    atomic.Uint64   // local copies whose stamp is below this position are invalid
	minIDs []atomic.Uint64 // remote records whose stamp is below the id of their key's lane are invalid
}

// Seed is the hash that stands for a cache, and seeds those of its keys.
func Seed(namespace, name string) uint64 { return keyhash.Seed(namespace + ":" + name + ":") }

// Cache returns what is known about the cache of that name. It is called once for a name.
func (m *Manager) Cache(name string) *Cache {
	c := &Cache{Manager: m, name: name, seed: Seed(m.opts.Namespace, name), minIDs: make([]atomic.Uint64, len(m.lanes))}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.min.Store(m.min)
	for i := range m.lanes {
		l := &m.lanes[i]
		if id := max(l.unnamed[c.seed], l.later); id > 0 {
			l.floors[name] = max(l.floors[name], id)
			delete(l.unnamed, c.seed)
		}
		c.minIDs[i].Store(l.floorOf(name))
	}
	m.caches[c.seed] = c
	return c
}

// Point is what was known when a read or a load began: what it gives is invalid if something about
// it is learned later.
type Point struct {
	Stamp uint64 // the position reached
	Begun int64  // reading of local.Monotonic
	ID    uint64 // the newest id of the key's lane: what began after it is as new as that
}

// Point is taken before a remote read of a key with this hash.
func (c *Cache) Point(hash uint64) Point {
	// The id comes first: it may be older than the stamp, never newer.
	id := c.lanes[c.LaneOf(hash)].last.Load()
	return Point{Stamp: c.table.Now(), Begun: local.Monotonic(), ID: id}
}

// Settled is the position up to which everything that was learned is taken into account: a copy
// that is found valid later may be given that stamp.
func (c *Cache) Settled() uint64 { return c.table.Recorded() }

// Valid reports whether nothing is known to have invalidated a key, or its whole cache, since
// stamp.
func (c *Cache) Valid(hash, stamp uint64) bool {
	return stamp >= c.min.Load() && c.table.Valid(hash, stamp)
}

// TagsValid reports whether no tag with one of these hashes is known to have been invalidated since
// stamp.
func (c *Cache) TagsValid(hashes []uint64, stamp uint64) bool {
	for _, h := range hashes {
		if !c.table.Valid(h, stamp) {
			return false
		}
	}
	return true
}

// MinID is the id that the stamp of a remote record of a key with this hash must have reached.
func (c *Cache) MinID(hash uint64) uint64 { return c.minIDs[c.LaneOf(hash)].Load() }

// MinIDs are those of all lanes.
func (c *Cache) MinIDs() []uint64 {
	ids := make([]uint64, len(c.minIDs))
	for i := range ids {
		ids[i] = c.minIDs[i].Load()
	}
	return ids
}

// InvalidateAll makes every local copy of the cache invalid, on this instance.
func (c *Cache) InvalidateAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.invalidateAllOfLocked()
}

func (c *Cache) invalidateAllOfLocked() {
	if !c.shut {
		c.table.Advance(c.min.Store)
	}
}

// Conclude makes the copies with these hashes invalid, and reports whether nothing newer than begun
// was known about them, the watched hashes, or the whole cache. Then, and only then, a value that
// was read or stored since begun is as new as the stamp that it returns.
func (c *Cache) Conclude(begun uint64, hashes, watched []uint64) (stamp uint64, unchanged bool) {
	// The minimum is raised with mu held, too: a higher one is either seen here, or is above the
	// stamp.
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, unchanged = c.table.RaiseAndCheck(begun, hashes, watched)
	return stamp, unchanged && c.min.Load() <= begun
}

// InspectBy sets the function that says what the cache holds locally for a key.
func (c *Cache) InspectBy(inspect func(key string) invalidation.CopyStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inspect = inspect
}

var _ invalidation.CopyInspector = (*Manager)(nil)

// InspectCopy implements invalidation.CopyInspector.
func (m *Manager) InspectCopy(q invalidation.CopyQuery) invalidation.CopyStatus {
	m.mu.Lock()
	var inspect func(string) invalidation.CopyStatus
	if c := m.caches[q.Seed]; c != nil {
		inspect = c.inspect
	}
	m.mu.Unlock()
	if inspect == nil {
		return invalidation.CopyStatus{}
	}
	return inspect(q.Key)
}
