// Package coherence is what an instance knows about the validity of its local copies, and what it
// does to keep those of other instances valid.
//
// The receivers of the lanes tell a [Manager] what arrives (events.go). A [Change] is one write of
// this instance, from its beginning to its end (change.go). Invalidations that could not be
// delivered wait in the retry queue (retryqueue.go). Every local hit asks its [Cache] whether the
// copy is valid (cache.go), and a [View] keeps reads from going back in time (view.go).
package coherence

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Options configure a Manager. All but OnState and Panics are required.
type Options struct {
	Namespace    string
	Lanes        int
	MaxStaleness time.Duration
	MaxRetries   int           // invalidations that wait in the retry queue at most
	Backoff      time.Duration // the longest pause between retries, and between attempts to subscribe
	// Uncertain is how long a change whose reply was lost may take to happen, from when it was
	// given up.
	Uncertain time.Duration
	Logger    *slog.Logger
	Panics    *guard.Panics
	// OnState is called with each transition of a lane's subscription. It must not block.
	OnState func(invalidation.StateChange)
}

// Manager is what a client knows about the validity of its local copies.
//
// Positions of the table order what was learned. Readers load trustedUntil first, then the minimum
// position, then the table; a writer raises the table and the minimum before it extends
// trustedUntil.
type Manager struct {
	opts   Options
	table  *invalidation.Table
	remote *remote.Store

	// trustedUntil is the reading of local.Monotonic until which the subscriptions are known to
	// have missed nothing: the earliest end of the lanes' trust windows.
	trustedUntil atomic.Int64

	agreed atomic.Bool // the namespace has as many lanes as this instance thinks

	own     ownChanges
	asking  singleflight.Group // for floors, by lane
	waiters waiters
	retries *retryQueue
	views   views

	mu     sync.Mutex
	caches map[uint64]*Cache // by the seed of each cache
	min    uint64            // what the minimum positions of new caches begin with
	shut   bool              // minimum positions are as high as they can be, and stay there
	ready  chan struct{}     // closed while local copies are trusted
	lanes  []laneState

	received, lost, refused, synced atomic.Uint64
	tracked, trackingDrops          atomic.Uint64
	drops                           [dropReasons]atomic.Uint64
}

// New returns a Manager that trusts nothing until Listen was called.
func New(store *remote.Store, o Options) *Manager {
	m := &Manager{
		opts: o, table: invalidation.NewTable(), remote: store,
		own:    ownChanges{instance: rand.Uint32(), known: make(map[uint32]progress)},
		caches: make(map[uint64]*Cache), ready: make(chan struct{}), lanes: make([]laneState, o.Lanes),
	}
	m.waiters.byHash = make(map[uint64][]*Waiter)
	for i := range m.lanes {
		m.lanes[i].until = Never
		m.lanes[i].floorsAt.Store(Never)
		m.lanes[i].floors, m.lanes[i].unnamed = make(map[string]uint64), make(map[uint64]uint64)
	}
	m.trustedUntil.Store(Never)
	m.retries = newRetryQueue(m)
	return m
}

// Never is TrustedUntil before the first subscription.
const Never = math.MinInt64

// Listen starts a receiver for each lane. Close ends them.
func (m *Manager) Listen(rdb redis.UniversalClient, servers *topology.Topology) {
	o, instance := m.opts, rand.Uint64()
	for i := range m.lanes {
		l := &m.lanes[i]
		l.receiver = invalidation.Start(rdb, invalidation.Options{
			Namespace: o.Namespace, Lane: i, Lanes: o.Lanes, Instance: instance, MaxStaleness: o.MaxStaleness, Backoff: o.Backoff,
			Handler: m, NewestID: l.last.Load, NewestFloor: l.allFloor.Load, Logger: o.Logger, Topology: servers, Panics: o.Panics,
		})
	}
}

// RunRetries delivers the invalidations of the retry queue until ctx ends.
func (m *Manager) RunRetries(ctx context.Context) { m.retries.run(ctx) }

// Close ends the receivers, and waits for them.
func (m *Manager) Close() {
	var wg sync.WaitGroup
	for i := range m.lanes {
		wg.Go(m.lanes[i].receiver.Close)
	}
	wg.Wait()
}

// Shut makes every local copy invalid, those to come included.
func (m *Manager) Shut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shut, m.min = true, math.MaxUint64
	for _, c := range m.caches {
		c.min.Store(m.min)
	}
}

// TrustedUntil is the reading of local.Monotonic until which local copies are trusted.
func (m *Manager) TrustedUntil() int64 { return m.trustedUntil.Load() }

// Trusted reports whether local copies are trusted now.
func (m *Manager) Trusted() bool { return local.Monotonic() < m.trustedUntil.Load() }

// Lanes is how many lanes the namespace has, and LaneOf the one that announces changes of a hash.
func (m *Manager) Lanes() int { return len(m.lanes) }

// LaneOf is the index of the lane that carries what concerns a hash.
func (m *Manager) LaneOf(hash uint64) int { return lane.Index(hash, len(m.lanes)) }

// Invalidate makes the local copies with these hashes invalid, on this instance.
func (m *Manager) Invalidate(hashes ...uint64) { m.table.Raise(hashes...) }

// invalidateAll makes every local copy invalid, in O(1) for each cache.
func (m *Manager) invalidateAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invalidateAllLocked()
}

func (m *Manager) invalidateAllLocked() {
	if m.shut {
		return
	}
	m.table.Advance(func(position uint64) {
		m.min = position
		for _, c := range m.caches {
			c.min.Store(position)
		}
	})
}

// Ready returns nil when local copies are trusted, an error when the namespace cannot be used, and
// that of ctx, or remote.ErrClosed, when ctx ends or closing is closed before that.
func (m *Manager) Ready(ctx context.Context, closing <-chan struct{}) error {
	for {
		m.mu.Lock()
		if err := m.refusedLocked(); err != nil {
			m.mu.Unlock()
			return err
		}
		if m.Trusted() {
			m.mu.Unlock()
			return nil
		}
		select {
		case <-m.ready:
			m.ready = make(chan struct{}) // the trust window is over
		default:
		}
		ready := m.ready
		m.mu.Unlock()
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		case <-closing:
			return remote.ErrClosed
		}
	}
}

// wakeReadyLocked wakes the calls of Ready when something about trust is known.
func (m *Manager) wakeReadyLocked() {
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
}

// refusedLocked returns why the namespace cannot be used, if so.
func (m *Manager) refusedLocked() error {
	for i := range m.lanes {
		if err := m.lanes[i].refused; err != nil {
			return err
		}
	}
	return nil
}
