package tieredtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(m)
}

// quiet keeps go-redis's account of the outages out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func newCache(t *testing.T, c *tiered.Client) *tiered.Cache[string] {
	t.Helper()
	cache, err := tiered.NewCache[string](c, "greetings", tiered.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestRedis_clockOfABubbleEndsEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		cache := newCache(t, tieredtest.New(t, tiered.Options{}))
		if err := cache.Set(ctx, "en", "hello", tiered.TTL(time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if got, err := cache.Get(ctx, "en"); err != nil || got != "hello" {
			t.Fatalf("a second before its end: Get = %q, %v", got, err)
		}
		time.Sleep(2 * time.Second)
		if got, err := cache.Get(ctx, "en"); !errors.Is(err, tiered.ErrNotFound) {
			t.Fatalf("a second after its end: Get = %q, %v", got, err)
		}
	})
}

func TestRedis_isSharedByInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r := tieredtest.NewRedis(t)
		one, two := newCache(t, r.Instance(t, tiered.Options{})), newCache(t, r.Instance(t, tiered.Options{}))
		if err := one.Set(ctx, "en", "hello"); err != nil {
			t.Fatal(err)
		}
		if got, err := two.Get(ctx, "en"); err != nil || got != "hello" {
			t.Fatalf("the other instance: Get = %q, %v", got, err)
		}
		if err := one.Set(ctx, "en", "good morning"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the invalidation has arrived
		if got, err := two.Get(ctx, "en"); err != nil || got != "good morning" {
			t.Fatalf("the other instance after the change: Get = %q, %v", got, err)
		}
	})
}

func TestOutage_lastsFromDownToUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{})
		cache := newCache(t, client)
		r.Down()
		if _, err := cache.Get(ctx, "en"); !errors.Is(err, tiered.ErrRemoteUnavailable) {
			t.Fatalf("while Redis is down: Get = %v", err)
		}
		if err := cache.Set(ctx, "en", "hello"); !errors.Is(err, tiered.ErrRemoteUnavailable) || errors.Is(err, tiered.ErrUnknownOutcome) {
			t.Fatalf("while Redis is down: Set = %v", err)
		}
		got, err := cache.GetOrSet(ctx, "en", func(context.Context) (string, error) { return "hello", nil })
		if err != nil || got != "hello" {
			t.Fatalf("while Redis is down: GetOrSet = %q, %v", got, err)
		}
		r.Up()
		time.Sleep(time.Minute) // the breaker and the subscription have tried again
		if err := client.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if err := cache.Set(ctx, "en", "hello again"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRedis_worksWithoutABubble(t *testing.T) {
	cache := newCache(t, tieredtest.New(t, tiered.Options{}))
	if err := cache.Set(t.Context(), "en", "hello"); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.Get(t.Context(), "en"); err != nil || got != "hello" {
		t.Fatalf("Get = %q, %v", got, err)
	}
}
