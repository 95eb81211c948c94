package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// loss is a way for Redis to lose what it had acknowledged.
type loss struct {
	name  string
	lanes int
	// before is done while all is well, lose when everybody has heard of everything. Neither stops the writers.
	before, lose func(t *testing.T, d deployment, ns string)
	replicated   bool // by Sentinel
	returns      bool // Redis holds again what was deleted after before
}

// deployment is one server, or a master with a replica and Sentinel.
type deployment struct {
	*redistest.Server // the one server, or the master until a failover
	sentinel          *redistest.Sentinel
}

func deploy(t *testing.T, replicated bool) deployment {
	if !replicated {
		return deployment{Server: redistest.Start(t)}
	}
	s := redistest.StartSentinel(t)
	return deployment{s.Master(), s}
}

// connect returns a client that finds the master.
func (d deployment) connect(t *testing.T) redis.UniversalClient {
	if d.sentinel != nil {
		return d.sentinel.Client(t)
	}
	return d.Client(t)
}

func restartEmpty(_ *testing.T, d deployment, _ string) {
	d.Kill()
	d.Restart()
}

func snapshot(t *testing.T, d deployment, _ string) {
	check(t, d.Client(t).Save(t.Context()).Err())
}

// stopReplication lets the replica hear of nothing that the master does from now on.
func stopReplication(t *testing.T, d deployment, _ string) {
	admin := d.Client(t)
	if n, err := admin.Wait(t.Context(), 1, patience).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas have what the master has, %v", n, err)
	}
	check(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "-psync", "-sync").Err())
	check(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err())
}

func promoteReplica(t *testing.T, d deployment, _ string) { d.sentinel.Failover(t) }

// clockAhead makes the lanes' ids those of a server whose clock is an hour ahead: after a loss it has gone back.
func clockAhead(t *testing.T, d deployment, ns string) {
	ahead := time.Now().Add(time.Hour).UnixMilli()
	check(t, d.Client(t).XAdd(t.Context(), &redis.XAddArgs{
		Stream: lane.Of(ns, 0).Stream, ID: fmt.Sprintf("%d-0", ahead), Values: []string{"m", "\xc1\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	}).Err())
}

var losses = []loss{
	{name: "restarted empty", lanes: 1, lose: restartEmpty},
	{name: "restarted empty, several lanes", lanes: 4, lose: restartEmpty},
	{name: "restarted empty, clock back", lanes: 1, before: clockAhead, lose: restartEmpty},
	{name: "restarted from an old snapshot", lanes: 1, before: snapshot, lose: restartEmpty, returns: true},
	{name: "restarted from an old snapshot, several lanes", lanes: 4, before: snapshot, lose: restartEmpty, returns: true},
	{name: "restarted from an old snapshot, clock back", lanes: 1, before: func(t *testing.T, d deployment, ns string) {
		snapshot(t, d, ns)
		clockAhead(t, d, ns)
	}, lose: restartEmpty, returns: true},
	{name: "lagging replica promoted", lanes: 1, replicated: true, before: stopReplication, lose: promoteReplica, returns: true},
	{name: "lagging replica promoted, several lanes", lanes: 4, replicated: true, before: stopReplication, lose: promoteReplica, returns: true},
	{name: "flushed", lanes: 1, lose: func(t *testing.T, d deployment, _ string) {
		check(t, d.Client(t).FlushAll(t.Context()).Err())
	}},
	{name: "lane deleted, clock back", lanes: 1, before: clockAhead, lose: func(t *testing.T, d deployment, ns string) {
		check(t, d.Client(t).Del(t.Context(), lane.Of(ns, 0).Stream).Err())
	}},
}

// Instances that go on changing entries while Redis loses its data lose no change that it
// acknowledges afterwards, whichever notices the loss and when. Entries that they had deleted
// before do not come back.
func TestLoss_changesAcknowledgedAfterwardsLast(t *testing.T) {
	t.Parallel()
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			server := deploy(t, l.replicated)
			o := tiered.Options{
				Namespace: namespace(t), Lanes: l.lanes, MaxStaleness: 2 * time.Second, RemoteTimeout: 2 * time.Second, RetryBackoff: 50 * time.Millisecond, BreakerPause: 10 * time.Millisecond,
			}
			var clients []*tiered.Client
			var caches []*tiered.Cache[int]
			for range 3 {
				clients = append(clients, coherent(t, server.connect(t), o))
				caches = append(caches, newCache[int](t, clients[len(clients)-1], "c", tiered.CacheOptions{}))
			}
			const old = 20
			for i := range old {
				check(t, caches[0].Set(t.Context(), fmt.Sprint("old", i), i))
			}
			if l.before != nil {
				l.before(t, server, o.Namespace)
			}
			for i := range old {
				_, err := caches[0].Delete(t.Context(), fmt.Sprint("old", i))
				check(t, err)
			}
			writers := write(t, caches)
			writers.advance(t, clients, 20)
			l.lose(t, server, o.Namespace)
			back, err := server.connect(t).Exists(t.Context(), o.Namespace+":c:old0").Result()
			if err != nil || (back == 1) != l.returns {
				t.Fatalf("of what was deleted %d entries are back in Redis, %v", back, err)
			}
			writers.lost.Store(true)
			writers.advance(t, clients, 50)
			for _, c := range clients {
				ready(t, c)
			}
			eventually(t, "every loss is made up for", func() bool {
				for _, c := range clients {
					if c.Stats().Pending > 0 {
						return false
					}
				}
				return true
			})
			writers.advance(t, clients, 20)
			writers.stop()
			fresh := newCache[int](t, coherent(t, server.connect(t), o), "c", tiered.CacheOptions{})
			missing := 0
			for key, v := range writers.acknowledged {
				for _, c := range append(caches, fresh) {
					if got, err := c.Get(t.Context(), key); err != nil || got != v {
						missing++
					}
				}
			}
			if missing > 0 {
				t.Errorf("%d reads of %d Sets that were acknowledged after the loss did not find them", missing, len(writers.acknowledged))
			}
			for i := range old {
				for _, c := range append(caches, fresh) {
					if got, err := c.Get(t.Context(), fmt.Sprint("old", i)); !errors.Is(err, tiered.ErrNotFound) {
						t.Errorf("what was deleted before the loss is back: %v, %v", got, err)
					}
				}
			}
		})
	}
}

// writers Set keys of their own, each once, on several instances at the same time.
type writers struct {
	lost   atomic.Bool // the Sets that begin now are those of a new history
	since  []atomic.Int64
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]int // after the loss
}

func write(t *testing.T, caches []*tiered.Cache[int]) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{acknowledged: make(map[string]int), cancel: cancel, since: make([]atomic.Int64, len(caches))}
	t.Cleanup(w.stop)
	for i, c := range caches {
		w.wg.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				<-pace.C
				key, after := fmt.Sprintf("%d-%d", i, n), w.lost.Load()
				if err := c.Set(ctx, key, n); err != nil {
					continue
				}
				w.since[i].Add(1)
				if after {
					w.mu.Lock()
					w.acknowledged[key] = n
					w.mu.Unlock()
				}
			}
		})
	}
	return w
}

// advance returns when each of the instances has made n more changes.
func (w *writers) advance(t *testing.T, clients []*tiered.Client, n int64) {
	t.Helper()
	for i := range clients {
		from := w.since[i].Load()
		eventually(t, "the instances go on", func() bool { return w.since[i].Load() >= from+n })
	}
}

func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}
