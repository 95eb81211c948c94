package remote

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/topology"
)

// Keys are either all on one server, or spread over the masters of a Cluster. Only this file knows
// which; the rest of the package asks onCluster, breakerFor, nodeFor and splitByNode.

// routes finds the server of a key and its breaker.
type routes struct {
	masters topology.Masters // nil: one server has all keys
	single  *breaker         // of the one server; nil on a Cluster
	nodes   *nodeBreakers    // of a Cluster; nil with one server
}

func newRoutes(masters topology.Masters, newBreaker func(addr string) *breaker) routes {
	if masters == nil {
		return routes{single: newBreaker("")}
	}
	return routes{masters: masters, nodes: &nodeBreakers{
		masters: masters, newBreaker: newBreaker, unknown: newBreaker(""), byAddr: make(map[string]*breaker),
	}}
}

// nodeBreakers are the breakers of a Cluster, one for each master: a master that does not answer
// does not keep calls from the others.
type nodeBreakers struct {
	masters    topology.Masters
	newBreaker func(addr string) *breaker
	unknown    *breaker    // of calls that are made before the layout of the cluster is known
	layout     atomic.Bool // go-redis has the layout, and finds the node of a key without asking

	mu     sync.RWMutex
	byAddr map[string]*breaker
}

// forgetAfter is how long the breaker of a node is kept after its last use.
const forgetAfter = time.Minute

// forKey returns the breaker of the node that has key.
func (n *nodeBreakers) forKey(ctx context.Context, key string) *breaker {
	if !n.layout.Load() {
		if n.unknown.answered.Load() == 0 {
			return n.unknown
		}
		n.layout.Store(true)
	}
	master, err := n.masters.MasterForKey(ctx, key)
	if err != nil {
		return n.unknown
	}
	return n.forAddr(master.Options().Addr)
}

// forAddr returns the breaker of the node with this address.
func (n *nodeBreakers) forAddr(addr string) *breaker {
	n.mu.RLock()
	b := n.byAddr[addr]
	n.mu.RUnlock()
	if b == nil {
		b = n.add(addr)
	}
	b.used.Store(sinceEpoch())
	return b
}

// add adds the breaker of a node, and forgets those of nodes that have left the cluster.
func (n *nodeBreakers) add(addr string) *breaker {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b := n.byAddr[addr]; b != nil {
		return b
	}
	now := sinceEpoch()
	for a, b := range n.byAddr {
		if now-b.used.Load() > int64(forgetAfter) {
			delete(n.byAddr, a)
		}
	}
	b := n.newBreaker(addr)
	n.byAddr[addr] = b
	return b
}

func (n *nodeBreakers) anyOpen() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, b := range n.byAddr {
		if b.isOpen() {
			return true
		}
	}
	return n.unknown.isOpen()
}

// onCluster reports whether keys are spread over the masters of a Cluster.
func (s *Store) onCluster() bool { return s.routes.masters != nil }

// breakerFor returns the breaker of the server that has key.
func (s *Store) breakerFor(ctx context.Context, key string) *breaker {
	if !s.onCluster() {
		return s.routes.single
	}
	return s.routes.nodes.forKey(ctx, key)
}

// nodeFor returns the client of the node of a Cluster that has key.
func (s *Store) nodeFor(ctx context.Context, key string) (*redis.Client, error) {
	return s.routes.masters.MasterForKey(ctx, key)
}

// Atomic reports whether a change and its announcement are one step. They are on one server. On a
// Cluster one may be made without the other.
func (s *Store) Atomic() bool { return !s.onCluster() }

// BreakerOpen reports whether calls fail at once because recent ones met an outage. On a Cluster it
// reports whether calls to any node do.
func (s *Store) BreakerOpen() bool {
	if !s.onCluster() {
		return s.routes.single.isOpen()
	}
	return s.routes.nodes.anyOpen()
}

// ReportLaneSilence reports that the server of a lane has not answered a receiver, for the reason
// why. Calls to that server fail at once, as after BreakerFailures outages, unless one was answered
// less than span ago.
func (s *Store) ReportLaneSilence(index int, why error, span time.Duration) {
	if s.lanes != nil {
		s.breakerFor(context.Background(), s.lanes[index].Stream).openUnlessAnswered(why, span)
	}
}

// ReportLaneAnswer reports that the server of a lane answers again.
func (s *Store) ReportLaneAnswer(index int) {
	if s.lanes != nil {
		s.breakerFor(context.Background(), s.lanes[index].Stream).reset()
	}
}

// shardedArg returns the argument by which a script chooses between sharded and classic pub/sub.
func (s *Store) shardedArg() string {
	if s.onCluster() {
		return "1"
	}
	return ""
}

// splitByNode splits the given indexes of keys into parts of one round trip to one server each.
func (s *Store) splitByNode(ctx context.Context, keys []string, indexes []int) (parts []batchPart) {
	split := func(node *breaker, indexes []int) {
		s.eachChunk(len(indexes), func(from, to int) { parts = append(parts, batchPart{node: node, indexes: indexes[from:to]}) })
	}
	if !s.onCluster() {
		split(s.routes.single, indexes)
		return parts
	}
	of := make(map[*breaker][]int)
	var nodes []*breaker // in the order of the keys
	for _, i := range indexes {
		b := s.breakerFor(ctx, keys[i])
		if of[b] == nil {
			nodes = append(nodes, b)
		}
		of[b] = append(of[b], i)
	}
	for _, b := range nodes {
		split(b, of[b])
	}
	return parts
}

// batchPart is the part of a batch that one round trip to one server carries.
type batchPart struct {
	node    *breaker
	indexes []int
	round   *clusterWrite // of changes on a Cluster
}

// eachNode calls send for every part. The parts of one server are sent one after the other, and the
// servers are asked at the same time, so no server delays another. Once a part has met an outage,
// the other parts of its server are passed to fail instead.
func eachNode(parts []batchPart, send func(p batchPart) error, fail func(p batchPart, err error)) {
	var wg sync.WaitGroup
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].node == parts[0].node {
			n++
		}
		ofNode := parts[:n]
		parts = parts[n:]
		run := func() {
			var failure error
			for _, p := range ofNode {
				if isOutage(failure) {
					fail(p, failure)
				} else {
					failure = send(p)
				}
			}
		}
		if len(parts) == 0 {
			run() // the last server, or the only one
		} else {
			wg.Go(run)
		}
	}
	wg.Wait()
}

// indexesTo returns 0 to n-1.
func indexesTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// eachChunk calls fn for consecutive ranges of at most BatchSize.
func (s *Store) eachChunk(n int, fn func(from, to int)) {
	for from := 0; from < n; from += s.opts.BatchSize {
		fn(from, min(n, from+s.opts.BatchSize))
	}
}

// eachMaster calls fn for every master, the masters of a Cluster at the same time.
func (s *Store) eachMaster(ctx context.Context, op string, fn func(node *breaker, master redis.Cmdable) error) error {
	if !s.onCluster() {
		return fn(s.routes.single, s.rdb)
	}
	masters, err := s.listMasters(ctx, op)
	if err != nil {
		return err
	}
	errs := make([]error, len(masters))
	var wg sync.WaitGroup
	for i, master := range masters {
		wg.Go(func() { errs[i] = fn(s.routes.nodes.forAddr(master.Options().Addr), master) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// listMasters returns the masters of the Cluster. It is a call like any other: the client may have
// to dial for it.
func (s *Store) listMasters(ctx context.Context, op string) ([]*redis.Client, error) {
	return call(ctx, s, s.routes.nodes.unknown, op, false, func(ctx context.Context) ([]*redis.Client, error) {
		var mu sync.Mutex
		var masters []*redis.Client
		err := s.routes.masters.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters = append(masters, master)
			return nil
		})
		return masters, err
	})
}
