package invalidation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/patient"
	"github.com/doppio-cache/doppio/internal/topology"
)

// Defaults of Options.
const (
	DefaultMaxStaleness = 2 * time.Second
	DefaultBackoff      = 5 * time.Second
)

// ErrLanes is returned when the instances of a namespace do not agree on how many lanes it has.
var ErrLaneCount = errors.New("invalidation: another instance has another number of lanes for this namespace")

// ErrClient is returned when the Redis client is one that cannot be used, or its server is another
// than the client is for, or a replica.
var ErrClient = errors.New("invalidation: the Redis client cannot be used")

// clientError makes what is wrong with a client match ErrClient; other errors stay as they are.
func clientError(err error) error {
	var refused *topology.RefusedError
	var replica *topology.NotMasterError
	if errors.As(err, &refused) || errors.As(err, &replica) && replica.Never {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	return err
}

// Options configure a Receiver. Handler must be set.
type Options struct {
	// Namespace names the lanes, and Lane is the index of the one that is followed, of Lanes (default 1) in all.
	Namespace   string
	Lane, Lanes int
	// Instance names the channel on which the receiver hears itself. Each instance of a fleet has its own.
	Instance uint64
	// MaxStaleness is how long after an echo was sent the receiver is trusted once the echo came back, and how long a
	// subscription may leave echoes unanswered before it is given up as half-open. An echo, one script, is sent every
	// quarter of it. Defaults to DefaultMaxStaleness.
	MaxStaleness time.Duration
	// Backoff is the longest pause before another attempt to subscribe; the first is after a fiftieth of it. Defaults
	// to DefaultBackoff.
	Backoff time.Duration
	Handler Handler
	// Known gives the newest id of the lane that the owner was told of, by an acknowledgement of a
	// change of its own as much as by the Handler, and that it has been told once. A server whose
	// lane lacks it has lost what it had acknowledged, even if the message never came. It must not
	// block. Defaults to what the Handler was told.
	NewestID func() uint64
	// Floor gives the newest floor of all caches that the owner was told of. A server that has lost
	// the lane's history puts a floor where the new one begins, unless it has one that is newer. It
	// must not block. Defaults to none.
	NewestFloor func() uint64
	// Logger hears, at Debug, of every attempt that ended and every echo that failed. Defaults to silence.
	Logger *slog.Logger
	// Topology is what is known of the client, shared with the calls to Redis. Start makes it where it is nil.
	Topology *topology.Topology
	// Panics counts and logs panics of the Redis client's hooks and dialers. Nothing does where it is nil.
	Panics *guard.Panics
}

func (o Options) withDefaults() Options {
	if o.Lanes <= 0 {
		o.Lanes = 1
	}
	if o.MaxStaleness <= 0 {
		o.MaxStaleness = DefaultMaxStaleness
	}
	if o.Backoff <= 0 {
		o.Backoff = DefaultBackoff
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// firstPause is the pause after a subscription that lived. Some pause there must be, however short the longest one is.
func (o Options) firstPause() time.Duration {
	return max(o.Backoff/50, min(o.Backoff, time.Millisecond))
}

// Receiver follows one lane over one subscription, and makes a new one whenever it is lost.
//
// It reads the subscription itself: go-redis's Channel drops messages after 60 s with only a log line, and its health
// check does not read the pong that it asks for, so a half-open connection would go unnoticed.
//
// A Sentinel client dials the new master after a failover, but a subscription that is up stays where it is. Echoes go
// through the client's pool: one comes back over an old subscription only if the old master, made a replica, passes on
// what the new one publishes, and then so do messages.
type Receiver struct {
	rdb     redis.UniversalClient
	servers *topology.Topology
	opts    Options
	names   lane.Names
	cancel  context.CancelFunc
	done    sync.WaitGroup
	applied atomic.Uint64
	state   atomic.Uint32
	kick    chan struct{} // asks for an echo at once
	asking  chan struct{} // echoes under way
	telling chan struct{} // replies under way: see FindCopies
	hanging atomic.Int64  // echoes that go-redis has not returned from

	listening atomic.Int64 // subscriptions that go-redis has not returned from, the one that is up included

	mu       sync.Mutex // held while the handler is told
	chain    chain
	session  *session // the subscription, none while there is none
	echoes   echoes
	answerAt time.Time // when an echo was last answered, or the receiver was started
	silent   bool      // OnSilence was called, and OnAnswer was not since
	last     lane.ID   // the newest id that the handler was told of
	floor    string    // the newest floor that it was told of, as Redis writes it; empty: none since the lane's history began
	trusted  time.Time // the time of the last OnTrust
	awaiting *trust    // given when the floors that the server had then are known
}

// Start makes a receiver and its goroutines. It does not wait for the subscription. With a client that remote.New would
// refuse there is none: the Handler is told Lost, and why, once.
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
		r.done.Go(func() { opts.Handler.OnLost(opts.Lane, clientError(err)) })
		return r
	}
	rdb = patient.Bound(rdb, max(opts.MaxStaleness, minSetup))
	r := &Receiver{
		rdb: rdb, servers: servers, opts: opts, names: lane.Of(opts.Namespace, opts.Lane).In(servers.Database()), cancel: cancel,
		answerAt: time.Now(), kick: make(chan struct{}, 1), asking: make(chan struct{}, maxAsking), telling: make(chan struct{}, maxRunningReplies),
	}
	r.done.Go(func() { r.run(ctx) })
	r.done.Go(func() { r.pulse(ctx) })
	return r
}

// Close ends the subscription and waits for its goroutines. A connection attempt is interrupted. Where a server accepts
// and then does not answer the greeting, or a command, go-redis can only be waited for: Close then takes the client's
// ReadTimeout at most, or MaxStaleness (1 s if that is longer) for a *redis.Client without one. With any other client
// without a ReadTimeout, of a Cluster or a type that embeds a client, the calls that hang end with their connections:
// when the operating system gives these up, or when the client is closed.
func (r *Receiver) Close() {
	r.cancel()
	r.done.Wait()
}

// Applied is the id up to which all messages of the lane have been handed to the Handler, or dropped; 0 before the first.
func (r *Receiver) Applied() uint64 { return r.applied.Load() }

// known is an id that the lane has, or it has lost something.
func (r *Receiver) known() lane.ID {
	if r.opts.NewestID == nil {
		return 0 // the chain knows
	}
	return lane.ID(r.opts.NewestID())
}

// floorOfAll is the newest floor of all caches that is known.
func (r *Receiver) floorOfAll() lane.ID {
	if r.opts.NewestFloor == nil {
		return 0
	}
	return lane.ID(r.opts.NewestFloor())
}

// State tells what the receiver is up to.
func (r *Receiver) State() State { return State(r.state.Load()) }

func (r *Receiver) run(ctx context.Context) {
	pause := r.opts.firstPause()
	for {
		began := time.Now()
		err := r.subscription(ctx)
		if ctx.Err() != nil {
			return
		}
		r.opts.Logger.Debug("doppio: subscription to invalidations ended", "lane", r.opts.Lane, "error", err)
		r.met(err)
		if c := r.servers.Cluster(); c != nil {
			c.ReloadState(ctx) // the slot may have moved
		}
		switch {
		case errors.Is(err, ErrLaneCount):
			pause = r.opts.Backoff
		case time.Since(began) > r.opts.Backoff:
			pause = r.opts.firstPause()
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

// move changes the state and tells so. It is called with mu held.
func (r *Receiver) move(to State, reason string, err error) {
	from := r.State()
	if from == to {
		return
	}
	r.state.Store(uint32(to))
	r.opts.Handler.OnState(StateChange{Lane: r.opts.Lane, From: from, To: to, Reason: reason, Err: err, At: time.Now()})
}

// drop tells that messages are missing. It is called with mu held, as are the next three.
func (r *Receiver) drop(why DropReason) {
	if why != DropHistoryLost {
		r.opts.Handler.OnDrop(r.opts.Lane, why, 0)
		return
	}
	r.opts.Handler.OnDrop(r.opts.Lane, why, uint64(r.chain.ended))
	// What was asked before tells of the lane as it was.
	r.echoes.told = r.echoes.newest
	r.last, r.floor = r.chain.w, ""
	r.opts.Handler.OnFloors(r.opts.Lane, uint64(r.last), nil)
}

func (r *Receiver) learn(last lane.ID, floors map[string]uint64) {
	r.last = max(r.last, last)
	r.opts.Handler.OnFloors(r.opts.Lane, uint64(r.last), floors)
}

// advanced publishes how far the chain has come, when the handler knows all of it.
func (r *Receiver) advanced() { r.applied.Store(uint64(r.chain.w)) }

// broken drops everything when the chain broke on a live subscription, and tells whether there is something to catch up
// with. At least an echo must come, before anything is trusted longer than it was.
func (r *Receiver) broken(s *session, why DropReason) (behind bool) {
	r.drop(why)
	r.awaiting = nil
	r.move(StateSyncing, why.String(), nil)
	if r.chain.syncing {
		s.counts = 0
		return true
	}
	s.counts = r.echoes.newest + 1
	r.hurry()
	return false
}

// hurry asks for an echo now.
func (r *Receiver) hurry() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}
