package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// sent counts the commands that clients send, each one of a pipeline, but not what scripts call.
type sent struct{ n atomic.Int64 }

func (s *sent) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *sent) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.n.Add(1)
		return next(ctx, cmd)
	}
}

func (s *sent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// counted gives the same cache on n instances, all of whose commands are counted. Echoes are so rare that there are none.
func counted(t *testing.T, n int, o tiered.CacheOptions) (*sent, []*tiered.Client, []*tiered.Cache[string]) {
	t.Helper()
	s, ns := new(sent), namespace(t)
	clients, caches := make([]*tiered.Client, n), make([]*tiered.Cache[string], n)
	for i := range n {
		rdb := shared.Client(t)
		rdb.AddHook(s)
		clients[i] = coherent(t, rdb, tiered.Options{Namespace: ns, MaxStaleness: time.Hour})
		caches[i] = newCache[string](t, clients[i], "c", o)
	}
	s.n.Store(0)
	return s, clients, caches
}

func wantNobodyWaiting(t *testing.T, clients ...*tiered.Client) {
	t.Helper()
	for i, c := range clients {
		if n := c.Waiting(); n != 0 {
			t.Errorf("instance %d: %d flights wait still", i, n)
		}
	}
}

func TestGetOrSet_loadsAColdKeyOncePerFleet(t *testing.T) {
	t.Parallel()
	const instances, callers, mostCommands = 4, 1000, 50
	const loadTime = 300 * time.Millisecond
	commands, clients, caches := counted(t, instances, tiered.CacheOptions{})
	var loads atomic.Int64
	var loaded, last atomic.Int64 // in ns since began
	began := time.Now()
	load := func(context.Context) (string, error) {
		loads.Add(1)
		<-time.After(loadTime)
		loaded.Store(int64(time.Since(began)))
		return "v", nil
	}
	var wg sync.WaitGroup
	for _, c := range caches {
		for range callers {
			wg.Go(func() {
				if got, err := c.GetOrSet(t.Context(), "k", load); err != nil || got != "v" {
					t.Errorf("GetOrSet = %q, %v", got, err)
				}
				now := int64(time.Since(began))
				for old := last.Load(); old < now && !last.CompareAndSwap(old, now); old = last.Load() {
				}
			})
		}
	}
	wg.Wait()
	late := time.Duration(last.Load() - loaded.Load())
	t.Logf("%d callers on %d instances: %d loads, %d commands, the last caller was done %v after the load", instances*callers, instances, loads.Load(), commands.n.Load(), late)
	if loads.Load() != 1 {
		t.Errorf("%d loads, want 1", loads.Load())
	}
	if n := commands.n.Load(); n > mostCommands {
		t.Errorf("%d commands, want at most %d", n, mostCommands)
	}
	if late > patience/2 {
		t.Errorf("the last caller was done %v after the load", late)
	}
	wantNobodyWaiting(t, clients...)
}

// Batches and single callers of several instances load each key once, however they overlap.
func TestGetOrSetMany_loadsEachKeyOncePerFleet(t *testing.T) {
	t.Parallel()
	_, clients, caches := counted(t, 4, tiered.CacheOptions{})
	var loads [30]atomic.Int64
	var mu sync.Mutex
	one := func(key string) string {
		mu.Lock()
		defer mu.Unlock()
		var i int
		if _, err := fmt.Sscan(key, &i); err != nil {
			t.Error(err)
		}
		loads[i].Add(1)
		return "v" + key
	}
	many := func(_ context.Context, keys []string) (map[string]string, error) {
		out := make(map[string]string)
		for _, k := range keys {
			out[k] = one(k)
		}
		<-time.After(50 * time.Millisecond)
		return out, nil
	}
	all := numbered(30)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range caches {
		for range 5 {
			wg.Go(func() {
				<-start
				keys := all[5*i : 5*i+15]
				got, err := c.GetOrSetMany(t.Context(), keys, many)
				if err != nil || len(got) != len(keys) {
					t.Errorf("GetOrSetMany = %d of %d, %v", len(got), len(keys), err)
				}
			})
		}
		for _, k := range all {
			wg.Go(func() {
				<-start
				got, err := c.GetOrSet(t.Context(), k, func(context.Context) (string, error) {
					v := one(k)
					<-time.After(50 * time.Millisecond)
					return v, nil
				})
				if err != nil || got != "v"+k {
					t.Errorf("GetOrSet(%s) = %q, %v", k, got, err)
				}
			})
		}
	}
	close(start)
	wg.Wait()
	for i := range loads {
		if n := loads[i].Load(); n != 1 {
			t.Errorf("key %d was loaded %d times", i, n)
		}
	}
	wantNobodyWaiting(t, clients...)
}

// leaseLife is how long a lease outlives its holder.
const leaseLife = 3 * time.Second

// The instance that loads is cut off: another one takes the lease when it ends, and not before.
func TestLease_ofALostHolderIsTakenOver(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	p := redistest.NewProxy(t, shared.Addr)
	lost := coherent(t, shared.Client(t, func(o *redis.Options) { o.Addr = p.Addr() }), tiered.Options{Namespace: ns})
	client := coherent(t, shared.Client(t), tiered.Options{Namespace: ns})
	holder, c := newCache[string](t, lost, "c", tiered.CacheOptions{}), newCache[string](t, client, "c", tiered.CacheOptions{})
	b := newBlocked(t, "lost")
	first := async(func() (string, error) { return holder.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the first load runs", b.running)
	began := time.Now()
	left := shared.Client(t).PTTL(t.Context(), ns+":c:k").Val()
	p.Refuse(true)
	p.CutAll()
	second := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", constant("second")) })
	if r := receive(t, "the one who waits", second); r.err != nil || r.v != "second" {
		t.Fatalf("it got %q, %v", r.v, r.err)
	}
	took := time.Since(began)
	t.Logf("the lease was taken over after %v, it had %v left", took, left)
	if left <= 0 || took < left-time.Millisecond || took > leaseLife+20*time.Second {
		t.Errorf("the lease was taken over after %v; it had %v left, and its life is %v", took, left, leaseLife)
	}
	b.letGo()
	receive(t, "the first caller", first)
	wantGet(t, remoteOnly[string](t, ns, "c"), "k", "second")
	wantNobodyWaiting(t, client, lost)
}

// busy is a fleet in a bubble, the first instance of which loads a key, for which another one waits.
type busy struct {
	r       *tieredtest.Redis
	clients [3]*tiered.Client
	caches  [3]*tiered.Cache[string]
	holder  *blocked[string]
	first   <-chan result[string]
	second  <-chan result[string]
	loads   atomic.Int64 // of the one who waits
}

func whileBusy(t *testing.T, o tiered.CacheOptions, test func(t *testing.T, b *busy)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &busy{r: tieredtest.NewRedis(t)}
		for i := range b.clients {
			b.clients[i] = b.r.Instance(t, rarely)
			b.caches[i] = newCache[string](t, b.clients[i], "c", o)
		}
		b.holder = newBlocked(t, "first")
		b.first = async(func() (string, error) { return b.caches[0].GetOrSet(t.Context(), "k", b.holder.load) })
		await(t, "the first load runs", b.holder.running)
		b.second = async(func() (string, error) {
			return b.caches[1].GetOrSet(t.Context(), "k", func(context.Context) (string, error) { b.loads.Add(1); return "second", nil })
		})
		time.Sleep(10 * time.Second) // by now it looks seldom, and the lease would have ended if it were not renewed
		synctest.Wait()
		if b.loads.Load() != 0 || b.clients[1].Waiting() != 1 {
			t.Fatalf("%d loads beside the one that runs, %d waiting", b.loads.Load(), b.clients[1].Waiting())
		}
		test(t, b)
		synctest.Wait()
		wantNobodyWaiting(t, b.clients[:]...)
	})
}

// atOnce requires that the one who waits gets want, and that no time passes until then: polling would take some.
func (b *busy) atOnce(t *testing.T, want string) {
	t.Helper()
	began := time.Now()
	if r := receive(t, "the one who waits", b.second); r.err != nil || r.v != want {
		t.Errorf("the one who waited got %q, %v, want %q", r.v, r.err, want)
	}
	if took := time.Since(began); took > time.Millisecond {
		t.Errorf("it was not woken, but looked %v later", took)
	}
}

func TestLease_isKeptByASlowLoad(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		b.holder.letGo()
		b.atOnce(t, "first")
		if s := b.clients[0].Stats(); b.loads.Load() != 0 || s.Fills != 1 || s.FillsRefused != 0 {
			t.Errorf("%d more loads, %d fills, %d refused", b.loads.Load(), s.Fills, s.FillsRefused)
		}
		if s := b.clients[1].Stats(); s.LeasesBusy != 1 {
			t.Errorf("%d busy leases counted, want 1", s.LeasesBusy)
		}
	})
}

func TestLease_isGivenBackByALoadThatFails(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		b.holder.err = errors.New("no luck")
		b.holder.letGo()
		b.atOnce(t, "second")
		if b.loads.Load() != 1 {
			t.Errorf("%d loads", b.loads.Load())
		}
		wantGet(t, b.caches[2], "k", "second")
	})
}

func TestLease_isGivenBackByALoadThatFindsNothing(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		b.holder.err = tiered.ErrNotFound // which is not kept here
		b.holder.letGo()
		b.atOnce(t, "second")
	})
}

func TestNegativeTTL_servesTheInstanceThatWaitsForTheLoad(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{NegativeTTL: time.Minute}, func(t *testing.T, b *busy) {
		b.holder.err = tiered.ErrNotFound
		b.holder.letGo()
		if r := receive(t, "the one who waits", b.second); !errors.Is(r.err, tiered.ErrNotFound) || b.loads.Load() != 0 {
			t.Errorf("it got %q, %v, after %d loads of its own", r.v, r.err, b.loads.Load())
		}
	})
}

func TestLease_isGivenBackByACancelledLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		clients := []*tiered.Client{r.Instance(t, rarely), r.Instance(t, rarely)}
		a, b := newCache[string](t, clients[0], "c", tiered.CacheOptions{}), newCache[string](t, clients[1], "c", tiered.CacheOptions{})
		holder := newBlocked(t, "first")
		ctx, cancel := context.WithCancel(t.Context())
		first := async(func() (string, error) { return a.GetOrSet(ctx, "k", holder.load) })
		await(t, "the first load runs", holder.running)
		second := async(func() (string, error) { return b.GetOrSet(t.Context(), "k", constant("second")) })
		time.Sleep(10 * time.Second)
		began := time.Now()
		cancel()
		if r := receive(t, "the one who waits", second); r.err != nil || r.v != "second" || time.Since(began) > time.Millisecond {
			t.Errorf("it got %q, %v after %v", r.v, r.err, time.Since(began))
		}
		receive(t, "the first caller", first)
		synctest.Wait()
		wantNobodyWaiting(t, clients...)
	})
}

// A change of the key ends the wait for a load that began before it.
func TestLease_waitEndsWithAChangeOfTheKey(t *testing.T) {
	for where, writer := range map[string]int{"the holder's instance": 0, "the waiting instance": 1, "another instance": 2} {
		for name, change := range map[string]struct {
			make func(ctx context.Context, c *tiered.Cache[string]) error
			want string
		}{
			"Set":    {func(ctx context.Context, c *tiered.Cache[string]) error { return c.Set(ctx, "k", "set") }, "set"},
			"Delete": {func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Delete(ctx, "k"); return err }, "second"},
			"SetMany": {func(ctx context.Context, c *tiered.Cache[string]) error {
				_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "k", Value: "set"}})
				return err
			}, "set"},
			"SetIfAbsent": {func(ctx context.Context, c *tiered.Cache[string]) error {
				_, err := c.SetIfAbsent(ctx, "k", "set")
				return err
			}, "set"},
		} {
			t.Run(name+" on "+where, func(t *testing.T) {
				whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
					check(t, change.make(t.Context(), b.caches[writer]))
					b.atOnce(t, change.want)
					b.holder.letGo()
					receive(t, "the first caller", b.first)
					wantGet(t, b.caches[2], "k", change.want)
				})
			})
		}
	}
}

// A caller that waits gives up with its own context, and leaves nothing behind.
func TestLease_waitEndsWithItsCallersContext(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.caches[2].GetOrSet(ctx, "k", forbidden[string](t))
		wantErr(t, err, context.DeadlineExceeded)
		m, err := b.caches[2].GetOrSetMany(ctx, []string{"k"}, forbiddenMany[string](t))
		if len(m) != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("GetOrSetMany = %v, %v", m, err)
		}
		b.holder.letGo()
		b.atOnce(t, "first")
	})
}

// A caller waits as long as a load may take; then it loads without the right to fill.
func TestHardTimeout_endsTheWaitForALease(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		began := time.Now()
		got, err := b.caches[2].GetOrSet(t.Context(), "k", constant("third"), tiered.HardTimeout(2*time.Second))
		if err != nil || got != "third" {
			t.Errorf("GetOrSet = %q, %v", got, err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it loaded after %v", took)
		}
		if s := b.clients[2].Stats(); s.FillsSkipped != 1 || s.Fills != 0 {
			t.Errorf("%d fills skipped, %d done", s.FillsSkipped, s.Fills)
		}
		b.holder.letGo()
		b.atOnce(t, "first")
	})
}

// A client that closes while it waits is not held up.
func TestClose_endsTheWaitForALease(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		began := time.Now()
		closeClient(t, b.clients[1])
		if r := receive(t, "the one who waits", b.second); !errors.Is(r.err, tiered.ErrClosed) {
			t.Errorf("it got %q, %v, want ErrClosed", r.v, r.err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		b.holder.letGo()
		receive(t, "the first caller", b.first)
	})
}

// An instance that is closed gives its leases back.
func TestClose_givesLeasesBack(t *testing.T) {
	whileBusy(t, tiered.CacheOptions{}, func(t *testing.T, b *busy) {
		closeClient(t, b.clients[0])
		b.atOnce(t, "second")
	})
}

// A stale value that is held locally is served while another instance loads: callers that take
// such values do not wait.
func TestFailSafe_servesWhileAnotherInstanceLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
		r := tieredtest.NewRedis(t)
		clients := []*tiered.Client{r.Instance(t, rarely), r.Instance(t, rarely)}
		a, b := newCache[string](t, clients[0], "c", o), newCache[string](t, clients[1], "c", o)
		check(t, b.Set(t.Context(), "k", "old"))
		wantGet(t, b, "k", "old")
		time.Sleep(2 * time.Minute)
		r.Server.Del("doppio:c:k") // a stale remote copy would be replaced without a lease
		holder := newBlocked(t, "new")
		first := async(func() (string, error) { return a.GetOrSet(t.Context(), "k", holder.load) })
		await(t, "the load runs", holder.running)
		began := time.Now()
		got, err := b.GetOrSet(t.Context(), "k", forbidden[string](t))
		if err != nil || got != "old" || time.Since(began) > time.Millisecond {
			t.Errorf("GetOrSet = %q, %v after %v", got, err, time.Since(began))
		}
		m, err := b.GetOrSetMany(t.Context(), []string{"k"}, forbiddenMany[string](t))
		if err != nil || m["k"] != "old" || time.Since(began) > time.Millisecond {
			t.Errorf("GetOrSetMany = %v, %v after %v", m, err, time.Since(began))
		}
		holder.letGo()
		receive(t, "the first caller", first)
		synctest.Wait()
		wantNobodyWaiting(t, clients...)
		wantGet(t, b, "k", "new")
	})
}
