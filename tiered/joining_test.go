package tiered_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

func forbiddenMany[V any](t testing.TB) func(context.Context, []string) (map[string]V, error) {
	return func(_ context.Context, keys []string) (map[string]V, error) {
		t.Errorf("the loader ran for %q", keys)
		return nil, errors.New("the loader ran")
	}
}

// many makes a batch's loader of b, for key.
func (b *blocked[V]) many(key string) func(context.Context, []string) (map[string]V, error) {
	return func(ctx context.Context, _ []string) (map[string]V, error) {
		v, err := b.load(ctx)
		return map[string]V{key: v}, err
	}
}

// A key of a batch that the remote tier has does not wait for the loader of the others, whenever
// its caller comes.
func TestGetOrSetMany_foundKeyDoesNotWaitForTheLoader(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"while the remote tier is asked", "while the loader runs"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			early := when == "while the remote tier is asked"
			var hold int64
			if early {
				hold = 1
			}
			w, client := watched(t, tiered.Options{}, hold)
			c := newCache[string](t, client, "c", tiered.CacheOptions{LocalTTL: 1})
			check(t, c.Set(t.Context(), "found", "far"))
			b := newBlocked(t, "loaded")
			type values = map[string]string
			batch := async(func() (values, error) {
				return c.GetOrSetMany(w.mark(t.Context()), []string{"missing", "found"}, b.many("missing"))
			})
			if early {
				await(t, "the remote tier has answered", w.held)
			} else {
				await(t, "the loader runs", b.running)
			}
			single := async(func() (string, error) { return c.GetOrSet(t.Context(), "found", forbidden[string](t)) })
			if early {
				eventually(t, "the single caller joins, or has its answer", func() bool { return client.Stats().Joined > 0 || len(single) > 0 })
				w.release()
			}
			if r := receive(t, "the found key's caller", single); r.err != nil || r.v != "far" {
				t.Errorf("the found key's caller got %q, %v", r.v, r.err)
			}
			await(t, "the loader runs", b.running)
			select {
			case r := <-batch:
				t.Errorf("the batch is over before its loader: %v, %v", r.v, r.err)
			default:
			}
			b.letGo()
			if r := receive(t, "the batch", batch); r.err != nil || r.v["found"] != "far" || r.v["missing"] != "loaded" {
				t.Errorf("the batch got %v, %v", r.v, r.err)
			}
		})
	}
}

// A caller whose patience ended before the stale value was known gets it as soon as it is.
func TestSoftTimeout_servesAStaleValueThatIsFoundAfterIt(t *testing.T) {
	t.Parallel()
	for name, load := range map[string]func(ctx context.Context, c *tiered.Cache[string], b *blocked[string]) (string, error){
		"single": func(ctx context.Context, c *tiered.Cache[string], b *blocked[string]) (string, error) {
			return c.GetOrSet(ctx, "k", b.load)
		},
		"batch": func(ctx context.Context, c *tiered.Cache[string], b *blocked[string]) (string, error) {
			m, err := c.GetOrSetMany(ctx, []string{"k"}, b.many("k"))
			return m["k"], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client, _, _ := behindProxy(t, tiered.Options{MaxStaleness: time.Hour})
			// Nothing is local, so that the stale value comes from the remote tier.
			c := newCache[string](t, client, "soft", tiered.CacheOptions{LocalTTL: 1, FailSafe: time.Hour, SoftTimeout: time.Millisecond, HardTimeout: time.Hour})
			check(t, c.Set(t.Context(), "k", "old", tiered.TTL(time.Millisecond)))
			eventually(t, "the entry's life is over", func() bool { _, err := c.Get(t.Context(), "k"); return errors.Is(err, tiered.ErrNotFound) })
			b := newBlocked(t, "new")
			p.Delay(100 * time.Millisecond)
			call := async(func() (string, error) { return load(t.Context(), c, b) })
			if r := receive(t, "the caller, while the loader runs", call); r.err != nil || r.v != "old" {
				t.Errorf("got %q, %v, want the stale value", r.v, r.err)
			}
			p.Delay(0)
			b.letGo()
			eventually(t, "the load that went on fills the remote tier", func() bool { v, err := c.Get(t.Context(), "k"); return err == nil && v == "new" })
		})
	}
}

func TestSoftTimeout_servesTheStaleValuesOfABatch(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour, SoftTimeout: time.Second, HardTimeout: time.Hour}
	bubble(t, o, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		keys := []string{"k", "l"}
		for _, k := range keys {
			check(t, c.Set(t.Context(), k, "old"))
		}
		time.Sleep(2 * time.Minute)
		b := newBlocked(t, "new")
		began := time.Now()
		m, err := c.GetOrSetMany(t.Context(), keys, b.many("k"))
		if err != nil || m["k"] != "old" || m["l"] != "old" || time.Since(began) != time.Second {
			t.Errorf("%v, %v after %v, want the stale values after a second", m, err, time.Since(began))
		}
		if s := client.Stats(); s.StaleServed != 2 {
			t.Errorf("%d stale values counted, want 2", s.StaleServed)
		}
		b.letGo()
		synctest.Wait()
		wantGet(t, c, "k", "new")
		wantMissing(t, c, "l")
	})
}

// A stale value is served only to callers that asked for such values, whichever of them leads the
// load.
func TestFailSafe_servesOnlyCallersThatAskForIt(t *testing.T) {
	for name, o := range map[string]tiered.CacheOptions{"local copy": {TTL: time.Minute}, "remote copy": {TTL: time.Minute, LocalTTL: 1}} {
		for _, leads := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "/asker leads", false: "/asker joins"}[leads], func(t *testing.T) {
				bubble(t, o, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
					ctx := t.Context()
					check(t, c.Set(ctx, "k", "old", tiered.FailSafe(time.Hour)))
					time.Sleep(2 * time.Minute)
					b := newBlocked(t, "")
					b.err = errBoom
					call := func(asks bool, load func(context.Context) (string, error)) <-chan result[string] {
						defer synctest.Wait()
						return async(func() (string, error) {
							if asks {
								return c.GetOrSet(ctx, "k", load, tiered.FailSafe(time.Hour))
							}
							return c.GetOrSet(ctx, "k", load)
						})
					}
					leader := call(leads, b.load)
					await(t, "the leader's loader runs", b.running)
					joiner := call(!leads, forbidden[string](t))
					if s := client.Stats(); s.Joined != 1 {
						t.Fatalf("%d joined, want 1", s.Joined)
					}
					b.letGo()
					asker, other := leader, joiner
					if !leads {
						asker, other = joiner, leader
					}
					if r := receive(t, "who asks for stale values", asker); r.err != nil || r.v != "old" {
						t.Errorf("who asks for stale values got %q, %v", r.v, r.err)
					}
					r := receive(t, "who does not", other)
					var failed *tiered.LoadError
					if !errors.As(r.err, &failed) || !errors.Is(r.err, errBoom) || r.v != "" {
						t.Errorf("who does not got %q, %v, want a LoadError", r.v, r.err)
					}
					if s := client.Stats(); s.StaleServed != 1 {
						t.Errorf("%d stale values counted, want 1", s.StaleServed)
					}
				})
			})
		}
	}
}

// unheard is a dialer of connections that it can cut once they subscribe, and none of which can subscribe from then on.
type unheard struct {
	mu   sync.Mutex
	cut  bool
	subs []net.Conn
}

type unheardConn struct {
	net.Conn
	of *unheard
}

func (u *unheard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &unheardConn{c, u}, nil
}

func (u *unheard) lose() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = true
	for _, c := range u.subs {
		_ = c.Close()
	}
}

func (c *unheardConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("subscribe")) {
		c.of.mu.Lock()
		cut := c.of.cut
		c.of.subs = append(c.of.subs, c.Conn)
		c.of.mu.Unlock()
		if cut {
			_ = c.Conn.Close()
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

// While nothing is heard of changes, no caller joins a load that is older than MaxStaleness: the
// value that it loads may have been changed since.
func TestMaxStaleness_boundsTheAgeOfAJoinedLoad(t *testing.T) {
	t.Parallel()
	const bound = 100 * time.Millisecond
	ns := namespace(t)
	var u unheard
	deaf := coherent(t, shared.Client(t, func(o *redis.Options) { o.Dialer = u.dial }), tiered.Options{
		Namespace: ns, MaxStaleness: bound, WhenIncoherent: tiered.Bypass, RetryBackoff: 20 * time.Millisecond,
	})
	writer := newCache[string](t, coherent(t, shared.Client(t), tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
	c := newCache[string](t, deaf, "c", tiered.CacheOptions{HardTimeout: time.Hour})
	u.lose()
	eventually(t, "the loss is noticed", func() bool { s := deaf.Stats(); return s.Losses > 0 && !s.Coherent })

	for name, load := range map[string]func(b *blocked[string], key string) (string, error){
		"single": func(b *blocked[string], key string) (string, error) { return c.GetOrSet(t.Context(), key, b.load) },
		"batch": func(b *blocked[string], key string) (string, error) {
			m, err := c.GetOrSetMany(t.Context(), []string{key}, b.many(key))
			return m[key], err
		},
	} {
		b := newBlocked(t, "old")
		old := async(func() (string, error) { return load(b, name) })
		await(t, "the load runs", b.running)
		began := time.Now()
		_, err := writer.Delete(t.Context(), name)
		check(t, err)
		eventually(t, "the load is older than MaxStaleness", func() bool { return time.Since(began) > bound })
		late := async(func() (string, error) { return c.GetOrSet(t.Context(), name, constant("new")) })
		if r := receive(t, name+": who comes later does not wait for that load", late); r.err != nil || r.v != "new" {
			t.Errorf("%s: who comes later got %q, %v", name, r.v, r.err)
		}
		b.letGo()
		if r := receive(t, "the load's own caller", old); r.err != nil || r.v != "old" {
			t.Errorf("%s: the load's own caller got %q, %v", name, r.v, r.err)
		}
	}
	if s := deaf.Stats(); s.Coherent || s.Joined != 0 {
		t.Errorf("coherent: %t, %d joined: want neither", s.Coherent, s.Joined)
	}
}

// refreshable is in the middle of the span in which a copy is refreshed, with plenty left.
const refreshable = 8*time.Minute + time.Second

var refreshing = tiered.CacheOptions{TTL: 10 * time.Minute, RefreshAhead: 4 * time.Minute}

// A source in trouble is not asked again at each hit.
func TestRefreshAhead_isNotRepeatedAtEachHitWhenItFails(t *testing.T) {
	bubble(t, refreshing, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "v"))
		time.Sleep(refreshable)
		var calls atomic.Int64
		for round := int64(1); round <= 3; round++ {
			for range 1000 {
				got, err := c.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { calls.Add(1); return "", errBoom })
				if err != nil || got != "v" {
					t.Fatalf("got %q, %v", got, err)
				}
				synctest.Wait() // a refresh has failed, if there was one
			}
			if n := calls.Load(); n != round {
				t.Fatalf("%d loader calls after %d rounds of 1000 hits each", n, round)
			}
			time.Sleep(10*time.Second + time.Millisecond) // no pause is longer
		}
		if s := client.Stats(); s.Refreshes != 3 || s.LoadErrors != 3 {
			t.Errorf("%d refreshes, %d load errors, want 3 and 3", s.Refreshes, s.LoadErrors)
		}
		_, err := c.GetOrSet(t.Context(), "k", constant("refreshed"))
		check(t, err)
		synctest.Wait()
		wantGet(t, c, "k", "refreshed")
	})
}

func TestRefreshAhead_refreshesForGetOrSetMany(t *testing.T) {
	bubble(t, refreshing, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(refreshable)
		b := newBlocked(t, "new")
		m, err := c.GetOrSetMany(t.Context(), []string{"k"}, b.many("k"))
		if err != nil || m["k"] != "old" {
			t.Errorf("got %v, %v", m, err)
		}
		await(t, "the refresh runs", b.running)
		b.letGo()
		synctest.Wait()
		wantGet(t, c, "k", "new")
		if s := client.Stats(); b.calls.Load() != 1 || s.Refreshes != 1 {
			t.Errorf("%d loader calls, %d refreshes, want 1 and 1", b.calls.Load(), s.Refreshes)
		}
	})
}
