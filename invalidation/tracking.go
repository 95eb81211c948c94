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

// TrackingHandler receives what a [Tracker] learns. A tracker makes one call at a time. No method
// may block or close the Tracker.
type TrackingHandler interface {
	// OnTrackedKeys is called when keys were written, deleted, evicted, or have expired, or when
	// their time to live was changed; Redis does not say which of these. nil stands for every key,
	// after FLUSHALL or FLUSHDB. The handler may keep the slice.
	OnTrackedKeys(keys []string)
	// OnTrackingLost is called when changes are no longer reported. If the connection went silent,
	// the changes of the last one and a half TrackingSilence may not have been reported either. It
	// is called again for every attempt that fails.
	OnTrackingLost(err error)
	// OnTracking is called when changes are reported from now on. Earlier changes may not have been
	// reported, also those since StartTracking.
	OnTracking()
}

const (
	// TrackingSilence is how long the connection of a Tracker may take to be made, or leave a PING
	// unanswered, before it is given up as half-open. A PING is sent every quarter of it, and
	// OnTrackingLost is called at most half of it later. While a TLS connection is being made,
	// OnTrackingLost is called when the client's DialTimeout is over, if that is later.
	TrackingSilence = 3 * time.Second
	// DefaultTrackingBackoff is the default of TrackingOptions.Backoff.
	DefaultTrackingBackoff = 5 * time.Second
)

// TrackingOptions configure a Tracker. Prefix and Handler must be set.
type TrackingOptions struct {
	// Prefix is the prefix of the keys to report, for example "ns:".
	Prefix string
	// Backoff is the longest pause between two attempts to connect. The first pause is a fiftieth
	// of it, and each is shortened at random by up to a half. Defaults to DefaultTrackingBackoff.
	Backoff time.Duration
	// Handler receives what the tracker learns.
	Handler TrackingHandler
	// Logger receives, at Debug, the error of each attempt that ended. Defaults to a silent one.
	Logger *slog.Logger
	// Panics counts and logs the panics of the Redis client's hooks and dialers. If it is nil, they
	// are not counted.
	Panics *guard.Panics
}

// Tracker receives from Redis itself the names of the changed keys under a prefix (CLIENT TRACKING
// in broadcasting mode). It also sees the changes that programs without this library make, an
// operator's, eviction and expiry. It needs Redis 6 or later, or Valkey, and the permission for
// HELLO, PING and CLIENT TRACKING. It does not need the permission for pub/sub.
//
// A Tracker is an addition to a [Receiver]. It guarantees nothing:
//   - A change that is made while there is no connection is never reported.
//   - Its reports have no order with the messages of a Receiver, or with replies on other
//     connections.
//   - Every instance receives every change under the prefix, also those made through this
//     library, its own, and fills. With N instances each write makes N messages. Redis gathers
//     the keys of one round of its event loop into one message.
//   - An expired key is reported when Redis removes it, which may be later than its expiry.
//   - Databases are not distinguished: a key of the same name in another database is reported,
//     and so is a FLUSHDB of another database.
//   - It follows one server, the one that the client dials. After a failover of Sentinel the old
//     master closes the connection when it is made a replica. If the old master is cut off from
//     the others but not from here, nothing is reported until then.
//
// Design: the connection is a redis.PubSub without a channel, of a client derived for RESP3, whose
// OnConnect enables tracking. go-redis handles pushes only while it reads, and no code reads an
// idle connection of a pool, so a push there waits for the next command. PubSub.Receive always
// reads, so pushes are handled as they come. A PING goes over the same connection, behind the
// pushes, so its reply proves that the changes before it were reported. On one machine a change was
// reported 50 µs after its SET began (p99 250 µs), in most cases before the SET returned; with a
// PING each 750 ms over a pooled connection it was 630 ms. The alternative, REDIRECT to a RESP2
// subscription of __redis__:invalidate, was no faster (80 µs) and takes two connections that fail
// separately: if the one that tracks is lost, nothing is reported, and the subscription still
// answers. go-redis also makes an error of the nil that stands for a flush there. Redis counts the
// connection as a normal client and not as a subscriber, so the default limits of its output
// buffers do not end it in a burst. TrackingSilence bounds its delay.
type Tracker struct {
	base    redis.Options
	opts    TrackingOptions
	silence time.Duration
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// StartTracking returns a tracker and starts its goroutine. It does not wait for the connection.
// The tracker has a connection of its own, made with the options of rdb but without its hooks.
// StartTracking returns an error for incomplete options, and for every client but *redis.Client (of
// one server, or Sentinel's failover client) and types that embed one: on a Cluster or a Ring each
// node reports only its own keys.
//
// Close the tracker before rdb: Sentinel's client finds the master for both. Call Close in the end.
func StartTracking(rdb redis.UniversalClient, opts TrackingOptions) (*Tracker, error) {
	return startTracking(rdb, opts, TrackingSilence)
}

func startTracking(rdb redis.UniversalClient, opts TrackingOptions, silence time.Duration) (*Tracker, error) {
	client := topology.Single(rdb)
	switch {
	case client == nil:
		return nil, fmt.Errorf("invalidation: tracking needs a *redis.Client (of one server or of Sentinel), not a %T: "+
			"each node of a Cluster or Ring reports only its own keys", rdb)
	case opts.Prefix == "":
		return nil, errors.New("invalidation: TrackingOptions.Prefix is empty: every key of the server would be reported")
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

// Close ends the connection and waits for the goroutines. The handler is not called after it. Close
// interrupts a connection attempt, except a TLS handshake, which takes at most the client's
// DialTimeout.
func (t *Tracker) Close() {
	t.cancel()
	t.done.Wait()
}

func (t *Tracker) run(ctx context.Context) {
	first := max(t.opts.Backoff/50, min(t.opts.Backoff, time.Millisecond)) // there is always some pause
	pause := first
	for {
		began := time.Now()
		var err error
		if p := callGuarded(t.opts.Panics, func() error { err = t.connection(ctx); return nil }); p != nil {
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

// trackingConn is one connection, from its making to its end. Only the goroutine that reads calls
// the handler.
type trackingConn struct {
	*Tracker
	began      time.Time
	cancel     context.CancelCauseFunc // the first cause is the reason for the end of the connection
	enabled    bool                    // OnTracking was called
	connected  atomic.Bool             // the handshake has ended
	answeredAt atomic.Int64            // since began: when the newest answered PING was sent

	mu   sync.Mutex
	conn net.Conn
}

// connection makes one connection and returns the error that ended it.
func (t *Tracker) connection(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	c := &trackingConn{Tracker: t, began: time.Now(), cancel: cancel}
	rdb := redis.NewClient(c.options(ctx))
	ps := rdb.Subscribe(ctx) // to nothing; does not dial yet
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := callGuarded(t.opts.Panics, func() error { c.pingLoop(ctx, ps); return nil }); err != nil {
			cancel(err)
		}
		c.hangUp()
	})
	cancel(callGuarded(t.opts.Panics, func() error { return c.listen(ctx, ps) }))
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
	o.OnConnect = c.enableTracking
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
	// rdb has put its own processor into its options; the handlers of that one are the
	// application's.
	o.PushNotificationProcessor = redis.NewPushNotificationProcessor()
	if err := o.PushNotificationProcessor.RegisterHandler("invalidate", c, true); err != nil {
		c.cancel(err)
	}
	return &o
}

// dial dials once. Without it, PubSub would connect again by itself before it reports that the
// connection broke, and while a server hangs the report would come only after the whole handshake.
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
	if ctx.Err() != nil { // hangUp may have run before c.conn was set
		c.hangUp()
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// hangUp interrupts the goroutine that uses the connection: go-redis interrupts neither its
// handshake nor a Receive.
func (c *trackingConn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

func (c *trackingConn) enableTracking(ctx context.Context, conn *redis.Conn) error {
	if c.base.OnConnect != nil {
		if err := c.base.OnConnect(ctx, conn); err != nil {
			return err
		}
	}
	// If HELLO fails, go-redis goes on with RESP2. Redis would then accept CLIENT TRACKING and
	// report nothing.
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
	c.connected.Store(true)
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
		c.answeredAt.Store(sent)
		if !c.enabled {
			c.enabled = true
			c.opts.Handler.OnTracking()
		}
	}
}

// ping sends the time with a PING, so that its reply says how far behind the connection is.
func (c *trackingConn) ping(ctx context.Context, ps *redis.PubSub) error {
	return ps.Ping(ctx, strconv.FormatInt(int64(time.Since(c.began)), 10))
}

// HandlePushNotification makes trackingConn a push.NotificationHandler.
func (c *trackingConn) HandlePushNotification(
	_ context.Context, _ push.NotificationHandlerContext, notification []any,
) error {
	if !c.enabled {
		return nil // OnTracking says that earlier changes may be missing
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

// pingLoop sends a PING every quarter of the silence, and ends the connection when no reply has
// come for all of it.
func (c *trackingConn) pingLoop(ctx context.Context, ps *redis.PubSub) {
	tick := time.NewTicker(max(c.silence/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(c.began)-time.Duration(c.answeredAt.Load()) > c.silence {
			c.cancel(errTrackingSilent)
			return
		}
		if !c.connected.Load() { // while go-redis connects, it holds the lock that Ping needs
			continue
		}
		if err := c.ping(ctx, ps); err != nil {
			c.cancel(err)
			return
		}
	}
}
