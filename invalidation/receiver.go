package invalidation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/patient"
	"github.com/doppio-cache/doppio/internal/topology"
)

// Receiver follows one lane over one subscription, and makes a new subscription whenever it is
// lost.
//
// It reads the subscription itself, with PubSub.Receive. go-redis's PubSub.Channel drops messages
// after 60 s with only a log line, and its health check does not read the reply to its PING, so a
// half-open connection would go unnoticed.
//
// A Sentinel client dials the new master after a failover, but a subscription that is up stays
// connected to the old one. Probes go through the client's pool, to the new master. An echo comes
// back over the old subscription only if the old master has become a replica that passes on what
// the new one publishes; then messages come, too.
type Receiver struct {
	rdb            redis.UniversalClient
	servers        *topology.Topology
	opts           Options
	names          lane.Names
	cancel         context.CancelFunc
	goroutines     sync.WaitGroup
	applied        atomic.Uint64
	state          atomic.Uint32
	probeNowCh     chan struct{} // asks for a probe at once
	probeSlots     chan struct{} // one for each probe that is not too late to extend trust
	replySlots     chan struct{} // one for each reply under way: see FindCopies
	runningProbes  atomic.Int64  // probes from which go-redis has not returned
	runningListens atomic.Int64  // subscriptions from which go-redis has not returned, the current one included

	mu          sync.Mutex // held while the Handler is called
	seq         sequence
	sub         *subscription // nil while there is none
	probes      probes
	answeredAt  time.Time      // when the server last answered a probe, or the receiver was started
	silent      bool           // OnSilence was called, and OnAnswer was not since
	newest      lane.ID        // the newest id that was reported to the Handler
	newestFloor string         // the newest floor that was reported, as Redis writes it; empty: none of this history
	trustedAt   time.Time      // the time of the last OnTrust
	deferred    *deferredTrust // the echo whose floors are not known yet
}

// Start returns a receiver and starts its goroutines. It does not wait for the subscription. If the
// client is one that remote.New refuses, the receiver calls Handler.OnLost once and does nothing
// else. Call Close in the end.
func Start(rdb redis.UniversalClient, opts Options) *Receiver {
	ctx, cancel := context.WithCancel(context.Background())
	opts = opts.withDefaults()
	servers := opts.Topology
	var err error
	if servers == nil {
		servers, err = topology.Of(rdb, opts.Namespace, opts.MaxStaleness)
	}
	if err != nil {
		r := &Receiver{opts: opts, cancel: cancel}
		r.goroutines.Go(func() { opts.Handler.OnLost(opts.Lane, clientError(err)) })
		return r
	}
	rdb = patient.Bound(rdb, max(opts.MaxStaleness, minSetup))
	r := &Receiver{
		rdb: rdb, servers: servers, opts: opts, names: servers.Lane(opts.Namespace, opts.Lane), cancel: cancel,
		probeNowCh: make(chan struct{}, 1), probeSlots: make(chan struct{}, maxOpenProbes),
		replySlots: make(chan struct{}, maxRunningReplies), answeredAt: time.Now(),
	}
	r.goroutines.Go(func() { r.run(ctx) })
	r.goroutines.Go(func() { r.probeLoop(ctx) })
	return r
}

// Close ends the subscription and waits for the goroutines. It interrupts a connection attempt. It
// cannot interrupt go-redis while a server accepts a connection and does not answer. In that case
// Close takes at most the client's ReadTimeout, or MaxStaleness (at least 1 s) for a *redis.Client
// without one. With any other client without a ReadTimeout, of a Cluster or a type that embeds a
// client, Close waits until the operating system gives up the connections or the client is closed.
func (r *Receiver) Close() {
	r.cancel()
	r.goroutines.Wait()
}

// Applied returns the id up to which every message of the lane was passed to the Handler, or
// dropped. It returns 0 before the first message.
func (r *Receiver) Applied() uint64 { return r.applied.Load() }

// minID returns an id that the lane has, unless it has lost a change.
func (r *Receiver) minID() lane.ID {
	if r.opts.NewestID == nil {
		return 0 // the sequence knows
	}
	return lane.ID(r.opts.NewestID())
}

// knownFloor returns the newest floor of all caches that this instance knows.
func (r *Receiver) knownFloor() lane.ID {
	if r.opts.NewestFloor == nil {
		return 0
	}
	return lane.ID(r.opts.NewestFloor())
}

// State returns the current state.
func (r *Receiver) State() State { return State(r.state.Load()) }

func (r *Receiver) run(ctx context.Context) {
	pause := r.opts.minPause()
	for {
		began := time.Now()
		err := r.runSubscription(ctx)
		if ctx.Err() != nil {
			return
		}
		r.opts.Logger.Debug("doppio: subscription to invalidations ended", "lane", r.opts.Lane, "error", err)
		r.onResult(err)
		if c := r.servers.Cluster(); c != nil {
			c.ReloadState(ctx) // the slot may have moved
		}
		switch {
		case errors.Is(err, ErrLaneCount):
			pause = r.opts.Backoff
		case time.Since(began) > r.opts.Backoff:
			pause = r.opts.minPause()
		}
		// Jitter: a fleet that lost its server together must not come back together.
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, r.opts.Backoff)
	}
}

// setState changes the state and reports the change. r.mu is held.
func (r *Receiver) setState(to State, reason string, err error) {
	from := r.State()
	if from == to {
		return
	}
	r.state.Store(uint32(to))
	r.opts.Handler.OnState(StateChange{Lane: r.opts.Lane, From: from, To: to, Reason: reason, Err: err, At: time.Now()})
}

// dropAll reports that messages are missing. r.mu is held, as in the methods below.
func (r *Receiver) dropAll(why DropReason) {
	if why != DropHistoryLost {
		r.opts.Handler.OnDrop(r.opts.Lane, why, 0)
		return
	}
	r.opts.Handler.OnDrop(r.opts.Lane, why, uint64(r.seq.historyEnd))
	// The replies to earlier probes are about the lost history.
	r.probes.reported = r.probes.newest
	r.newest, r.newestFloor = r.seq.applied, ""
	r.opts.Handler.OnFloors(r.opts.Lane, uint64(r.newest), nil)
}

func (r *Receiver) reportFloors(last lane.ID, floors map[string]uint64) {
	r.newest = max(r.newest, last)
	r.opts.Handler.OnFloors(r.opts.Lane, uint64(r.newest), floors)
}

// publishApplied makes Applied return the position of the sequence. The Handler knows every message
// up to there.
func (r *Receiver) publishApplied() { r.applied.Store(uint64(r.seq.applied)) }

// onBrokenSequence drops every local copy after a gap or a loss on a live subscription. Trust is
// not extended before another echo. It reports whether messages must be replayed.
func (r *Receiver) onBrokenSequence(s *subscription, why DropReason) (behind bool) {
	r.dropAll(why)
	r.deferred = nil
	r.setState(StateSyncing, why.String(), nil)
	if r.seq.syncing {
		s.firstProbe = 0
		return true
	}
	s.firstProbe = r.probes.newest + 1
	r.probeNow()
	return false
}
