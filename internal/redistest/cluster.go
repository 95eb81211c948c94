package redistest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	slots            = 16384
	clusterPatience  = 20 * time.Second
	clusterAdminWait = 5 * time.Second
)

// Cluster is a Redis Cluster of masters without replicas.
type Cluster struct {
	// Nodes are the masters. At the start, node i owns the i-th part of the slots.
	Nodes []*Server

	host  Host
	admin []*redis.Client // one for each node
	ids   []string
}

// StartCluster starts a cluster whose slots are all assigned, and in which every node knows every other, when
// StartCluster returns. As with Redis's own defaults, no slot is served while any is without a master: see
// "--cluster-require-full-coverage" for [WithArgs].
func StartCluster(h Host, masters int, opts ...Option) *Cluster {
	h.Helper()
	opts = append([]Option{withDirective(
		"cluster-enabled yes",
		"cluster-config-file nodes.conf",
		"cluster-node-timeout 2000",
		"cluster-announce-ip 127.0.0.1",
	)}, opts...)
	c := &Cluster{host: h}
	nodes, err := startAll(h, masters, func(int) *config { return newConfig(redisBinary, opts) })
	if err != nil {
		h.Fatalf("redistest: %v", err)
	}
	c.Nodes = nodes
	for _, n := range nodes {
		c.admin = append(c.admin, n.Client(h))
	}
	if err := c.join(); err != nil {
		h.Fatalf("redistest: join the cluster: %v", err)
	}
	if err := c.AwaitHealthyUntil(context.Background()); err != nil {
		h.Fatalf("redistest: the cluster is not ready: %v", err)
	}
	return c
}

// startAll starts n servers at the same time.
func startAll(h Host, n int, cfg func(i int) *config) ([]*Server, error) {
	servers := make([]*Server, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { servers[i], errs[i] = start(h, cfg(i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return servers, nil
}

func (c *Cluster) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), clusterAdminWait)
	defer cancel()
	for i, admin := range c.admin {
		id, err := admin.Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return err
		}
		c.ids = append(c.ids, id)
		// Epochs that differ from the start spare the nodes from settling collisions.
		if err := admin.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		mine := []any{"CLUSTER", "ADDSLOTS"} // CLUSTER ADDSLOTSRANGE is newer than 6.2
		for slot := i * slots / len(c.admin); slot < (i+1)*slots/len(c.admin); slot++ {
			mine = append(mine, slot)
		}
		if err := admin.Do(ctx, mine...).Err(); err != nil {
			return err
		}
	}
	for i, admin := range c.admin {
		for _, other := range c.Nodes[i+1:] { // everybody meets, so that nobody waits for gossip
			if err := admin.ClusterMeet(ctx, "127.0.0.1", fmt.Sprint(other.port.number)).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// healthy reports why the cluster as a whole cannot be used yet.
func (c *Cluster) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterAdminWait)
	defer cancel()
	for i, admin := range c.admin {
		info, err := admin.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		fields := parseFields(info)
		if fields["cluster_state"] != "ok" || fields["cluster_slots_ok"] != fmt.Sprint(slots) {
			return fmt.Errorf("node %d: state %s, %s slots ok", i, fields["cluster_state"], fields["cluster_slots_ok"])
		}
		ranges, err := admin.ClusterSlots(ctx).Result() //nolint:staticcheck // CLUSTER SHARDS is newer than 6.2
		if err != nil {
			return err
		}
		known := make(map[string]bool)
		for _, r := range ranges {
			for _, n := range r.Nodes {
				known[n.Addr] = true
			}
		}
		for _, a := range c.Addrs() {
			if !known[a] {
				return fmt.Errorf("node %d does not know %s", i, a)
			}
		}
	}
	return nil
}

// AwaitHealthy waits until every node agrees that the cluster is whole, for example after a Restart of one.
func (c *Cluster) AwaitHealthy(h Host) {
	h.Helper()
	if err := c.AwaitHealthyUntil(context.Background()); err != nil {
		h.Fatalf("redistest: %v", err)
	}
}

// AwaitHealthyUntil is AwaitHealthy for who may give up: it returns the cause when ctx ends.
func (c *Cluster) AwaitHealthyUntil(ctx context.Context) error {
	err := eventually(clusterPatience, func() error {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what is returned is said below
		}
		return c.healthy(ctx)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the cluster is not whole after %v: %w", clusterPatience, err)
	}
	return nil
}

// Addrs returns the address of every node.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr
	}
	return addrs
}

// Client returns a client that fails fast and follows redirections. mutate may change its options. It is closed
// in h's Cleanup.
func (c *Cluster) Client(h Host, mutate ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	h.Helper()
	node := c.Nodes[0].options()
	o := &redis.ClusterOptions{
		Addrs:                    c.Addrs(),
		Password:                 node.Password,
		TLSConfig:                node.TLSConfig,
		DialTimeout:              node.DialTimeout,
		DialerRetries:            node.DialerRetries,
		ReadTimeout:              node.ReadTimeout,
		WriteTimeout:             node.WriteTimeout,
		PoolTimeout:              node.PoolTimeout,
		MaxRetries:               node.MaxRetries,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, m := range mutate {
		m(o)
	}
	client := redis.NewClusterClient(o)
	h.Cleanup(func() { _ = client.Close() }) // a test may have closed it
	return client
}

// Slot returns the slot of key.
func (c *Cluster) Slot(h Host, key string) int {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterAdminWait)
	defer cancel()
	slot, err := c.admin[0].ClusterKeySlot(ctx, key).Result()
	if err != nil {
		h.Fatalf("redistest: slot of %q: %v", key, err)
	}
	return int(slot)
}

// Owner returns the node that serves slot, as the first node knows it.
func (c *Cluster) Owner(h Host, slot int) *Server {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterAdminWait)
	defer cancel()
	ranges, err := c.admin[0].ClusterSlots(ctx).Result() //nolint:staticcheck // CLUSTER SHARDS is newer than 6.2
	if err != nil {
		h.Fatalf("redistest: owner of slot %d: %v", slot, err)
	}
	for _, r := range ranges {
		if slot < r.Start || slot > r.End {
			continue
		}
		for _, n := range c.Nodes {
			if n.Addr == r.Nodes[0].Addr {
				return n
			}
		}
	}
	h.Fatalf("redistest: nobody owns slot %d", slot)
	return nil
}

// OpenSlot begins to move slot: from then on, the node from answers for the keys it still has and sends the
// client to the node to (ASK) for those it has not. [Cluster.MoveSlot] ends the move.
func (c *Cluster) OpenSlot(h Host, slot int, from, to *Server) {
	h.Helper()
	c.must(h, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.id(h, from))
	c.must(h, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.id(h, to))
}

// MoveSlot moves slot with its keys from one node to another: clients that go to the old one are sent on (MOVED).
func (c *Cluster) MoveSlot(h Host, slot int, from, to *Server) {
	h.Helper()
	c.OpenSlot(h, slot, from, to)
	for {
		const batch = 100
		ctx, cancel := context.WithTimeout(context.Background(), clusterAdminWait)
		keys, err := c.admin[c.index(h, from)].ClusterGetKeysInSlot(ctx, slot, batch).Result()
		cancel()
		if err != nil {
			h.Fatalf("redistest: keys of slot %d: %v", slot, err)
		}
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", "127.0.0.1", to.port.number, "", 0, clusterAdminWait.Milliseconds()}
		if from.cfg.password != "" {
			args = append(args, "AUTH", from.cfg.password)
		}
		args = append(args, "KEYS")
		for _, k := range keys {
			args = append(args, k)
		}
		c.must(h, from, args...)
	}
	// The new owner first: until it knows, it would send clients back.
	c.must(h, to, "CLUSTER", "SETSLOT", slot, "NODE", c.id(h, to))
	for _, n := range c.Nodes {
		if n != to && n.running() != nil {
			c.must(h, n, "CLUSTER", "SETSLOT", slot, "NODE", c.id(h, to))
		}
	}
}

func (c *Cluster) must(h Host, node *Server, args ...any) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterAdminWait)
	defer cancel()
	if err := c.admin[c.index(h, node)].Do(ctx, args...).Err(); err != nil {
		h.Fatalf("redistest: %v on %s: %v", args, node.Addr, err)
	}
}

func (c *Cluster) id(h Host, node *Server) string {
	h.Helper()
	return c.ids[c.index(h, node)]
}

func (c *Cluster) index(h Host, node *Server) int {
	h.Helper()
	for i, n := range c.Nodes {
		if n == node {
			return i
		}
	}
	h.Fatalf("redistest: %s is not a node of this cluster", node.Addr)
	return -1
}
