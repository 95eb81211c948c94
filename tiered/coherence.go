package tiered

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// coherence is what a client knows about the validity of its near tier. The receivers tell it what arrives (see
// lanes.go), mutations tell it what this instance changed (mutation.go), and every near hit asks it.
//
// Positions of the table order what was learned. Readers load liveUntil first, then the floor, then the table; whoever
// learns something raises the table and the floor before it extends liveUntil.
type coherence struct {
	table *invalidation.Table
	far   *remote.Store
	bound time.Duration // MaxStaleness
	log   *slog.Logger

	// liveUntil is the reading of local.Monotonic until which the subscriptions are known to have missed nothing: the
	// earliest end of the lanes' coherence leases.
	liveUntil atomic.Int64

	agreed atomic.Bool // the namespace has as many lanes as this instance thinks

	own     ownMutations
	asking  singleflight.Group // for floors, by lane
	waiters waiters
	pending *pending
	notices *notices // nil: nobody asked

	sightings sightings

	mu     sync.Mutex
	caches map[uint64]*cacheFloors // by the seed of each cache
	near   uint64                  // what the near floors of new caches begin with
	shut   bool                    // near floors are as high as they can be, and stay there
	ready  chan struct{}           // closed while the near tier is coherent
	lanes  []laneState

	received, lost, refused, synced atomic.Uint64
	tracked, trackingDrops          atomic.Uint64
	drops                           [dropReasons]atomic.Uint64
}

// cacheFloors are below what entries of one cache are not served: near ones by the position of their stamp, far ones by
// the id that the lane of their key had reached.
type cacheFloors struct {
	name string
	held func(key string) invalidation.CopyStatus // what the cache has near; nil before it is made. Guarded by coherence.mu
	near atomic.Uint64
	far  []atomic.Uint64 // by lane
}

func newCoherence(o Options, far *remote.Store) *coherence {
	c := &coherence{
		table: invalidation.NewTable(), far: far, bound: o.MaxStaleness, log: o.Logger,
		own:    ownMutations{instance: rand.Uint32(), known: make(map[uint32]progress)},
		caches: make(map[uint64]*cacheFloors), ready: make(chan struct{}), lanes: make([]laneState, o.Lanes),
	}
	c.waiters.byHash = make(map[uint64][]*waiter)
	for i := range c.lanes {
		c.lanes[i].until = neverLive
		c.lanes[i].floorsAt.Store(neverLive)
		c.lanes[i].floors, c.lanes[i].unnamed = make(map[string]uint64), make(map[uint64]uint64)
	}
	c.liveUntil.Store(neverLive)
	return c
}

// neverLive is liveUntil before the first subscription.
const neverLive = math.MinInt64

// register gives the floors of a cache.
func (c *coherence) register(name string, seed uint64) *cacheFloors {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &cacheFloors{name: name, far: make([]atomic.Uint64, len(c.lanes))}
	f.near.Store(c.near)
	for i := range c.lanes {
		l := &c.lanes[i]
		if id := max(l.unnamed[seed], l.later); id > 0 {
			l.floors[name] = max(l.floors[name], id)
			delete(l.unnamed, seed)
		}
		f.far[i].Store(l.floorOf(name))
	}
	c.caches[seed] = f
	return f
}

// laneOf is the lane that carries what concerns a hash.
func (c *coherence) laneOf(hash uint64) int { return lane.Index(hash, len(c.lanes)) }

// raiseAll invalidates every near entry, in O(1) for each cache.
func (c *coherence) raiseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raiseAllLocked()
}

func (c *coherence) raiseAllLocked() {
	if c.shut {
		return
	}
	c.table.Advance(func(position uint64) {
		c.near = position
		for _, f := range c.caches {
			f.near.Store(position)
		}
	})
}

// close invalidates every near entry, those to come included: nothing is served any more.
func (c *coherence) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut, c.near = true, math.MaxUint64
	for _, f := range c.caches {
		f.near.Store(c.near)
	}
}

// raiseScope invalidates every near entry of one cache. A cache that this instance does not have holds nothing.
func (c *coherence) raiseScope(seed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raiseScopeLocked(c.caches[seed])
}

func (c *coherence) raiseScopeLocked(f *cacheFloors) {
	if f != nil && !c.shut {
		c.table.Advance(f.near.Store)
	}
}

// trust tells what a policy allows at now: whether all entries may be served, or only those kept for want of coherence.
func trust(policy Incoherence, live, now int64) (all, gutterOnly bool) {
	if now < live {
		return true, false
	}
	switch policy.mode {
	case serveStale:
		// Before the first sync, and after its span, what is loaded now is kept for its moment, as Gutter does.
		within := live != neverLive && now-live < int64(policy.maxAge)
		return within, !within
	case bypass:
		return false, false
	default:
		return false, true
	}
}

// gutterTTL is how long what is loaded without coherence is kept, counted from the begin of its load: no longer than
// coherence would vouch for it, since what was cleared may have been known a quarter of the bound late.
func (c *coherence) gutterTTL() int64 { return int64(min(DefaultGutterTTL, c.bound*3/4)) }

// conclude raises the table for these hashes, and tells whether nothing newer than begun was known
// about them, those watched, or the whole cache: then, and only then, what was read or stored since
// then is as new as the position that is returned.
func (c *coherence) conclude(f *cacheFloors, begun uint64, hashes, watched []uint64) (stamp uint64, clean bool) {
	// Floors are raised under mu too: a floor is either seen here, or is above the stamp.
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, clean = c.table.RaiseAndCheck(begun, hashes, watched)
	return stamp, clean && f.near.Load() <= begun
}

// await returns when the near tier is coherent, or with ctx.
func (c *coherence) await(ctx context.Context, closing <-chan struct{}) error {
	for {
		c.mu.Lock()
		if err := c.refusedLocked(); err != nil {
			c.mu.Unlock()
			return err
		}
		if local.Monotonic() < c.liveUntil.Load() {
			c.mu.Unlock()
			return nil
		}
		select {
		case <-c.ready:
			c.ready = make(chan struct{}) // the lease has run out
		default:
		}
		ready := c.ready
		c.mu.Unlock()
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		case <-closing:
			return ErrClosed
		}
	}
}

// wakeReady lets those go on who wait until something about the near tier's coherence is known.
func (c *coherence) wakeReady() {
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

// seedOf is the hash that stands for a cache, and seeds those of its keys.
func seedOf(namespace, name string) uint64 { return keyhash.Seed(namespace + ":" + name + ":") }
