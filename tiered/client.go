package tiered

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/codec"
	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/topology"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Client owns the local tier, the calls to the remote tier and the subscription to invalidations.
// One for each process and Redis deployment is enough; it may be used by any number of goroutines.
type Client struct {
	opts       Options
	defaultTTL time.Duration

	local     *local.Tier
	remote    *remote.Store
	servers   *topology.Topology // what is known of the Redis client
	co        *coherence.Manager
	notices   *notices // nil without Options.OnStateChange
	coalesced *coalesced
	loads     chan struct{}         // loads without the remote tier: see enterLoad
	tracker   *invalidation.Tracker // nil unless Options.Tracking
	owned     redis.UniversalClient // made by Open; nil otherwise
	spans     spans
	panics    *guard.Panics // of what the user passed
	metrics   *metrics

	life      context.Context // ends when Close begins
	end       context.CancelFunc
	closeOnce sync.Once
	closed    chan struct{} // closed when all is released
	closeErr  error         // set before closed is closed

	mu     sync.Mutex // guards what follows, and running's rise from zero
	ended  bool
	caches map[string]*registration

	running sync.WaitGroup // loads and the loaders they run
}

// registration is what is kept under a cache's name.
type registration struct {
	valueType reflect.Type
	codec     string
	encoding  codec.Options
	shared    any // *shared[V]
	stats     func() CacheStats
}

// New makes a client over rdb, which stays the caller's to close, after the client. It does not
// dial: with Redis down the client works without it, and finds it when it comes.
//
// rdb is a client of one server, of Sentinel or of a Cluster, or a type that embeds one. One that
// does not read where changes are made is refused with an *OptionError for rdb: a *redis.Ring; a
// Cluster client with ReadOnly, ReplicaOnly, RouteByLatency or RouteRandomly; a client with
// go-redis's client-side cache. What only the server can tell is found out by the first call: where
// it is a replica, a node of a Cluster behind a client of one server, or where connections use
// another database than the client's options say, every read and every change fails with such an
// *OptionError, and so does Ready.
func New(rdb redis.UniversalClient, opts Options) (*Client, error) {
	opts, panics := opts.withDefaults().guarded()
	wrong := opts.validate()
	if opts.Disabled && wrong != nil {
		return nil, wrong
	}
	c := &Client{
		opts: opts, defaultTTL: DefaultTTL, spans: newSpans(opts, panics), panics: panics, closed: make(chan struct{}),
		caches: make(map[string]*registration), loads: make(chan struct{}, max(opts.MaxLoads, 1)),
	}
	c.life, c.end = context.WithCancel(context.Background())
	if opts.Disabled {
		return c, nil
	}
	if err := errors.Join(wrong, c.openTiers(rdb)); err != nil {
		if c.local != nil {
			err = errors.Join(err, c.local.Close())
		}
		return nil, err
	}
	c.startCoherence(rdb)
	c.coalesced = newCoalesced(c)
	var err error
	if opts.Tracking {
		c.tracker, err = invalidation.StartTracking(rdb, invalidation.TrackingOptions{
			Prefix: opts.Namespace + ":", Backoff: opts.RetryBackoff, Handler: c.co.Tracking(), Logger: opts.Logger, Panics: panics,
		})
		if err != nil {
			err = &OptionError{Field: "Tracking", Reason: err.Error()}
		}
	}
	if err == nil {
		if c.metrics, err = newMetrics(c); err != nil {
			err = fmt.Errorf("doppio: registering metrics: %w", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close(context.Background()))
	}
	return c, nil
}

// startCoherence starts what runs as long as the client: a receiver for each lane, the retries, and
// the calls of OnStateChange.
func (c *Client) startCoherence(rdb redis.UniversalClient) {
	o := coherence.Options{
		Namespace: c.opts.Namespace, Lanes: c.opts.Lanes, MaxStaleness: c.opts.MaxStaleness, MaxRetries: c.opts.MaxPending,
		Backoff: c.opts.RetryBackoff, Uncertain: c.opts.RemoteTimeout, Logger: c.opts.Logger, Panics: c.panics,
	}
	if c.opts.OnStateChange != nil {
		c.notices = newNotices()
		o.OnState = c.notices.tell
		c.running.Go(func() { c.notices.run(c.life.Done(), c.opts.OnStateChange) })
	}
	c.co = coherence.New(c.remote, o)
	c.co.Listen(rdb, c.servers)
	c.running.Go(func() { c.co.RunRetries(c.life) })
}

// openTiers makes both tiers, or reports the faults of both.
func (c *Client) openTiers(rdb redis.UniversalClient) error {
	o := c.opts
	var remoteErr, localErr error
	c.servers, _ = topology.Of(rdb, o.Namespace, o.MaxStaleness) // what is wrong with rdb, the remote tier reports beside the rest
	c.remote, remoteErr = remote.New(rdb, remote.Options{
		Timeout: max(o.RemoteTimeout, 0), ReadTimeout: max(o.RemoteReadTimeout, 0), Namespace: o.Namespace, Lanes: min(max(o.Lanes, 0), MaxLanes), BreakerFailures: max(o.BreakerFailures, 0), BreakerPause: max(o.BreakerPause, 0),
		TracerProvider: o.TracerProvider, Logger: o.Logger, Topology: c.servers, Panics: c.panics,
	})
	c.local, localErr = local.New(o.Local)
	return errors.Join(remoteErr, localFaults(localErr))
}

func localFaults(err error) error {
	var f faults
	for _, e := range joined(err) {
		if fault := (*local.FieldError)(nil); errors.As(e, &fault) {
			f = append(f, &OptionError{Field: "Local." + fault.Field, Reason: fault.Reason})
		}
	}
	if len(f) == 0 {
		return err
	}
	return f.err()
}

// joined gives the errors that errors.Join has put together, however deep.
func joined(err error) []error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range many.Unwrap() {
		out = append(out, joined(e)...)
	}
	return out
}

// Ready waits until the local tier is coherent: the subscription to every lane is Live. Its error
// matches ctx's, ErrClosed, or an *OptionError when the namespace has another number of lanes, or
// the Redis client cannot be used. Nothing has to wait for it; until then WhenIncoherent holds.
func (c *Client) Ready(ctx context.Context) error {
	var err error
	switch {
	case c.isClosed():
		err = ErrClosed
	case c.opts.Disabled:
		err = ctx.Err()
	default:
		err = c.co.Ready(ctx, c.life.Done())
	}
	if err != nil {
		return faultOf("Ready", "", err)
	}
	return nil
}

// Close ends the client: calls fail with ErrClosed from now on, loads are cancelled, and every
// goroutine is waited for. When ctx ends first, the error matches its error, closing goes on, and
// Close may be called again to wait for it. A loader that ignores its context is waited for, too,
// and so are commands that were sent: for the ReadTimeout of the Redis client, or for RemoteTimeout
// or MaxStaleness, whichever is longer, where it is a *redis.Client that has none. Any other client
// without a ReadTimeout keeps Close waiting until the connections that do not answer break.
func (c *Client) Close(ctx context.Context) error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		c.end()
		if c.co != nil {
			c.co.Shut() // a local hit does not look whether the client is closed
		}
		go c.release()
	})
	select {
	case <-c.closed:
		return c.closeErr
	default: // even if ctx has ended, too
	}
	select {
	case <-c.closed:
		return c.closeErr
	case <-ctx.Done():
		return faultOf("Close", "", ctx.Err())
	}
}

func (c *Client) release() {
	defer close(c.closed)
	c.running.Wait()
	if c.opts.Disabled {
		return
	}
	if c.tracker != nil {
		c.tracker.Close()
	}
	c.co.Close()
	errs := []error{c.remote.Close(context.Background()), c.local.Close()}
	if c.metrics != nil {
		errs = append(errs, c.metrics.close())
	}
	if c.owned != nil {
		errs = append(errs, c.owned.Close())
	}
	c.closeErr = errors.Join(errs...)
}

func (c *Client) isClosed() bool {
	return c.life.Err() != nil
}

// start counts one more goroutine that Close waits for, unless the client is closed.
func (c *Client) start() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.running.Add(1)
	return true
}

// enterLoad counts a load that runs without the remote tier, and waits while Options.MaxLoads of
// them run: for patience, or until ctx ends. The function that it returns ends the load.
func (c *Client) enterLoad(ctx context.Context, patience time.Duration) (leave func(), err error) {
	leave = func() { <-c.loads }
	select {
	case c.loads <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case c.loads <- struct{}{}:
		return leave, nil
	case <-timer.C:
		return nil, ErrTooManyLoads
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// patienceOfReads is until when a read that begins now waits for first retries.
func (c *Client) patienceOfReads() time.Time { return time.Now().Add(c.opts.RemoteReadTimeout) }

// guarded gives options whose functions and logger do not panic: they are called in goroutines of
// the client, where a panic ends the process. It also returns what counts and logs the panics that
// are caught.
func (o Options) guarded() (Options, *guard.Panics) {
	var panics *guard.Panics
	panics, o.Logger = guard.New(o.Logger)
	if cost := o.Local.Cost; cost != nil {
		o.Local.Cost = func(key string, value any) (n int64) {
			defer func() {
				if panics.Caught("Local.Cost", recover()) {
					n = math.MaxInt64 // a value that cannot be weighed is not kept in the local tier
				}
			}()
			return cost(key, value)
		}
	}
	if tell := o.OnStateChange; tell != nil {
		o.OnStateChange = func(ch StateChange) {
			defer func() { panics.Caught("OnStateChange", recover()) }()
			tell(ch)
		}
	}
	return o, panics
}

// State is what a subscription to invalidations is up to.
type State = invalidation.State

// The states. Init comes first; from Sync a subscription becomes Live, in which state local hits
// are served, and from Live it becomes Suspect, when something about it is not as it should be,
// until it is in Sync again.
const (
	StateInit    = invalidation.StateInit
	StateSyncing = invalidation.StateSyncing
	StateLive    = invalidation.StateLive
	StateSuspect = invalidation.StateSuspect
)

// StateChange is one transition of the subscription to one lane, and its reason.
type StateChange = invalidation.StateChange

// maxNotices is how many transitions wait for a slow OnStateChange.
const maxNotices = 256

// notices brings transitions to a user's function, which may block: the receiver does not wait for
// it.
type notices struct {
	waiting chan StateChange
	dropped atomic.Uint64
}

func newNotices() *notices { return &notices{waiting: make(chan StateChange, maxNotices)} }

func (n *notices) tell(ch StateChange) {
	select {
	case n.waiting <- ch:
	default:
		n.dropped.Add(1)
	}
}

// run hands out transitions until done is closed, those that still wait then included.
func (n *notices) run(done <-chan struct{}, tell func(StateChange)) {
	for {
		select {
		case ch := <-n.waiting:
			tell(ch)
		case <-done:
			for {
				select {
				case ch := <-n.waiting:
					tell(ch)
				default:
					return
				}
			}
		}
	}
}
