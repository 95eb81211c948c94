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

// plain gives a client with the defaults of both libraries.
func plain(t *testing.T, addr string, o tiered.Options) *tiered.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	c, err := tiered.New(rdb, o)
	check(t, err)
	t.Cleanup(func() {
		closeClient(t, c)
		check(t, rdb.Close())
	})
	return c
}

// readsInARow makes 20 reads one after the other, of keys that nobody has, and gives what they cost in all.
func readsInARow(t *testing.T, c *tiered.Cache[string], orLoad bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for i := range 20 {
		key := fmt.Sprint("absent", i)
		if orLoad {
			v, err := c.GetOrSet(t.Context(), key, constant("loaded"))
			if err != nil || v != "loaded" {
				t.Errorf("GetOrSet: %q, %v", v, err)
			}
			continue
		}
		_, err := c.Get(t.Context(), key)
		wantErr(t, err, tiered.ErrRemoteUnavailable)
	}
	return time.Since(begun)
}

// A server that does not answer costs one caller after the other little: without a bound it was 14 to
// 16 s. The limit here is half of the eight waits for a timeout that it takes to find out without the
// receiver.
func TestRemoteReadTimeout_boundsReadsOfASilentServer(t *testing.T) {
	t.Parallel()
	const allowed = 4 * time.Second
	for name, orLoad := range map[string]bool{"Get": false, "GetOrSet": true} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			client := plain(t, server.Options().Addr, tiered.Options{})
			ready(t, client)
			c := newCache[string](t, client, "c", tiered.CacheOptions{})
			check(t, c.Set(t.Context(), "near", "v"))
			server.Pause()
			if cost := readsInARow(t, c, orLoad); cost > allowed {
				t.Errorf("20 reads of a frozen server cost %v", cost)
			} else {
				t.Logf("20 reads of a frozen server cost %v", cost)
			}
			server.Resume()
			redistest.Eventually(t, patience, func() error {
				if client.Stats().BreakerOpen {
					return errors.New("the server answers, and is skipped")
				}
				return nil
			})
			server.Kill()
			if cost := readsInARow(t, c, orLoad); cost > allowed {
				t.Errorf("20 reads of a server that went away cost %v", cost)
			} else {
				t.Logf("20 reads of a server that went away cost %v", cost)
			}
		})
		t.Run(name+" absent from the start", func(t *testing.T) {
			server := redistest.Start(t)
			addr := server.Options().Addr
			server.Kill()
			c := newCache[string](t, plain(t, addr, tiered.Options{}), "c", tiered.CacheOptions{})
			if cost := readsInARow(t, c, orLoad); cost > allowed {
				t.Errorf("20 reads cost %v", cost)
			} else {
				t.Logf("20 reads cost %v", cost)
			}
		})
	}
}

// The receiver opens the breaker, though no call has met the outage, and closes it.
func TestBreaker_isOpenedAndClosedByTheReceiver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := coherent(t, server.Client(t), tiered.Options{MaxStaleness: 400 * time.Millisecond, BreakerPause: time.Hour})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	until := func(open bool) {
		t.Helper()
		redistest.Eventually(t, patience, func() error {
			if got := client.Stats().BreakerOpen; got != open {
				return fmt.Errorf("open is %t", got)
			}
			return nil
		})
	}
	server.Pause()
	until(true)
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	server.Resume()
	until(false) // and no call was let through to try: its pause is an hour
	_, err = c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrNotFound)
}

// While the remote tier is skipped a bound stands between the callers and the source.
func TestMaxLoads_boundsLoadsWithoutTheRemoteTier(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	server.Kill()
	client := newClient(t, rdb, tiered.Options{MaxLoads: 3, BreakerFailures: 1, BreakerPause: time.Hour, WhenIncoherent: tiered.Bypass})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	_, _ = c.Get(t.Context(), "k")
	var running, most, loads atomic.Int64
	gate := make(chan struct{})
	load := func(context.Context) (string, error) {
		loads.Add(1)
		for n := running.Add(1); ; {
			if old := most.Load(); old >= n || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-gate
		running.Add(-1)
		return "v", nil
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if v, err := c.GetOrSet(t.Context(), fmt.Sprint(i), load); err != nil || v != "v" {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
	redistest.Eventually(t, patience, func() error {
		if n := running.Load(); n != 3 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
	// Beyond the bound: in time or not at all, and a context's end is its caller's own.
	_, err := c.GetOrSet(t.Context(), "late", constant("v"), tiered.HardTimeout(10*time.Millisecond))
	wantErr(t, err, tiered.ErrTooManyLoads, tiered.ErrRemoteUnavailable)
	var failed *tiered.LoadError
	if !errors.As(err, &failed) {
		t.Errorf("%v is no *LoadError", err)
	}
	_, err = c.GetOrSetMany(t.Context(), []string{"m", "n"}, func(context.Context, []string) (map[string]string, error) {
		return nil, nil
	}, tiered.HardTimeout(10*time.Millisecond))
	wantErr(t, err, tiered.ErrTooManyLoads)
	close(gate)
	wg.Wait()
	if loads.Load() != 20 || most.Load() != 3 {
		t.Errorf("%d loads, %d at once at most, want 20 and 3", loads.Load(), most.Load())
	}
}

// Before the first sync, and after its span, ServeStale keeps loaded values for their moment, as
// Gutter does.
func TestServeStale_fallsBackToTheGutter(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, synced := range map[string]bool{"before the first sync": false, "after its span": true} {
		t.Run(name, func(t *testing.T) {
			p := redistest.NewProxy(t, server.Options().Addr)
			rdb := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: -1, DialerRetries: 1})
			t.Cleanup(func() { check(t, rdb.Close()) })
			client := newClient(t, rdb, tiered.Options{WhenIncoherent: tiered.ServeStale(time.Millisecond), MaxStaleness: time.Minute})
			if synced {
				ready(t, client)
			}
			p.Refuse(true)
			p.CutAll()
			c := newCache[string](t, client, "c", tiered.CacheOptions{})
			redistest.Eventually(t, patience, func() error {
				if client.Stats().Coherent {
					return errors.New("coherent still")
				}
				return nil
			})
			loads := 0
			for range 100 {
				_, err := c.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { loads++; return "v", nil })
				check(t, err)
			}
			if loads > 10 {
				t.Errorf("100 reads of a key loaded it %d times", loads)
			}
		})
	}
}

// One dead node of three concerns its own keys only: not the keys of others, whatever the retries
// of undelivered invalidations meet, and whether it is the lane's node or not.
func TestOutage_ofANodeConcernsItsOwnKeysOnly(t *testing.T) {
	t.Parallel()
	for name, ofLane := range map[string]bool{"another node": false, "the node of the lane": true} {
		t.Run(name, func(t *testing.T) {
			cluster := redistest.StartCluster(t, 3)
			for _, n := range cluster.Nodes { // else the others stop, too, once they have noticed
				check(t, n.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err())
			}
			ns := namespace(t)
			client := coherent(t, cluster.Client(t, func(o *redis.ClusterOptions) { o.MaxRedirects = 1 }), tiered.Options{
				Namespace: ns, RemoteTimeout: time.Second, RemoteReadTimeout: time.Second, BreakerPause: 20 * time.Millisecond, BreakerFailures: 3,
			})
			c := newCache[int](t, client, "c", tiered.CacheOptions{LocalTTL: time.Nanosecond}) // remote reads only
			lanes := cluster.Owner(t, cluster.Slot(t, lane.Of(ns, 0).Stream))
			dead := lanes
			if !ofLane {
				for _, n := range cluster.Nodes {
					if n != lanes {
						dead = n
					}
				}
			}
			var healthy, lost []string
			for i := 0; len(healthy) < 30 || len(lost) < 30; i++ {
				key := fmt.Sprint("k", i)
				check(t, c.Set(t.Context(), key, i))
				if cluster.Owner(t, cluster.Slot(t, ns+":c:"+key)) == dead {
					lost = append(lost, key)
				} else {
					healthy = append(healthy, key)
				}
			}
			dead.Kill()
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for g := range 4 { // callers of the dead node, whose changes go to the retry queue
				wg.Go(func() {
					for i := g; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						_ = c.Set(t.Context(), lost[i%len(lost)], 1)
						_, _ = c.Get(t.Context(), lost[i%len(lost)])
					}
				})
			}
			redistest.Eventually(t, patience, func() error {
				if s := client.Stats(); s.Pending == 0 || !s.BreakerOpen {
					return fmt.Errorf("%d pending, breaker open: %t", s.Pending, s.BreakerOpen)
				}
				return nil
			})
			for round := range 5 {
				for _, key := range healthy {
					if _, err := c.Get(t.Context(), key); err != nil {
						t.Fatalf("round %d, Get: %v", round, err)
					}
					if ofLane {
						continue // nobody could be told of a change
					}
					if err := c.Set(t.Context(), key, 2); err != nil {
						t.Fatalf("round %d, Set: %v", round, err)
					}
				}
				got, err := c.GetMany(t.Context(), append(append([]string{}, healthy...), lost[0]))
				var failed *tiered.BatchError
				if len(got) != len(healthy) || !errors.As(err, &failed) || len(failed.Failed) != 1 {
					t.Fatalf("round %d, GetMany: %d of %d, %v", round, len(got), len(healthy), err)
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}
