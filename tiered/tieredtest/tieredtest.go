// Package tieredtest gives unit tests a real tiered.Client on an embedded Redis: no server, no
// ports, nothing to stop.
//
//	func TestGreeting(t *testing.T) {
//		client := tieredtest.New(t, tiered.Options{})
//		…
//	}
//
// The embedded Redis is miniredis, whose clock runs: entries end in real time. To control time, run
// the test in a bubble of testing/synctest; then a time.Sleep is over at once, and TTLs, leases,
// timeouts and breakers follow the bubble's clock:
//
//	synctest.Test(t, func(t *testing.T) {
//		client := tieredtest.New(t, tiered.Options{})
//		…
//		time.Sleep(time.Hour) // costs nothing, and everything with a TTL below an hour is gone
//	})
//
// Several instances of a fleet, and outages, are had from [NewRedis]. miniredis is right for tests
// of code that uses a cache; it is no proof of what a real Redis or a Cluster does.
package tieredtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/doppio-cache/doppio/tiered"
)

// New gives a client on an embedded Redis of its own, whose local tier is coherent. Both end with
// the test.
func New(tb testing.TB, opts tiered.Options) *tiered.Client {
	tb.Helper()
	return NewRedis(tb).Instance(tb, opts)
}

// Redis is an embedded Redis.
type Redis struct {
	// Server offers what only an embedded server can: a look at its keys, injected errors.
	Server *miniredis.Miniredis

	mu      sync.Mutex
	down    bool
	refused int // dials
	conns   map[*conn]struct{}
}

// NewRedis starts an embedded Redis, which ends with the test. Make its clients in the same
// synctest bubble, if in one.
func NewRedis(tb testing.TB) *Redis {
	tb.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	r := &Redis{Server: m, conns: make(map[*conn]struct{})}
	tb.Cleanup(func() {
		r.Down() // connections of clients that nobody closed
		m.Close()
		if r.refusals() >= poolSize {
			time.Sleep(time.Second + time.Millisecond) // a pool's goroutine that dials notices only now that the pool was closed
		}
	})
	return r
}

// Instance gives one more instance of a fleet that shares this Redis, whose local tier is coherent
// unless Redis is down. It ends with the test.
func (r *Redis) Instance(tb testing.TB, opts tiered.Options) *tiered.Client {
	tb.Helper()
	rdb := r.Client()
	if opts.RemoteTimeout == 0 {
		opts.RemoteTimeout = patience
	}
	if opts.RemoteReadTimeout == 0 {
		opts.RemoteReadTimeout = opts.RemoteTimeout
	}
	client, err := tiered.New(rdb, opts)
	if err != nil {
		tb.Fatalf("tieredtest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(client.Close(ctx), rdb.Close()); err != nil {
			tb.Errorf("tieredtest: closing the client: %v", err)
		}
	})
	if r.isDown() {
		return client
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := client.Ready(ctx); err != nil {
		tb.Fatalf("tieredtest: the client did not become coherent: %v", err)
	}
	return client
}

// Client gives a plain Redis client, to look behind the cache or to make a tiered.Client by hand.
// Its owner closes it.
func (r *Redis) Client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:6379", Dialer: r.dial, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		PoolSize: poolSize, PipelinePoolSize: poolSize,
		ReadTimeout: patience,
		// It would ask the resolver what kind of endpoint the address is.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// patience is how long a client waits for an answer, unless it is told otherwise: a machine that is
// busy with other tests is no outage.
const patience = time.Minute

// poolSize is also how many dials may fail until go-redis dials no more but once a second, in a
// goroutine of its own: calls after Up would fail until then.
const poolSize = 10_000

var errDown = &net.OpError{Op: "dial", Net: "embedded", Err: errors.New("connection refused")}

func (r *Redis) dial(context.Context, string, string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		r.refused++
		return nil, errDown
	}
	pipe, err := r.Server.Dial()
	if err != nil {
		return nil, err
	}
	c := newConn(pipe, r)
	r.conns[c] = struct{}{}
	return c, nil
}

func (r *Redis) forget(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// Down breaks every connection and refuses new ones, as if Redis had been stopped. It keeps its
// data.
//
// An instance notices by itself that it lost Redis. Right after Down it may still serve a local
// hit; in a bubble, it has noticed when synctest.Wait returns.
func (r *Redis) Down() {
	r.mu.Lock()
	r.down = true
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // it does not fail
	}
}

// Up ends Down. Clients find Redis again by themselves, when their breakers and subscriptions try
// again; Client.Ready tells when one has.
func (r *Redis) Up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

func (r *Redis) isDown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

func (r *Redis) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
