package invalidation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/redis/go-redis/v9/push"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/topology"
)

// TrackingHandler is told what a Tracker learns, one call at a time. It must neither block nor close the Tracker.
type TrackingHandler interface {
	// Tracked: Redis says that these keys were written, deleted, evicted, or expired, or that their time to live was
	// changed; it does not say which. nil stands for every key: FLUSHALL or FLUSHDB. The handler may keep the slice.
	OnTrackedKeys(keys []string)
	// TrackingLost: what changes from now on is not told, nor perhaps what changed shortly before: in the last one and a
	// half TrackingSilence, if the connection went silent. It is repeated for every attempt that fails.
	OnTrackingLost(err error)
	// Tracking: what changes from now on is told. What changed before, also since StartTracking, may not have been.
	OnTracking()
}

const (
	// TrackingSilence is how long a Tracker's connection may leave a PING unanswered, or be in the making, before it is
	// given up as half-open. A PING is sent every quarter of it, and TrackingLost comes at most half of it later (while
	// connecting over TLS: when the client's DialTimeout is over, if that is later).
	TrackingSilence = 3 * time.Second
	// DefaultTrackingBackoff is the default of TrackingOptions.Backoff.
	DefaultTrackingBackoff = 5 * time.Second
)

// TrackingOptions configure a Tracker. Prefix and Handler must be set.
type TrackingOptions struct {
	// Prefix is what the keys to be told of begin with, for example "ns:".
	Prefix string
	// Backoff is the longest pause before another attempt to connect. The first is a fiftieth of it, and each is cut
	// at random by up to a half. Defaults to DefaultTrackingBackoff.
	Backoff time.Duration
	Handler TrackingHandler
	// Logger hears, at Debug, of every attempt that ended. Defaults to silence.
	Logger *slog.Logger
	// Panics counts and logs panics of the Redis client's hooks and dialers. Nothing does where it is nil.
	Panics *guard.Panics
}

// Tracker is told by Redis itself which keys under a prefix changed (CLIENT TRACKING in broadcasting mode), whoever
// changed them: programs that do not use this library, an operator, eviction, expiry. It needs Redis 6 or later, or
// Valkey, and the permission for HELLO, PING and CLIENT TRACKING, but not that for pub/sub.
//
// It is an addition to a Receiver and guarantees nothing:
//   - What changes while there is no connection is never told.
//   - It keeps no order with the messages of a Receiver, nor with replies on other connections: whoever learns of a
//     change in another way may do so before or after the Tracker.
//   - Every instance is told of every change under the prefix, also of those made through this library, by the
//     instance itself, and of fills. With N instances each write makes N messages; Redis gathers the keys of one round
//     of its event loop.
//   - Expiry is told when Redis removes the key, which may be after its time.
//   - Databases are not told apart: a key of that name in another database, and FLUSHDB there, are told as well.
//   - It hears one server, the one that the client dials. After a failover of Sentinel the old master closes the
//     connection when it is made a replica; one that is cut off from the others, but not from here, tells nothing
//     new until then.
//
// Design: the connection is a redis.PubSub without a channel, of a client derived for RESP3, whose OnConnect switches
// tracking on. go-redis handles pushes only while it reads, and nobody reads an idle connection of a pool: what
// arrives on it waits for the next command. PubSub.Receive reads always, so pushes are handled as they come; and a
// PING goes over the same connection behind them, so its answer proves that what changed before it was sent has been
// told. On one machine a change was told 50 µs after its SET began (p99 250 µs), for most before the SET returned; with
// a PING each 750 ms over a pooled connection it was 630 ms. The alternative, REDIRECT to a RESP2 subscription of
// __redis__:invalidate, was no faster (80 µs) and takes two connections that fail separately: if the one that tracks
// is lost, nothing is told, and the subscription still answers. Also, go-redis makes an error of the nil that stands
// for a flush there. Redis counts the connection as a normal client, not as a subscriber, so that its default limits
// of output buffers do not end it in a burst; TrackingSilence bounds how far it may fall behind.
type Tracker struct {
	base    redis.Options
	opts    TrackingOptions
	silence time.Duration
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// StartTracking makes a tracker and its goroutine. It does not wait for the connection, which is one of its own, made
// with the options of rdb but without its hooks. It fails for options that are incomplete, and for every client but
// *redis.Client (of one server, or Sentinel's failover client) and types that embed one: on a Cluster or a Ring each node
// tells of its own keys only.
//
// Close it before rdb: Sentinel's client finds the master for both.
func StartTracking(rdb redis.UniversalClient, opts TrackingOptions) (*Tracker, error) {
	return startTracking(rdb, opts, TrackingSilence)
}

func startTracking(rdb redis.UniversalClient, opts TrackingOptions, silence time.Duration) (*Tracker, error) {
	client := topology.Single(rdb)
	switch {
	case client == nil:
		return nil, fmt.Errorf("invalidation: tracking needs a *redis.Client (of one server or of Sentinel), not a %T: "+
			"each node of a Cluster or Ring tells of its own keys only", rdb)
	case opts.Prefix == "":
		return nil, errors.New("invalidation: TrackingOptions.Prefix is empty: every key of the server would be told")
	case opts.Handler == nil:
		return nil, errors.New("invalidation: TrackingOptions.Handler is nil")
	}
	if opts.Backoff <= 0 {
		opts.Backoff = DefaultTrackingBackoff
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &Tracker{base: *client.Options(), opts: opts, silence: silence, cancel: cancel}
	t.done.Go(func() { t.run(ctx) })
	return t, nil
}

// Close ends the connection and waits for the goroutines; the handler is not told, and hears nothing after it. A
// connection attempt is interrupted, except for a TLS handshake: go-redis can only be waited for there, at most the
// client's DialTimeout.
func (t *Tracker) Close() {
	t.cancel()
	t.done.Wait()
}

func (t *Tracker) run(ctx context.Context) {
	first := max(t.opts.Backoff/50, min(t.opts.Backoff, time.Millisecond)) // some pause there must be
	pause := first
	for {
		began := time.Now()
		var err error
		if p := guarded(t.opts.Panics, func() error { err = t.connection(ctx); return nil }); p != nil {
			err = p
		}
		if ctx.Err() != nil {
			return
		}
		t.opts.Logger.Debug("doppio: tracking ended", "error", err)
		t.opts.Handler.OnTrackingLost(err)
		if time.Since(began) > t.opts.Backoff {
			pause = first
		}
		// Jitter: a fleet that lost its server together must not come back together.
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, t.opts.Backoff)
	}
}

var (
	errTrackingSilent = errors.New("no answer over the tracking connection: it is half-open, far behind, or the server stopped")
	errTrackingRedial = errors.New("a tracking connection is not replaced in silence")
	errTrackingPush   = errors.New("an invalidation that cannot be read")
)

// trackingConn is one connection, from its making to its end. The handler is told by the goroutine that reads, and by no
// other.
type trackingConn struct {
	*Tracker
	began  time.Time
	cancel context.CancelCauseFunc // the first cause is the reason why the connection ended
	on     bool                    // Tracking was told
	up     atomic.Bool             // the handshake is over
	heard  atomic.Int64            // since began: when the newest PING that was answered had been sent

	mu   sync.Mutex
	conn net.Conn
}

// connection lives through one connection, and returns why it ended.
func (t *Tracker) connection(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	c := &trackingConn{Tracker: t, began: time.Now(), cancel: cancel}
	rdb := redis.NewClient(c.options(ctx))
	ps := rdb.Subscribe(ctx) // to nothing; does not dial yet
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := guarded(t.opts.Panics, func() error { c.watch(ctx, ps); return nil }); err != nil {
			cancel(err)
		}
		c.hangUp()
	})
	cancel(guarded(t.opts.Panics, func() error { return c.listen(ctx, ps) }))
	wg.Wait()
	_ = ps.Close() // its connection is closed already
	_ = rdb.Close()
	return context.Cause(ctx)
}

// options derives the options of a client that makes one connection.
func (c *trackingConn) options(ctx context.Context) *redis.Options {
	o := c.base
	o.Protocol = 3
	o.Dialer = func(dialing context.Context, network, addr string) (net.Conn, error) {
		return c.dial(ctx, dialing, network, addr)
	}
	o.OnConnect = c.switchOn
	o.ReadTimeout = c.silence // of the handshake; Receive has none
	o.WriteTimeout = c.silence / 4
	o.MaxRetries = -1
	o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = 1, 0, 0, 0
	o.PipelinePoolSize = -1
	o.AutoPipelineOptions = nil
	o.Limiter = nil
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// go-redis's own client-side cache would track for itself, and refuses to let others do so.
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
	o.ClientSideCacheRefreshOnInvalidate, o.ClientSideCacheCoalesceMisses = false, false
	// Not rdb's, which it has put into its options: its handlers are the application's.
	o.PushNotificationProcessor = redis.NewPushNotificationProcessor()
	if err := o.PushNotificationProcessor.RegisterHandler("invalidate", c, true); err != nil {
		c.cancel(err)
	}
	return &o
}

// dial dials once. PubSub would connect again by itself before it reports that the connection broke, and the report
// would come late: while a server hangs, after the whole handshake.
func (c *trackingConn) dial(ctx, dialing context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	again := c.conn != nil
	c.mu.Unlock()
	if again {
		return nil, errTrackingRedial
	}
	conn, err := c.base.Dialer(dialing, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	if ctx.Err() != nil { // hangUp may have been too early
		c.hangUp()
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// hangUp interrupts whatever waits for the connection. go-redis interrupts neither its handshake nor a Receive.
func (c *trackingConn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

func (c *trackingConn) switchOn(ctx context.Context, conn *redis.Conn) error {
	if c.base.OnConnect != nil {
		if err := c.base.OnConnect(ctx, conn); err != nil {
			return err
		}
	}
	// Where HELLO fails, go-redis goes on with RESP2. Redis would then accept CLIENT TRACKING and tell nothing.
	if err := conn.Hello(ctx, 3, "", "", "").Err(); err != nil {
		return fmt.Errorf("HELLO 3: %w", err)
	}
	if err := conn.Do(ctx, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", c.opts.Prefix).Err(); err != nil {
		return fmt.Errorf("CLIENT TRACKING: %w", err)
	}
	return nil
}

// listen connects and reads until that fails.
func (c *trackingConn) listen(ctx context.Context, ps *redis.PubSub) error {
	if err := c.ping(ctx, ps); err != nil { // connects, and its answer says that tracking is on
		return err
	}
	c.up.Store(true)
	for {
		got, err := ps.Receive(ctx) // hands invalidations to HandlePushNotification
		if err != nil {
			return err
		}
		pong, ok := got.(*redis.Pong)
		if !ok {
			continue
		}
		sent, err := strconv.ParseInt(pong.Payload, 10, 64)
		if err != nil {
			return fmt.Errorf("the answer to another PING: %w", err)
		}
		c.heard.Store(sent)
		if !c.on {
			c.on = true
			c.opts.Handler.OnTracking()
		}
	}
}

// ping sends the time with a PING, so that its answer tells how far behind the connection is.
func (c *trackingConn) ping(ctx context.Context, ps *redis.PubSub) error {
	return ps.Ping(ctx, strconv.FormatInt(int64(time.Since(c.began)), 10))
}

// HandlePushNotification makes trackingConn a push.NotificationHandler.
func (c *trackingConn) HandlePushNotification(
	_ context.Context, _ push.NotificationHandlerContext, notification []any,
) error {
	if !c.on {
		return nil // Tracking will say that what was before is not known
	}
	if len(notification) != 2 {
		return c.unexpected()
	}
	if notification[1] == nil {
		c.opts.Handler.OnTrackedKeys(nil)
		return nil
	}
	values, ok := notification[1].([]any)
	if !ok {
		return c.unexpected()
	}
	keys := make([]string, len(values))
	for i, v := range values {
		if keys[i], ok = v.(string); !ok {
			return c.unexpected()
		}
	}
	if len(keys) > 0 {
		c.opts.Handler.OnTrackedKeys(keys)
	}
	return nil
}

func (c *trackingConn) unexpected() error {
	c.cancel(errTrackingPush)
	return errTrackingPush
}

// watch asks for a sign of life every quarter of the silence, and ends the connection when none has come for all of it.
func (c *trackingConn) watch(ctx context.Context, ps *redis.PubSub) {
	tick := time.NewTicker(max(c.silence/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(c.began)-time.Duration(c.heard.Load()) > c.silence {
			c.cancel(errTrackingSilent)
			return
		}
		if !c.up.Load() { // while go-redis connects, it holds the lock that Ping needs
			continue
		}
		if err := c.ping(ctx, ps); err != nil {
			c.cancel(err)
			return
		}
	}
}
