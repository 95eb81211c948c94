package tiered_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// network makes connections, and lets those that there are die without a word: what is sent is
// taken, nothing comes back, and nobody closes them. New ones work.
type network struct {
	mu    sync.Mutex
	conns []*deadlyConn
	met   atomic.Int64 // writes to dead connections
}

type deadlyConn struct {
	*net.TCPConn // whole: go-redis asks its descriptor whether there is something to read
	in           *network
	dead         atomic.Bool
}

func (n *network) dial(ctx context.Context, kind, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	conn := &deadlyConn{TCPConn: c.(*net.TCPConn), in: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
	return conn, nil
}

// kill lets all connections die that there are.
func (n *network) kill() { n.each(func(c *deadlyConn) { c.dead.Store(true) }) }

// bury closes the dead ones, as a kernel does in the end.
func (n *network) bury() {
	n.each(func(c *deadlyConn) {
		if c.dead.Load() {
			_ = c.TCPConn.Close()
		}
	})
}

func (n *network) each(fn func(*deadlyConn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		fn(c)
	}
}

func (c *deadlyConn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		c.in.met.Add(1)
		return len(p), nil
	}
	return c.TCPConn.Write(p)
}

// Read returns what comes, by the deadline that is set. A dead connection brings nothing.
func (c *deadlyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.TCPConn.Read(p)
		if err != nil || !c.dead.Load() {
			return n, err
		}
	}
}

// A client that never gives up a read is stuck on a connection that died without a word. More echoes than may be under
// way at once meet such connections; the subscription is made anew all the same, and is live.
func TestOutage_deadConnectionsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	const pooled = 12
	// Only a *redis.Client can be told to give up a read. Others leave a connection stuck for each command that meets one.
	const spare = 10 * pooled
	single := func(t *testing.T, n *network, pool int) *redis.Client {
		rdb := shared.Client(t, func(o *redis.Options) {
			o.Dialer, o.ReadTimeout, o.ContextTimeoutEnabled = n.dial, -1, false
			o.PoolSize, o.MaxRetries = pool, -1
		})
		warm(t, rdb, pooled-4) // the client has some in use itself
		return rdb
	}
	cluster := func(t *testing.T, n *network) *redis.ClusterClient {
		rdb := redistest.StartCluster(t, 3).Client(t, func(o *redis.ClusterOptions) {
			o.Dialer, o.ReadTimeout, o.ContextTimeoutEnabled = n.dial, -1, false
			o.PoolSize, o.MaxRetries, o.MaxRedirects = spare, -1, -1
		})
		check(t, rdb.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			warm(t, node, pooled-4)
			return nil
		}))
		return rdb
	}
	for name, dial := range map[string]func(t *testing.T, n *network) redis.UniversalClient{
		"a client": func(t *testing.T, n *network) redis.UniversalClient { return single(t, n, pooled) },
		"a type that embeds one": func(t *testing.T, n *network) redis.UniversalClient {
			return struct{ redis.UniversalClient }{single(t, n, spare)}
		},
		"a Cluster client": func(t *testing.T, n *network) redis.UniversalClient { return cluster(t, n) },
		"a type that embeds a Cluster client": func(t *testing.T, n *network) redis.UniversalClient {
			return struct{ *redis.ClusterClient }{cluster(t, n)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n network
			client := coherent(t, dial(t, &n), tiered.Options{MaxStaleness: 400 * time.Millisecond, RemoteTimeout: time.Second, RetryBackoff: 50 * time.Millisecond})
			t.Cleanup(n.bury)
			c := newCache[string](t, client, "c", tiered.CacheOptions{})
			losses := client.Stats().Losses
			n.kill()
			eventually(t, "the loss is noticed", func() bool { return client.Stats().Losses > losses })
			eventually(t, "more commands than echoes may be under way have met dead connections", func() bool { return n.met.Load() > 6 })
			ready(t, client)
			// Sets and the retries of those that failed meet the connections that are left.
			eventually(t, "the remote tier is asked again", func() bool {
				if err := c.Set(t.Context(), "k", "v"); err != nil {
					return false
				}
				got, err := c.Get(t.Context(), "k")
				return err == nil && got == "v"
			})
		})
	}
}

// warm fills the pool of a client with connections.
func warm(t *testing.T, rdb *redis.Client, count int) {
	t.Helper()
	held := make([]*redis.Conn, 0, count)
	for range count {
		conn := rdb.Conn()
		check(t, conn.Ping(t.Context()).Err())
		held = append(held, conn)
	}
	for _, conn := range held {
		check(t, conn.Close())
	}
}
