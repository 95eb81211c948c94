package invalidation

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Handler is told what a Receiver learns, one call at a time. It must not block.
type Handler interface {
	// Subscribed: messages arrive from now on; what was published before is lost. sent is when the subscription was asked for.
	Subscribed(sent time.Time)
	// Invalidated: a message arrived.
	Invalidated(m Message)
	// Unreadable: something arrived that is no message of this version. What it meant is not known.
	Unreadable(err error)
	// Alive: the server answered, over the subscription, what was sent to it at sent; all messages published on that
	// server before have arrived. On a Cluster, those published on other nodes take the cluster bus, of which this says
	// nothing.
	Alive(sent time.Time)
	// Lost: the subscription ended or went silent, or could not be made.
	Lost(err error)
}

// Defaults of Options.
const (
	DefaultMaxSilence = 5 * time.Second
	DefaultBackoff    = 5 * time.Second
)

// Options configure a Receiver. Channel and Handler must be set.
type Options struct {
	Channel string
	// MaxSilence is how long the subscription may leave a PING unanswered, or be in the making, before it is given up
	// as half-open. A PING is sent every quarter of it, and Lost comes at most a quarter later. Defaults to
	// DefaultMaxSilence.
	MaxSilence time.Duration
	// Backoff is the longest pause before another attempt to subscribe; the first is after a fiftieth of it. Defaults
	// to DefaultBackoff.
	Backoff time.Duration
	Handler Handler
	// Logger hears, at Debug, of every attempt that ended. Defaults to silence.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxSilence <= 0 {
		o.MaxSilence = DefaultMaxSilence
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

// Receiver owns one subscription, and makes a new one whenever it is lost.
//
// It reads the subscription itself: go-redis's Channel drops messages after 60 s with only a log line, and its health
// check does not read the pong that it asks for, so a half-open connection would go unnoticed.
//
// A Sentinel client dials the new master after a failover, but a subscription that is up stays where it is. The old
// master, made a replica, passes on what the new one publishes; sentinels also cut its subscribers when they
// reconfigure it. An old master that is cut off from the others, but not from here, publishes nothing new and answers
// every PING: messages are missed until it is reconfigured.
type Receiver struct {
	rdb    redis.UniversalClient
	opts   Options
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Start makes a receiver and its goroutine. It does not wait for the subscription.
func Start(rdb redis.UniversalClient, opts Options) *Receiver {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Receiver{rdb: rdb, opts: opts.withDefaults(), cancel: cancel}
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Close ends the subscription and waits for its goroutines. A connection attempt is interrupted; but where a server
// accepts and then does not answer the greeting, go-redis can only be waited for: at most the client's ReadTimeout.
func (r *Receiver) Close() {
	r.cancel()
	r.done.Wait()
}

func (r *Receiver) run(ctx context.Context) {
	pause := r.opts.firstPause()
	for {
		s := &session{handler: r.opts.Handler, max: r.opts.MaxSilence}
		began := time.Now()
		err := r.subscription(ctx, s)
		if ctx.Err() != nil {
			return
		}
		r.opts.Logger.Debug("doppio: subscription to invalidations ended", "error", err)
		if time.Since(began) > r.opts.Backoff {
			pause = r.opts.firstPause()
		}
		// Full jitter: a fleet that lost its server together must not come back together.
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

// subscription lives through one subscription, from its making to its end.
func (r *Receiver) subscription(parent context.Context, s *session) error {
	s.heard = time.Now()
	ctx, cancel := context.WithCancel(parent)
	ps := r.rdb.Subscribe(ctx) // does not dial yet
	pings := make(chan string, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		s.watch(ctx, cancel, pings)
		_ = ps.Close() // it interrupts Receive, and could only report that it was closed before
	})
	wg.Go(func() {
		defer cancel()
		sendPings(ctx, ps, pings)
	})
	err := s.listen(ctx, ps, r.opts.Channel)
	if parent.Err() == nil {
		err = s.end(err)
	}
	cancel()
	wg.Wait()
	return err
}

// sendPings is apart from the watchdog: while go-redis dials, it holds the lock that Ping needs too.
func sendPings(ctx context.Context, ps *redis.PubSub, pings <-chan string) {
	for {
		select {
		case <-ctx.Done():
			return
		case payload := <-pings:
			if err := ps.Ping(ctx, payload); err != nil {
				return // ends the subscription: Receive reports it
			}
		}
	}
}
