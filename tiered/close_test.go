package tiered_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// everyCall calls every method of a cache, and says what each reported. A method that is missing here fails
// TestClose_isTestedWithEveryMethod.
func everyCall(ctx context.Context, c *tiered.Cache[int64]) map[string]error {
	out := perKey(ctx, c, "k")
	_, out["Clear"] = c.Clear(ctx, "")
	_, out["Count"] = c.Count(ctx, "")
	out["InvalidateTags"] = c.InvalidateTags(ctx, "tag")
	_, out["After"] = c.After(tiered.Token{}).Get(ctx, "k")
	return out
}

func TestClose_isTestedWithEveryMethod(t *testing.T) {
	t.Parallel()
	_, c := one[int64](t, tiered.CacheOptions{})
	calls := everyCall(t.Context(), c)
	methods := reflect.TypeOf(c)
	for m := range methods.Methods() {
		if _, ok := calls[m.Name]; !ok && m.Name != "Name" {
			t.Errorf("everyCall does not call %s", m.Name)
		}
	}
	for name, err := range calls {
		// perKey runs in the order of the literal, so the entry may or may not be there for TTL.
		if err != nil && !errors.Is(err, tiered.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func wantClosed(t *testing.T, client *tiered.Client, c *tiered.Cache[int64]) {
	t.Helper()
	for name, err := range everyCall(t.Context(), c) {
		if !errors.Is(err, tiered.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	wantErr(t, client.Ready(t.Context()), tiered.ErrClosed)
	_, err := tiered.NewCache[int64](client, "another", tiered.CacheOptions{})
	wantErr(t, err, tiered.ErrClosed)
	_ = client.Stats()
}

func TestClose_endsEveryMethodAndLeavesTheUsersClientOpen(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	client := coherent(t, rdb, tiered.Options{})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", 1))
	wantGet(t, c, "k", 1)
	closeClient(t, client)
	wantClosed(t, client, c)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := client.Close(ended); err != nil {
			t.Fatalf("Close of what is closed, with a context that has ended: %v", err)
		}
	}
	check(t, rdb.Ping(t.Context()).Err())
}

func TestClose_mayBeCalledSeveralTimesAtOnce(t *testing.T) {
	t.Parallel()
	client := newClient(t, shared.Client(t), tiered.Options{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { closeClient(t, client) })
	}
	wg.Wait()
}

func TestClose_besideTenThousandCalls(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{RefreshAhead: time.Hour})
	start, half := make(chan struct{}), make(chan struct{})
	var wg, begun sync.WaitGroup
	const goroutines, before = 10_000, 500
	begun.Add(before)
	for i := range goroutines {
		wg.Go(func() {
			<-start
			if i < before {
				begun.Done()
			}
			ctx := context.Background()
			k := numbered(10)[i%10]
			var err error
			switch i % 9 {
			case 0:
				_, err = c.Get(ctx, k)
			case 1:
				_, err = c.GetOrSet(ctx, k, constant(int64(i)))
			case 2:
				err = c.Set(ctx, k, int64(i))
			case 3:
				_, err = c.GetOrSetMany(ctx, numbered(10), func(_ context.Context, keys []string) (map[string]int64, error) { return nil, nil })
			case 4:
				_, err = c.Increment(ctx, "n", 1)
			case 5:
				_, err = c.SetMany(ctx, []tiered.Item[int64]{{Key: k, Value: 1}})
			case 6:
				_, err = c.Delete(ctx, k)
			case 7:
				err = c.InvalidateTags(ctx, "tag")
			default:
				if _, e := tiered.NewCache[int64](client, k, tiered.CacheOptions{}); e != nil {
					err = e
				}
				_ = client.Stats()
			}
			if err != nil && !errors.Is(err, tiered.ErrClosed) && !errors.Is(err, tiered.ErrNotFound) && !errors.Is(err, tiered.ErrRemoteUnavailable) {
				t.Errorf("call %d: %v", i%9, err)
			}
		})
	}
	go func() { begun.Wait(); close(half) }()
	close(start)
	await(t, "the first calls begin", half)
	closeClient(t, client)
	wg.Wait()
	wantClosed(t, client, c)
}

func TestClose_cancelsLoads(t *testing.T) {
	t.Parallel()
	client, c := one[int64](t, tiered.CacheOptions{})
	b := newBlocked(t, int64(1))
	single := async(func() (int64, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the load runs", b.running)
	m := newBlocked(t, map[string]int64{})
	many := async(func() (map[string]int64, error) {
		return c.GetOrSetMany(t.Context(), []string{"m"}, func(ctx context.Context, _ []string) (map[string]int64, error) { return m.load(ctx) })
	})
	await(t, "the batch load runs", m.running)
	closeClient(t, client)
	await(t, "the loader hears of it", b.ended)
	await(t, "the batch loader hears of it", m.ended)
	wantErr(t, receive(t, "the caller", single).err, tiered.ErrClosed)
	wantErr(t, receive(t, "the batch's caller", many).err, tiered.ErrClosed)
	wantClosed(t, client, c)
}

func TestClose_waitsForADeafLoaderUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	client, c := one[int64](t, tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "near", 1))
	wantGet(t, c, "near", 1)
	b := newBlocked(t, int64(1))
	b.deaf = true
	call := async(func() (int64, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the load runs", b.running)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, client.Close(ended), context.Canceled)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantErr(t, client.Close(short), context.DeadlineExceeded)
	wantErr(t, receive(t, "the caller does not wait for the loader", call).err, tiered.ErrClosed)
	// Not even what is local is served any more, though closing is not over.
	_, err := c.Get(t.Context(), "near")
	wantErr(t, err, tiered.ErrClosed)
	b.letGo()
	closeClient(t, client)
	wantClosed(t, client, c)
}

func TestClose_mayBeCalledByALoader(t *testing.T) {
	t.Parallel()
	client, c := one[int64](t, tiered.CacheOptions{})
	_, err := c.GetOrSet(t.Context(), "k", func(ctx context.Context) (int64, error) { return 0, client.Close(ctx) })
	wantErr(t, err, tiered.ErrClosed)
}

func TestClose_doesNotNeedRedis(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, shared.Addr)
	client := coherent(t, shared.Client(t, func(o *redis.Options) { o.Addr = p.Addr(); o.ReadTimeout = 200 * time.Millisecond }), tiered.Options{RemoteTimeout: 50 * time.Millisecond})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	p.BlackHole(true)
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	closeClient(t, client)
	p.BlackHole(false)
}

func TestClose_closesTheRedisClientThatOpenMade(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, shared.Addr)
	cfg := configured(t)
	_, port, _ := strings.Cut(p.Addr(), ":")
	var err error
	cfg.RedisPort, err = strconv.Atoi(port)
	check(t, err)
	client, err := tiered.Open(cfg)
	check(t, err)
	ready(t, client)
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", 1))
	closeClient(t, client)
	wantClosed(t, client, c)
	eventually(t, "its connections are closed", func() bool { return p.Connections() == 0 })
}
