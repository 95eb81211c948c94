//go:build linux

package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// deployment is the servers that a fleet uses. It is controlled by the test's goroutine.
type deployment struct {
	t          testing.TB
	topology   string
	namespace  string
	addrs      []string // what instances are told
	masterName string
	nodes      []*redistest.Server
	admins     []*redis.Client       // one for each node
	raw        redis.UniversalClient // of the poller
	cluster    *redistest.Cluster
	bus        []*harness.Way // to each master of a Cluster from the others
	sentinel   *redistest.Sentinel
}

const (
	clusterMasters = 3
	adminTimeout   = 5 * time.Second
)

// topologies, with what each attack of `go test` takes.
var topologies = []struct {
	name      string
	duration  time.Duration
	instances int
	start     func(testing.TB) *deployment
}{
	{"standalone", 60 * time.Second, 4, startStandalone},
	{"cluster", 50 * time.Second, 3, startCluster},
	{"sentinel", 40 * time.Second, 3, startSentinel},
}

// impatient makes a client whose calls end soon: what it cannot do now it does later.
const impatient = time.Second

func startStandalone(t testing.TB) *deployment {
	t.Helper()
	server := redistest.Start(t)
	raw := server.Client(t, func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout, o.DialTimeout = impatient, impatient, impatient })
	return &deployment{t: t, addrs: []string{server.Addr}, nodes: []*redistest.Server{server}, admins: admins(t, server), raw: raw}
}

func startCluster(t testing.TB) *deployment {
	t.Helper()
	c := redistest.StartCluster(t, clusterMasters)
	raw := c.Client(t, func(o *redis.ClusterOptions) {
		o.ReadTimeout, o.WriteTimeout, o.DialTimeout = impatient, impatient, impatient
	})
	d := &deployment{t: t, addrs: c.Addrs(), nodes: c.Nodes, admins: admins(t, c.Nodes...), raw: raw, cluster: c}
	for i, n := range d.nodes {
		w, err := harness.NewWay(busOf(t, n.Addr), true)
		if err != nil {
			t.Fatalf("the way of a bus: %v", err)
		}
		t.Cleanup(w.Close)
		d.bus = append(d.bus, w)
		d.announceBus(i)
	}
	redistest.Eventually(t, 20*time.Second, func() error {
		for _, w := range d.bus {
			if n := w.Open(); n < clusterMasters-1 {
				return fmt.Errorf("%d masters have found the way to one", n)
			}
		}
		return nil
	})
	return d
}

// busOf gives where a Cluster's node listens to others.
func busOf(t testing.TB, addr string) string {
	t.Helper()
	const above = 10_000 // the node's own port
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, strconv.Itoa(number+above))
}

// announceBus makes the other masters take the way to one. A restart makes it forget.
func (d *deployment) announceBus(node int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), adminTimeout)
	defer cancel()
	_, port, err := net.SplitHostPort(d.bus[node].Addr())
	if err == nil {
		err = d.admins[node].ConfigSet(ctx, "cluster-announce-bus-port", port).Err()
	}
	if err != nil {
		d.t.Fatalf("announce the way of a bus: %v", err)
	}
}

func startSentinel(t testing.TB) *deployment {
	t.Helper()
	s := redistest.StartSentinel(t)
	raw := s.Client(t, func(o *redis.FailoverOptions) {
		o.ReadTimeout, o.WriteTimeout, o.DialTimeout = impatient, impatient, impatient
	})
	nodes := []*redistest.Server{s.Master(), s.Replica()}
	return &deployment{t: t, addrs: s.Addrs(), masterName: s.MasterName, nodes: nodes, admins: admins(t, nodes...), raw: raw, sentinel: s}
}

func admins(t testing.TB, servers ...*redistest.Server) []*redis.Client {
	t.Helper()
	var clients []*redis.Client
	for _, s := range servers {
		// Faults cut its connections, too.
		clients = append(clients, s.Client(t, func(o *redis.Options) { o.MaxRetries = 3 }))
	}
	return clients
}

// servers are the addresses that instances dial by a way of their own.
func (d *deployment) servers() []string {
	var addrs []string
	for _, n := range d.nodes {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

// key is the name of a hot key in Redis.
func (d *deployment) key(k int) string { return d.namespace + ":" + cacheName + ":" + keyName(k) }

// masters are the nodes that take writes now.
func (d *deployment) masters() (nodes []*redistest.Server, clients []*redis.Client) {
	for i, n := range d.nodes {
		if d.sentinel == nil || n == d.sentinel.Master() {
			nodes, clients = append(nodes, n), append(clients, d.admins[i])
		}
	}
	return nodes, clients
}

// Nodes returns how many take changes now.
func (d *deployment) Nodes() int {
	nodes, _ := d.masters()
	return len(nodes)
}

// Pause stops a node.
func (d *deployment) Pause(node int) error {
	nodes, _ := d.masters()
	nodes[node].Pause()
	return nil
}

// Resume undoes Pause.
func (d *deployment) Resume(node int) error {
	nodes, _ := d.masters()
	nodes[node].Resume()
	d.settle()
	return nil
}

// Restart ends a node as a crash would, and starts it again, empty.
func (d *deployment) Restart(ctx context.Context, node int, after time.Duration) error {
	d.nodes[node].Kill()
	harness.Sleep(ctx, after)
	d.nodes[node].Restart()
	if d.cluster != nil {
		d.announceBus(node)
	}
	d.settle()
	return nil
}

// settle waits until a Cluster is whole again.
func (d *deployment) settle() {
	d.t.Helper()
	if d.cluster != nil {
		d.cluster.AwaitHealthy(d.t)
	}
}

// EachNode runs a command on every master, at the same time.
func (d *deployment) EachNode(_ context.Context, args ...any) error {
	_, clients := d.masters()
	errs := make([]error, len(clients))
	ctx, cancel := context.WithTimeout(d.t.Context(), adminTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = c.Do(ctx, args...).Err() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%v: %w", args, err)
	}
	return nil
}

// mustEachNode is EachNode, and fails the test if that fails.
func (d *deployment) mustEachNode(args ...any) {
	d.t.Helper()
	if err := d.EachNode(d.t.Context(), args...); err != nil {
		d.t.Fatal(err)
	}
}
