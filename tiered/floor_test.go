package tiered_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// scanless lets no scan through.
type scanless struct{ cut atomic.Int64 }

var errCut = errors.New("the scan was cut off")

func (s *scanless) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *scanless) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "scan" {
			s.cut.Add(1)
			return errCut
		}
		return next(ctx, cmd)
	}
}

func (s *scanless) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// clearer gives an instance of a fleet whose Clear raises the floor and then fails: what it clears stays in Redis.
func clearer[V any](t *testing.T, server *redistest.Server, o tiered.Options) (clearAll func()) {
	t.Helper()
	hook := new(scanless)
	rdb := server.Client(t)
	rdb.AddHook(hook)
	c := newCache[V](t, coherent(t, rdb, o), "c", tiered.CacheOptions{})
	return func() {
		t.Helper()
		if n, err := c.Clear(t.Context(), ""); err == nil || hook.cut.Load() == 0 {
			t.Fatalf("Clear = %d, %v after %d scans that were cut off", n, err, hook.cut.Load())
		}
	}
}

var clearedKeys = []string{"get", "getmany", "exists", "existsmany", "ttl", "incr", "absent", "load", "loadmany", "delete", "deletemany", "expire", "value"}

// wantCleared requires of every operation that it finds nothing.
func wantCleared(t *testing.T, c *tiered.Cache[int64]) {
	t.Helper()
	ctx := t.Context()
	expect := func(name string, ok bool, got any, err error) {
		t.Helper()
		if !ok || err != nil {
			t.Errorf("%s after Clear: %v, %v", name, got, err)
		}
	}
	n, err := c.Count(ctx, "")
	expect("Count", n == 0, n, err)
	wantMissing(t, c, "get")
	m, err := c.GetMany(ctx, []string{"getmany"})
	expect("GetMany", len(m) == 0, m, err)
	found, err := c.Exists(ctx, "exists")
	expect("Exists", !found, found, err)
	which, err := c.ExistsMany(ctx, []string{"existsmany"})
	expect("ExistsMany", !which["existsmany"], which, err)
	_, err = c.TTL(ctx, "ttl")
	wantErr(t, err, tiered.ErrNotFound)
	found, err = c.Expire(ctx, "expire", time.Hour)
	expect("Expire", !found, found, err)
	found, err = c.Delete(ctx, "delete")
	expect("Delete", !found, found, err)
	n, err = c.DeleteMany(ctx, []string{"deletemany"})
	expect("DeleteMany", n == 0, n, err)
	sum, err := c.Increment(ctx, "incr", 5)
	expect("Increment", sum == 5, sum, err)
	found, err = c.SetIfAbsent(ctx, "absent", 6)
	expect("SetIfAbsent", found, found, err)
	v, err := c.GetOrSetValue(ctx, "value", 7)
	expect("GetOrSetValue", v == 7, v, err)
	v, err = c.GetOrSet(ctx, "load", constant(int64(8)))
	expect("GetOrSet", v == 8, v, err)
	m, err = c.GetOrSetMany(ctx, []string{"loadmany"}, func(context.Context, []string) (map[string]int64, error) { return map[string]int64{"loadmany": 9}, nil })
	expect("GetOrSetMany", m["loadmany"] == 9, m, err)
}

// Clear is complete when its floor is raised, whatever becomes of the scan, and for every operation.
func TestClear_isCompleteWithoutItsScan(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		for who, join := range map[string]func(t *testing.T, ns string, there *tiered.Client) *tiered.Client{
			"an instance that was there": func(_ *testing.T, _ string, there *tiered.Client) *tiered.Client { return there },
			"an instance that joins later": func(t *testing.T, ns string, _ *tiered.Client) *tiered.Client {
				return coherent(t, shared.Client(t), tiered.Options{Namespace: ns, Lanes: lanes})
			},
			"an instance that cannot subscribe": func(t *testing.T, ns string, _ *tiered.Client) *tiered.Client {
				p := newTap(t)
				p.hold()
				return newClient(t, shared.Client(t, p.options), tiered.Options{Namespace: ns, Lanes: lanes, MaxStaleness: time.Hour})
			},
		} {
			t.Run(who, func(t *testing.T) {
				t.Parallel()
				o := tiered.Options{Namespace: namespace(t), Lanes: lanes}
				there := coherent(t, shared.Client(t), o)
				c := newCache[int64](t, there, "c", tiered.CacheOptions{})
				clearAll := clearer[int64](t, shared, o)
				for _, k := range clearedKeys {
					check(t, c.Set(t.Context(), k, 100))
				}
				heard := there.Stats().Invalidations
				clearAll()
				eventually(t, "the message comes", func() bool { return there.Stats().Invalidations >= heard+uint64(lanes) })
				if n := shared.Client(t).Exists(t.Context(), o.Namespace+":c:get").Val(); n != 1 {
					t.Fatalf("the scan has reclaimed what it should have left: %d", n)
				}
				reader := newCache[int64](t, join(t, o.Namespace, there), "c", tiered.CacheOptions{})
				wantCleared(t, reader)
				// What is set after it is there, for all.
				check(t, reader.Set(t.Context(), "get", 1))
				check(t, c.Set(t.Context(), "exists", 2))
				for _, c := range []*tiered.Cache[int64]{c, reader, remoteOnly[int64](t, o.Namespace, "c")} {
					if lanes > 1 && c != reader { // far has one lane
						continue
					}
					wantGet(t, c, "get", 1)
					wantGet(t, c, "exists", 2)
					wantGet(t, c, "incr", 5)
					wantGet(t, c, "load", 8)
				}
			})
		}
	}
}

// A load that began before a Clear stores nothing that any reader gets, though its lease was not
// removed.
func TestClear_outlastsAFillUnderWayWithoutItsScan(t *testing.T) {
	t.Parallel()
	o := tiered.Options{Namespace: namespace(t)}
	client := coherent(t, shared.Client(t), o)
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	clearAll := clearer[string](t, shared, o)
	b := newBlocked(t, "old")
	call := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the load runs", b.running)
	clearAll()
	eventually(t, "the message comes", func() bool { return client.Stats().Invalidations > 0 })
	b.letGo()
	receive(t, "the caller", call)
	wantMissing(t, c, "k")
	wantMissing(t, newCache[string](t, coherent(t, shared.Client(t), o), "c", tiered.CacheOptions{}), "k")
	wantMissing(t, remoteOnly[string](t, o.Namespace, "c"), "k")
	if got, err := c.GetOrSet(t.Context(), "k", constant("new")); err != nil || got != "new" {
		t.Fatalf("GetOrSet = %q, %v", got, err)
	}
	wantGet(t, remoteOnly[string](t, o.Namespace, "c"), "k", "new")
}

// Entries that the pattern of a Clear does not match stay in the remote tier, for every instance.
func TestClear_withAPatternLeavesOtherRemoteEntries(t *testing.T) {
	t.Parallel()
	ns, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
	for _, k := range []string{"a1", "a2", "b1"} {
		check(t, caches[0].Set(t.Context(), k, k))
	}
	heard := clients[1].Stats().Invalidations
	if n, err := caches[0].Clear(t.Context(), "a*"); n != 2 || err != nil {
		t.Fatalf("Clear = %d, %v", n, err)
	}
	eventually(t, "the message comes", func() bool { return clients[1].Stats().Invalidations > heard })
	for _, c := range []*tiered.Cache[string]{caches[0], caches[1], remoteOnly[string](t, ns, "c")} {
		wantMissing(t, c, "a1")
		wantMissing(t, c, "a2")
		if got, err := c.GetOrSet(t.Context(), "b1", forbidden[string](t)); err != nil || got != "b1" {
			t.Errorf("b1 = %q, %v", got, err)
		}
	}
}

// An instance that missed a Clear, and cannot find it in the lane any more, learns of it from the floors.
func TestClear_isLearnedFromTheFloorsAfterItWasMissed(t *testing.T) {
	t.Parallel()
	p, client, c, outside := behindProxy(t, tiered.Options{RetryBackoff: 20 * time.Millisecond, MaxStaleness: 200 * time.Millisecond})
	ns := tiered.NamespaceOf(c)
	clearAll := clearer[string](t, shared, tiered.Options{Namespace: ns})
	check(t, c.Set(t.Context(), "k", "old"))
	wantGet(t, c, "k", "old")
	p.Refuse(true)
	p.CutAll()
	clearAll()
	rdb := shared.Client(t)
	cleared, err := rdb.XRevRangeN(t.Context(), lane.Of(ns, 0).Stream, "+", "-", 1).Result()
	check(t, err)
	check(t, rdb.XDel(t.Context(), lane.Of(ns, 0).Stream, cleared[0].ID).Err())
	check(t, outside.Set(t.Context(), "other", "v"))
	p.Refuse(false)
	eventually(t, "a new subscription", func() bool { return client.Stats().Subscriptions >= 2 })
	ready(t, client)
	wantMissing(t, c, "k")
	if d := client.Stats().Drops; d["history-lost"] != 0 {
		t.Errorf("drops: %v: the whole namespace was invalidated", d)
	}
	if n := rdb.Exists(t.Context(), ns+":c:k").Val(); n != 1 {
		t.Errorf("%d remote entries left, want the one that was not reclaimed", n)
	}
}

// One field of the floors that is not an id, whatever program wrote it, does not keep an instance
// from trusting its local tier.
func TestCoherence_malformedFloorDoesNotEndTrust(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	for _, bad := range []string{"99999999999999-0", "17592186044416-0", "garbage", "", "5 6"} {
		ns := namespace(t) + strconv.Itoa(len(bad))
		c := coherent(t, rdb, tiered.Options{Namespace: ns, MaxStaleness: 200 * time.Millisecond})
		cache := newCache[string](t, c, "users", tiered.CacheOptions{})
		floors := "{" + ns + ":0}:floors"
		check(t, rdb.HSet(t.Context(), floors, "another", bad, "!", bad).Err())
		coherent(t, rdb, tiered.Options{Namespace: ns, MaxStaleness: 200 * time.Millisecond}) // a new instance learns the floors first
		check(t, cache.Set(t.Context(), "k", "v"))
		wantGet(t, cache, "k", "v")
		_, err := cache.Clear(t.Context(), "")
		check(t, err)
		if got := rdb.HGet(t.Context(), floors, "!").Val(); got == bad {
			t.Errorf("%q is still the newest floor after a Clear", bad)
		}
		wantMissing(t, cache, "k")
		check(t, cache.Set(t.Context(), "k", "w"))
		wantGet(t, cache, "k", "w")
	}
}
