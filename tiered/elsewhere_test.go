package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// wrapper is a client whose type shows nothing of what it wraps.
type wrapper struct{ redis.UniversalClient }

// bearer has a client in a field, and methods of its own that are the client's.
type bearer struct {
	redis.UniversalClient
	name string
}

func TestNew_refusesClientsThatReadElsewhere(t *testing.T) {
	t.Parallel()
	cluster := func(mutate func(*redis.ClusterOptions)) redis.UniversalClient {
		o := &redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}
		mutate(o)
		return redis.NewClusterClient(o)
	}
	failover := func(mutate func(*redis.FailoverOptions)) redis.UniversalClient {
		o := &redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}}
		mutate(o)
		return redis.NewFailoverClusterClient(o)
	}
	refused := map[string]redis.UniversalClient{
		"client-side cache":          redis.NewClient(&redis.Options{ClientSideCacheConfig: &redis.ClientSideCacheConfig{}}),
		"Ring":                       redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}}),
		"ReadOnly":                   cluster(func(o *redis.ClusterOptions) { o.ReadOnly = true }),
		"RouteByLatency":             cluster(func(o *redis.ClusterOptions) { o.RouteByLatency = true }),
		"RouteRandomly":              cluster(func(o *redis.ClusterOptions) { o.RouteRandomly = true }),
		"failover, ReplicaOnly":      failover(func(o *redis.FailoverOptions) { o.ReplicaOnly = true }),
		"failover, RouteByLatency":   failover(func(o *redis.FailoverOptions) { o.RouteByLatency = true }),
		"failover, RouteRandomly":    failover(func(o *redis.FailoverOptions) { o.RouteRandomly = true }),
		"universal, read-only":       redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"127.0.0.1:1", "127.0.0.1:2"}, ReadOnly: true}),
		"nothing":                    (*redis.Client)(nil),
		"no Cluster client":          (*redis.ClusterClient)(nil),
		"a wrapper that has nothing": wrapper{},
	}
	t.Cleanup(func() {
		for name, rdb := range refused {
			if name != "nothing" && name != "no Cluster client" && name != "a wrapper that has nothing" {
				_ = rdb.Close()
			}
		}
	})
	for name, rdb := range refused {
		for _, rdb := range []redis.UniversalClient{rdb, wrapper{rdb}, &wrapper{wrapper{rdb}}, bearer{rdb, name}, &bearer{&bearer{rdb, name}, name}} {
			_, err := tiered.New(rdb, tiered.Options{})
			if fault := (*tiered.OptionError)(nil); !errors.As(err, &fault) || fault.Field != "rdb" || !errors.Is(err, tiered.ErrInvalidOptions) {
				t.Errorf("%s in a %T: %v", name, rdb, err)
			}
		}
	}
}

// A server of another kind than the client is for, which only the server can tell, makes every
// call an error, and no call gives a value.
func TestNew_serverOfAnotherKindServesNothing(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	sentinel := redistest.StartSentinel(t)
	server := redistest.Start(t)
	replica := func(t *testing.T) *redis.Client { return sentinel.Replica().Client(t) }
	failover := func(o *redis.FailoverOptions) *redis.FailoverOptions {
		o.MasterName, o.SentinelAddrs = sentinel.MasterName, sentinel.Addrs()
		o.DialerRetries, o.MaxRetries = 1, -1
		return o
	}
	for name, client := range map[string]func(t *testing.T) redis.UniversalClient{
		"a node of a Cluster": func(t *testing.T) redis.UniversalClient { return cluster.Nodes[0].Client(t) },
		"a replica's address": func(t *testing.T) redis.UniversalClient { return replica(t) },
		"Sentinel's replicas": func(t *testing.T) redis.UniversalClient {
			return sentinel.Client(t, func(o *redis.FailoverOptions) { o.ReplicaOnly = true })
		},
		"Sentinel's Cluster client with a database": func(t *testing.T) redis.UniversalClient {
			c := redis.NewFailoverClusterClient(failover(&redis.FailoverOptions{DB: 3}))
			t.Cleanup(func() { _ = c.Close() })
			return c
		},
		"a connection that selects another database": func(t *testing.T) redis.UniversalClient {
			return server.Client(t, func(o *redis.Options) {
				o.OnConnect = func(ctx context.Context, c *redis.Conn) error { return c.Select(ctx, 5).Err() }
			})
		},
	} {
		for _, wrapped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/wrapped=%t", name, wrapped), func(t *testing.T) {
				t.Parallel()
				rdb := client(t)
				if wrapped {
					rdb = &wrapper{rdb}
				}
				c := newClient(t, rdb, tiered.Options{})
				wantUnusable(t, c)
			})
		}
	}
}

// wantUnusable requires that each method that asks Redis reports that the client cannot be used.
func wantUnusable(t *testing.T, c *tiered.Client) {
	t.Helper()
	ctx, cache := t.Context(), newCache[int64](t, c, "c", tiered.CacheOptions{})
	keys := []string{"k", "l", "m", "n"} // in several slots
	for name, call := range map[string]func() error{
		"Get":            func() error { _, err := cache.Get(ctx, "k"); return err },
		"GetMany":        func() error { _, err := cache.GetMany(ctx, keys); return err },
		"GetOrSetValue":  func() error { _, err := cache.GetOrSetValue(ctx, "k", 1); return err },
		"Exists":         func() error { _, err := cache.Exists(ctx, "k"); return err },
		"ExistsMany":     func() error { _, err := cache.ExistsMany(ctx, keys); return err },
		"TTL":            func() error { _, err := cache.TTL(ctx, "k"); return err },
		"Count":          func() error { _, err := cache.Count(ctx, ""); return err },
		"Set":            func() error { return cache.Set(ctx, "k", 1) },
		"SetMany":        func() error { _, err := cache.SetMany(ctx, []tiered.Item[int64]{{Key: "k"}, {Key: "l"}}); return err },
		"SetIfAbsent":    func() error { _, err := cache.SetIfAbsent(ctx, "k", 1); return err },
		"Increment":      func() error { _, err := cache.Increment(ctx, "k", 1); return err },
		"Expire":         func() error { _, err := cache.Expire(ctx, "k", time.Hour); return err },
		"Delete":         func() error { _, err := cache.Delete(ctx, "k"); return err },
		"DeleteMany":     func() error { _, err := cache.DeleteMany(ctx, keys); return err },
		"Clear":          func() error { _, err := cache.Clear(ctx, ""); return err },
		"InvalidateTags": func() error { return cache.InvalidateTags(ctx, "t") },
		"Ready":          func() error { return c.Ready(ctx) },
	} {
		err := call()
		fault := (*tiered.OptionError)(nil)
		if !errors.As(err, &fault) || fault.Field != "rdb" || !errors.Is(err, tiered.ErrInvalidOptions) || errors.Is(err, tiered.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is loaded is no value of the server's.
	v, err := cache.GetOrSet(ctx, "loaded", func(context.Context) (int64, error) { return 7, nil })
	if v != 7 || err != nil {
		t.Errorf("GetOrSet: %d, %v", v, err)
	}
}

// A plain client stays at its address: when the master there becomes a replica, it serves nothing once MaxStaleness has
// passed, and works again when the server is a master again.
func TestOutage_masterThatBecomesAReplicaServesNothing(t *testing.T) {
	t.Parallel()
	s, other := redistest.Start(t), redistest.Start(t)
	host, port, err := net.SplitHostPort(other.Addr)
	check(t, err)
	const bound = 500 * time.Millisecond
	c := coherent(t, s.Client(t), tiered.Options{MaxStaleness: bound, RetryBackoff: 50 * time.Millisecond})
	cache := newCache[string](t, c, "c", tiered.CacheOptions{})
	check(t, cache.Set(t.Context(), "k", "old"))
	check(t, s.Client(t).Do(t.Context(), "REPLICAOF", host, port).Err())
	eventually(t, "the replica is still read", func() bool {
		_, err := cache.Get(t.Context(), "k")
		// It was a master once, so nothing says that the client is the wrong one.
		return errors.Is(err, tiered.ErrRemoteUnavailable) && !errors.Is(err, tiered.ErrInvalidOptions)
	})
	for range 20 {
		if v, err := cache.Get(t.Context(), "k"); err == nil || errors.Is(err, tiered.ErrNotFound) {
			t.Fatalf("a replica gave %q, %v", v, err)
		}
	}
	wantErr(t, cache.Set(t.Context(), "refused", "v"), tiered.ErrRemoteUnavailable)
	check(t, s.Client(t).Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	eventually(t, "the master is not used again", func() bool { return cache.Set(t.Context(), "refused", "v") == nil })
	ready(t, c)
	check(t, cache.Set(t.Context(), "k", "new")) // of a key for which nothing has to be made up
	wantGet(t, cache, "k", "new")
}

// A wrapper shows neither its client's database nor its kind: both are found in it.
func TestNew_acceptsWrappedClients(t *testing.T) {
	server := redistest.Start(t)
	cluster := redistest.StartCluster(t, 3)
	sentinel := redistest.StartSentinel(t)
	for name, client := range map[string]func(t *testing.T) redis.UniversalClient{
		"database 2": func(t *testing.T) redis.UniversalClient {
			return server.Client(t, func(o *redis.Options) { o.DB = 2 })
		},
		"cluster":  func(t *testing.T) redis.UniversalClient { return cluster.Client(t) },
		"sentinel": func(t *testing.T) redis.UniversalClient { return sentinel.Client(t) },
		"sentinel, Cluster client": func(t *testing.T) redis.UniversalClient {
			c := redis.NewFailoverClusterClient(&redis.FailoverOptions{MasterName: sentinel.MasterName, SentinelAddrs: sentinel.Addrs()})
			t.Cleanup(func() { _ = c.Close() })
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			plain := coherent(t, client(t), tiered.Options{Namespace: ns, Lanes: 3})
			wrapped := coherent(t, &bearer{wrapper{client(t)}, name}, tiered.Options{Namespace: ns, Lanes: 3})
			a, b := newCache[int](t, plain, "c", tiered.CacheOptions{}), newCache[int](t, wrapped, "c", tiered.CacheOptions{})
			for i := range 32 { // over all lanes, and slots
				key := fmt.Sprint("k", i)
				for _, pair := range [][2]*tiered.Cache[int]{{a, b}, {b, a}} {
					check(t, pair[0].Set(t.Context(), key, i))
					eventually(t, "the change is not known", func() bool { v, err := pair[1].Get(t.Context(), key); return v == i && err == nil })
					_, err := pair[0].Delete(t.Context(), key)
					check(t, err)
					eventually(t, "the deletion is not known", func() bool { _, err := pair[1].Get(t.Context(), key); return errors.Is(err, tiered.ErrNotFound) })
				}
			}
			check(t, a.Set(t.Context(), "k", 1))
			if n, err := b.Clear(t.Context(), ""); err != nil || n != 1 {
				t.Errorf("Clear: %d, %v", n, err)
			}
			eventually(t, "Clear is not known", func() bool { _, err := a.Get(t.Context(), "k"); return errors.Is(err, tiered.ErrNotFound) })
			for _, c := range []*tiered.Client{plain, wrapped} {
				if drops := c.Stats().Drops; len(drops) != 1 || drops["first-sync"] != 3 {
					t.Errorf("drops %v", drops)
				}
			}
		})
	}
}

// A wrapped client of database 2 beside instances of database 0 with the same namespace: lanes,
// floors and copies of each are its own.
func TestNew_wrappedClientOfAnotherDatabaseLeavesDatabase0Alone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in2 := func(o *redis.Options) { o.DB = 2 }
	raw0, raw2 := s.Client(t), s.Client(t, in2)
	a := coherent(t, s.Client(t), tiered.Options{Namespace: "n"})
	ca := newCache[string](t, a, "c", tiered.CacheOptions{})
	for i := range 20 {
		check(t, ca.Set(t.Context(), fmt.Sprint("keep", i), "of 0"))
	}
	names := lane.Of("n", 0)
	floors, newest := raw0.HGetAll(t.Context(), names.Floors).Val(), raw0.XRevRangeN(t.Context(), names.Stream, "+", "-", 1).Val()
	eventually(t, "its own changes were not heard", func() bool { return a.Stats().Lanes[0].Applied == newest[0].ID })
	before := a.Stats()

	d := coherent(t, wrapper{s.Client(t, in2)}, tiered.Options{Namespace: "n"})
	cd := newCache[string](t, d, "c", tiered.CacheOptions{})
	for i := range 20 {
		key := fmt.Sprint("keep", i)
		check(t, cd.Set(t.Context(), key, "of 2", tiered.Tags("t")))
		wantGet(t, cd, key, "of 2")
	}
	check(t, cd.InvalidateTags(t.Context(), "t"))
	wantMissing(t, cd, "keep1")
	_, err := cd.Clear(t.Context(), "")
	check(t, err)
	check(t, cd.Set(t.Context(), "k", "of 2"))

	if raw2.XLen(t.Context(), names.Stream).Val() == 0 || len(raw2.HGetAll(t.Context(), names.Floors).Val()) == 0 {
		t.Error("database 2 has no lane, or no floors")
	}
	if now := raw0.HGetAll(t.Context(), names.Floors).Val(); fmt.Sprint(now) != fmt.Sprint(floors) {
		t.Errorf("floors of database 0: %v, were %v", now, floors)
	}
	if now := raw0.XRevRangeN(t.Context(), names.Stream, "+", "-", 1).Val(); fmt.Sprint(now) != fmt.Sprint(newest) {
		t.Errorf("the lane of database 0 ends with %v, ended with %v", now, newest)
	}
	// What database 0 announces now comes after all that database 2 did: it is all that the first instance hears.
	b := coherent(t, s.Client(t), tiered.Options{Namespace: "n"})
	check(t, newCache[string](t, b, "c", tiered.CacheOptions{}).Set(t.Context(), "told", "of 0"))
	eventually(t, "the change was not heard", func() bool { return a.Stats().Invalidations > before.Invalidations })
	after := a.Stats()
	if n := after.Invalidations - before.Invalidations; n != 1 || fmt.Sprint(after.Drops) != fmt.Sprint(before.Drops) {
		t.Errorf("%d invalidations, drops %v, were %v", n, after.Drops, before.Drops)
	}
	for i := range 20 {
		var answer tiered.Source
		v, err := ca.Get(tiered.WithSource(t.Context(), &answer), fmt.Sprint("keep", i))
		if v != "of 0" || err != nil || answer != tiered.SourceLocal {
			t.Errorf("%q, %v, from %v", v, err, answer)
		}
	}
	wantMissing(t, ca, "k")
}
