package tiered

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
)

// coherence is what a client knows about the validity of its near tier. The receiver tells it what arrives, mutations
// tell it what this instance changed, and every near hit asks it.
//
// Positions of the table order what was learned. Readers load liveUntil first, then the floor, then the table; whoever
// learns something raises the table and the floor before it extends liveUntil.
type coherence struct {
	table  *invalidation.Table
	policy Incoherence
	bound  time.Duration // MaxStaleness
	log    *slog.Logger

	// liveUntil is the reading of local.Monotonic until which the subscription is known to have missed nothing for want
	// of a connection.
	liveUntil atomic.Int64

	own ownMutations

	mu     sync.Mutex
	floors map[uint64]*atomic.Uint64 // by the seed of each cache: entries with a lower stamp are not served
	floor  uint64                    // what new caches begin with
	shut   bool                      // floors are as high as they can be, and stay there
	ready  chan struct{}             // closed while the near tier is coherent

	subscribed, lost, refused, received, unreadable atomic.Uint64
}

func newCoherence(o Options) *coherence {
	c := &coherence{
		table: invalidation.NewTable(), policy: o.WhenIncoherent, bound: o.MaxStaleness, log: o.Logger,
		own:    ownMutations{instance: rand.Uint32(), known: make(map[uint32]struct{})},
		floors: make(map[uint64]*atomic.Uint64), ready: make(chan struct{}),
	}
	c.liveUntil.Store(neverLive)
	return c
}

// neverLive is liveUntil before the first subscription.
const neverLive = math.MinInt64

// register gives the floor of a cache.
func (c *coherence) register(seed uint64) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := new(atomic.Uint64)
	f.Store(c.floor)
	c.floors[seed] = f
	return f
}

// raiseAll invalidates every near entry, in O(1) for each cache.
func (c *coherence) raiseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return
	}
	c.floor = c.table.Advance()
	for _, f := range c.floors {
		f.Store(c.floor)
	}
}

// close invalidates every near entry, those to come included: nothing is served any more.
func (c *coherence) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut, c.floor = true, math.MaxUint64
	for _, f := range c.floors {
		f.Store(c.floor)
	}
}

// raiseScope invalidates every near entry of one cache. A cache that this instance does not have holds nothing.
func (c *coherence) raiseScope(seed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.floors[seed]; f != nil && !c.shut {
		f.Store(c.table.Advance())
	}
}

// trust tells what policy holds at now: whether all entries may be served, or only those kept for want of coherence.
func (c *coherence) trust(live, now int64) (all, gutterOnly bool) {
	if now < live {
		return true, false
	}
	switch c.policy.mode {
	case serveStale:
		return live != neverLive && now-live < int64(c.policy.maxAge), false
	case bypass:
		return false, false
	default:
		return false, true
	}
}

// await returns when the near tier is coherent, or with ctx.
func (c *coherence) await(ctx context.Context, closing <-chan struct{}) error {
	for {
		c.mu.Lock()
		ready := c.ready
		c.mu.Unlock()
		select {
		case <-ready:
			if local.Monotonic() < c.liveUntil.Load() {
				return nil
			}
			// The subscription is up but has not answered for too long: the watchdog is about to say so, or an answer
			// is on its way.
			timer := time.NewTimer(c.bound / 8)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-closing:
				timer.Stop()
				return ErrClosed
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-closing:
			return ErrClosed
		}
	}
}

// Subscribed implements invalidation.Handler. What was published while nobody listened is unknown, so everything near is dropped.
func (c *coherence) Subscribed(sent time.Time) {
	c.subscribed.Add(1)
	c.own.forget()
	c.raiseAll()
	c.Alive(sent)
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ready:
	default:
		c.log.Info("doppio: subscribed to invalidations")
		close(c.ready)
	}
}

// Invalidated implements invalidation.Handler.
func (c *coherence) Invalidated(m invalidation.Message) {
	defer c.received.Add(1) // when it has taken effect
	if c.own.acknowledged(m.Publisher) {
		return
	}
	switch m.Type {
	case invalidation.Keys:
		c.table.Raise(m.Hashes...)
	case invalidation.Scope:
		for _, seed := range m.Hashes {
			c.raiseScope(seed)
		}
	default:
		c.raiseAll()
	}
}

// Unreadable implements invalidation.Handler: a message of a later version may mean anything, so everything near is dropped.
func (c *coherence) Unreadable(err error) {
	c.unreadable.Add(1)
	c.log.Warn("doppio: unreadable invalidation, dropping the near tier", "error", err)
	c.raiseAll()
}

// Alive implements invalidation.Handler.
func (c *coherence) Alive(sent time.Time) {
	at := local.Monotonic() - int64(time.Since(sent))
	c.liveUntil.Store(max(c.liveUntil.Load(), after(at, c.bound)))
}

// Lost implements invalidation.Handler.
func (c *coherence) Lost(err error) {
	c.liveUntil.Store(min(c.liveUntil.Load(), local.Monotonic()))
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ready:
		// One loss, however often the attempts to subscribe again fail.
		c.lost.Add(1)
		c.log.Warn("doppio: subscription to invalidations lost", "error", err, "until it is back", c.policy.String())
		c.ready = make(chan struct{})
	default:
		c.refused.Add(1)
		c.log.Debug("doppio: no subscription to invalidations yet", "error", err)
	}
}

var _ invalidation.Handler = (*coherence)(nil)

// mutation is a change that this instance is making to some keys of one cache.
type mutation struct {
	co        *coherence
	floor     *atomic.Uint64
	hashes    []uint64
	begun     uint64
	publisher uint64
}

// mutate begins a change: from now on no near entry of these keys is served, and no load that began before may be
// joined. Whoever calls it calls done.
func (c *coherence) mutate(floor *atomic.Uint64, hashes ...uint64) mutation {
	return mutation{co: c, floor: floor, hashes: hashes, begun: c.table.Raise(hashes...), publisher: c.own.begin()}
}

// message is the announcement of the change.
func (m mutation) message() []byte {
	return encodeMessage(invalidation.Message{Type: invalidation.Keys, Publisher: m.publisher, Hashes: m.hashes})
}

// done ends a change. Loads that began while it was under way may have read the old value, so the table is raised once
// more. clean tells whether nothing else happened meanwhile to the keys, the tags with the watched hashes, or the whole
// cache: then, and only then, the changed value may be kept near, with the given stamp.
func (m mutation) done(err error, watched ...uint64) (stamp uint64, clean bool) {
	if err != nil {
		// It may yet happen, however late: its message must not be taken for one that was dealt with.
		m.co.own.drop(m.publisher)
	}
	// Floors are raised under mu too: a floor is either seen here, or is above the stamp.
	m.co.mu.Lock()
	defer m.co.mu.Unlock()
	stamp, clean = m.co.table.Conclude(m.begun, m.hashes, watched)
	return stamp, clean && err == nil && m.floor.Load() <= m.begun
}

// cancel ends a change that turned out not to be made.
func (m mutation) cancel() { m.co.own.drop(m.publisher) }

// announceScope is the message that drops one cache everywhere.
func (c *coherence) announceScope(seed uint64) []byte {
	return encodeMessage(invalidation.Message{Type: invalidation.Scope, Publisher: c.own.id(0), Hashes: []uint64{seed}})
}

func encodeMessage(m invalidation.Message) []byte {
	b, err := m.Append(nil)
	if err != nil {
		// Only more than 65,535 hashes do that; a change of so many keys is announced as a change of all.
		all := invalidation.Message{Type: invalidation.All, Publisher: m.Publisher}
		b, _ = all.Append(nil)
	}
	return b
}

// ownMutations knows which changes this instance made and has dealt with when they were acknowledged, so that their
// messages, which come back to it like to everybody, do not drop what it has just stored. Only a change that was
// acknowledged, or still may be, is passed over: one whose reply was lost may happen at any time later.
type ownMutations struct {
	instance uint32 // the upper half of the publisher's id; the lower half counts changes
	next     atomic.Uint32

	mu    sync.Mutex
	known map[uint32]struct{}
}

// maxOwn bounds the changes whose message is awaited. Past it they are forgotten: their messages then drop a near entry too many.
const maxOwn = 1 << 16

func (o *ownMutations) id(n uint32) uint64 { return uint64(o.instance)<<32 | uint64(n) }

func (o *ownMutations) begin() uint64 {
	n := o.next.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxOwn {
		clear(o.known)
	}
	o.known[n] = struct{}{}
	return o.id(n)
}

func (o *ownMutations) drop(publisher uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, uint32(publisher&math.MaxUint32))
}

// acknowledged takes a message's publisher, and tells whether the message needs no attention.
func (o *ownMutations) acknowledged(publisher uint64) bool {
	if publisher>>32 != uint64(o.instance) {
		return false
	}
	n := uint32(publisher & math.MaxUint32)
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.known[n]
	delete(o.known, n)
	return ok
}

func (o *ownMutations) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.known)
}

// seedOf is the hash that stands for a cache, and seeds those of its keys.
func seedOf(namespace, name string) uint64 { return keyhash.Seed(namespace + ":" + name + ":") }
