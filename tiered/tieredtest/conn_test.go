package tieredtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// inAndOut runs a test in a bubble of testing/synctest and without one.
func inAndOut(t *testing.T, run func(t *testing.T)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, run) })
	t.Run("real time", run)
}

// eager tries again soon, as real time has to pass.
var eager = tiered.Options{BreakerPause: 10 * time.Millisecond, RetryBackoff: 10 * time.Millisecond}

const many = 1000

func manyItems(value string) (keys []string, items []tiered.Item[string], values map[string]string) {
	values = make(map[string]string)
	for i := range many {
		key := fmt.Sprintf("k%d", i)
		keys, items, values[key] = append(keys, key), append(items, tiered.Item[string]{Key: key, Value: value}), value
	}
	return keys, items, values
}

// A pipeline is answered while it is still being written.
func TestRedis_answersBatchesOfAThousand(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		ctx := t.Context()
		r := tieredtest.NewRedis(t)
		o := tiered.Options{MaxStaleness: time.Minute} // a busy machine is no silence
		one, two := newCache(t, r.Instance(t, o)), newCache(t, r.Instance(t, o))
		keys, items, values := manyItems("hello")
		if n, err := one.SetMany(ctx, items); n != many || err != nil {
			t.Fatalf("SetMany = %d, %v", n, err)
		}
		for _, c := range []*tiered.Cache[string]{two, one} {
			if got, err := c.GetMany(ctx, keys); err != nil || !maps.Equal(got, values) {
				t.Fatalf("GetMany = %d values, %v", len(got), err)
			}
		}
		if n, err := one.DeleteMany(ctx, keys); n != many || err != nil {
			t.Fatalf("DeleteMany = %d, %v", n, err)
		}
		// Fewer: a lease lives 3 s, in which a busy machine interprets the scripts of some hundred.
		const some = many / 10
		load := func(_ context.Context, missing []string) (map[string]string, error) {
			if len(missing) != some {
				t.Errorf("asked to load %d", len(missing))
			}
			return values, nil
		}
		if got, err := one.GetOrSetMany(ctx, keys[:some], load); err != nil || len(got) != some {
			t.Fatalf("GetOrSetMany = %d values, %v", len(got), err)
		}
		if n, err := two.Count(ctx, ""); n != some || err != nil {
			t.Fatalf("Count = %d, %v", n, err)
		}
	})
}

// The first call after an outage is not given a connection of before.
func TestOutage_firstCallsAfterItWork(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, eager)
		cache := newCache(t, client)
		for i := range 3 {
			outage(t, r, client, cache)
			if i%2 == 0 { // the first call is a read, or a write
				getsBack(t, cache)
			}
			setsAgain(t, cache, fmt.Sprintf("hello %d", i))
			getsBack(t, cache)
		}
	})
}

// outage fills the pool with connections, breaks them, and waits until the client has found Redis again, without a call
// of its own.
func outage(t *testing.T, r *tieredtest.Redis, client *tiered.Client, cache *tiered.Cache[string]) {
	t.Helper()
	if err := cache.Set(t.Context(), "before", "hello"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := cache.Get(t.Context(), fmt.Sprintf("nothing %d", i)); !errors.Is(err, tiered.ErrNotFound) {
				t.Errorf("before the outage: Get = %v", err)
			}
		})
	}
	wg.Wait()
	losses := client.Stats().Losses
	r.Down()
	eventually(t, func() bool { return client.Stats().Losses > losses })
	r.Up()
	// Nothing but the subscription has noticed.
	time.Sleep(eager.BreakerPause + time.Millisecond)
}

func getsBack(t *testing.T, cache *tiered.Cache[string]) {
	t.Helper()
	if got, err := cache.Get(t.Context(), "before"); err != nil || got != "hello" {
		t.Fatalf("after the outage: Get = %q, %v", got, err)
	}
}

func setsAgain(t *testing.T, cache *tiered.Cache[string], value string) {
	t.Helper()
	if err := cache.Set(t.Context(), "after", value); err != nil {
		t.Fatalf("after the outage: Set = %v", err)
	}
	if got, err := cache.Get(t.Context(), "after"); err != nil || got != value {
		t.Fatalf("after the outage: Get = %q, %v", got, err)
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for range 10_000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not become true")
}

// In a bubble, an instance has noticed the loss when synctest.Wait returns: it serves nothing local, and says that Redis
// cannot be asked.
func TestOutage_isNoticedWhenWaitReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{})
		cache := newCache(t, client)
		for range 2 {
			if err := cache.Set(ctx, "before", "hello"); err != nil {
				t.Fatal(err)
			}
			r.Down()
			synctest.Wait()
			if got, err := cache.Get(ctx, "before"); !errors.Is(err, tiered.ErrRemoteUnavailable) {
				t.Fatalf("while Redis is down: Get = %q, %v", got, err)
			}
			r.Up()
			time.Sleep(time.Minute)
			synctest.Wait()
			getsBack(t, cache)
			if !client.Stats().Coherent {
				t.Fatal("the client did not become coherent")
			}
		}
	})
}

// An open breaker fails calls at once, and lets one try after its pause.
func TestBreaker_opensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{BreakerFailures: 3, BreakerPause: time.Second})
		cache := newCache(t, client)
		setsAgain(t, cache, "hello")
		r.Down()
		for range 5 {
			if err := cache.Set(t.Context(), "after", "hello"); !errors.Is(err, tiered.ErrRemoteUnavailable) {
				t.Fatalf("while Redis is down: Set = %v", err)
			}
		}
		if !client.Stats().BreakerOpen {
			t.Fatal("the breaker is closed")
		}
		r.Up()
		time.Sleep(time.Second + time.Millisecond)
		setsAgain(t, cache, "hello again")
	})
}

// A pool that was refused very often works again at the latest a second later, and the bubble can end while Redis is down.
func TestOutage_mayBeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{})
		cache := newCache(t, client)
		for _, length := range []time.Duration{time.Hour, 12 * time.Hour} {
			r.Down()
			time.Sleep(length)
			r.Up()
			time.Sleep(time.Minute)
			setsAgain(t, cache, length.String())
		}
		r.Down()
		time.Sleep(12 * time.Hour)
	})
}

// Calls that are under way when Redis goes and comes end, and everything works afterwards.
func TestOutage_besideConcurrentCalls(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		ctx := t.Context()
		r := tieredtest.NewRedis(t)
		o := eager
		o.RemoteTimeout = 5 * time.Second // for so long a change in doubt is pending: by default it is a minute
		one, two := r.Instance(t, o), r.Instance(t, o)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i, cache := range []*tiered.Cache[string]{newCache(t, one), newCache(t, two)} {
			for j := range 4 {
				wg.Go(func() {
					keys, items, _ := manyItems(fmt.Sprintf("hello %d %d", i, j))
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						var err error
						switch from := n * 10 % many; n % 4 {
						case 0:
							_, err = cache.SetMany(ctx, items[from:from+10])
						case 1:
							_, err = cache.GetMany(ctx, keys[from:from+10])
						case 2:
							_, err = cache.DeleteMany(ctx, keys[from:from+10])
						case 3:
							err = cache.Set(ctx, keys[from], "hello", tiered.Tags("t"))
						}
						if err != nil && !errors.Is(err, tiered.ErrRemoteUnavailable) {
							t.Errorf("call %d: %v", n, err)
							return
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
		}
		for range 4 {
			time.Sleep(20 * time.Millisecond)
			r.Down()
			time.Sleep(5 * time.Millisecond)
			r.Up()
		}
		close(stop)
		wg.Wait()
		time.Sleep(20 * time.Millisecond) // the breakers' pause
		for _, client := range []*tiered.Client{one, two} {
			if err := client.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			for client.Stats().Pending > 0 {
				time.Sleep(time.Millisecond) // poll: what could not be invalidated is tried again, and a breaker lets through one call at first
			}
			setsAgain(t, newCache(t, client), "hello")
		}
	})
}

// A plain client that its owner did not close holds no other up, in a bubble either.
func TestRedis_plainClientMayStayOpen(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		ctx := t.Context()
		rdb := tieredtest.NewRedis(t).Client()
		pipe := rdb.Pipeline()
		for i := range many {
			pipe.Set(ctx, fmt.Sprintf("k%d", i), slices.Repeat([]byte("x"), 1000), 0)
		}
		if cmds, err := pipe.Exec(ctx); len(cmds) != many || err != nil {
			t.Fatalf("%d commands, %v", len(cmds), err)
		}
		if n, err := rdb.DBSize(ctx).Result(); n != many || err != nil {
			t.Fatalf("DBSize = %d, %v", n, err)
		}
		impatient, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := rdb.BLPop(impatient, 0, "nothing").Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Fatalf("a read without an answer did not end by its deadline: %v", err)
		}
	})
}
