package tiered_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// undelivered are changes of k, which has a tag, that invalidate it when they could not be made.
var undelivered = map[string]func(ctx context.Context, c *tiered.Cache[int64]) error{
	"Set": func(ctx context.Context, c *tiered.Cache[int64]) error { return c.Set(ctx, "k", 2) },
	"SetMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: "k", Value: 2}})
		return err
	},
	"Delete": func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Delete(ctx, "k"); return err },
	"DeleteMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.DeleteMany(ctx, []string{"k"})
		return err
	},
	"InvalidateTags": func(ctx context.Context, c *tiered.Cache[int64]) error { return c.InvalidateTags(ctx, "tag") },
	"Clear":          func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Clear(ctx, ""); return err },
}

// pair gives one instance behind a proxy and one that is not, both of which have a local copy of k.
func pair(t *testing.T, o tiered.Options) (p *redistest.Proxy, behind, other *tiered.Client, a, b *tiered.Cache[int64]) {
	t.Helper()
	p = redistest.NewProxy(t, shared.Addr)
	o.Namespace, o.RetryBackoff, o.BreakerPause = namespace(t), 20*time.Millisecond, 20*time.Millisecond
	behind = coherent(t, shared.Client(t, func(r *redis.Options) { r.Addr = p.Addr() }), o)
	other = coherent(t, shared.Client(t), tiered.Options{Namespace: o.Namespace, Lanes: o.Lanes})
	a, b = newCache[int64](t, behind, "c", tiered.CacheOptions{}), newCache[int64](t, other, "c", tiered.CacheOptions{})
	check(t, a.Set(t.Context(), "k", 1, tiered.Tags("tag")))
	check(t, a.Set(t.Context(), "bystander", 1))
	eventually(t, "the values are local", func() bool {
		hits := other.Stats().LocalHits
		wantGet(t, b, "k", 1)
		wantGet(t, b, "bystander", 1)
		return other.Stats().LocalHits == hits+2
	})
	wantGet(t, a, "k", 1)
	return p, behind, other, a, b
}

// A change that could not be made is made up for when Redis is back, without any call; until then
// its own instance does not read the entry that it wanted to be gone.
func TestPending_isDeliveredWhenRedisIsBack(t *testing.T) {
	t.Parallel()
	for name, change := range undelivered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, behind, other, a, b := pair(t, tiered.Options{Lanes: 2})
			ctx := t.Context()
			p.Refuse(true)
			p.CutAll()
			eventually(t, "connections that broke under a command are gone", func() bool {
				_, err := a.TTL(ctx, "nothing")
				return errors.Is(err, tiered.ErrRemoteUnavailable)
			})
			wantErr(t, change(ctx, a), tiered.ErrRemoteUnavailable)
			if s := behind.Stats(); s.Pending == 0 || s.PendingAge <= 0 {
				t.Errorf("%d pending, the oldest for %v", s.Pending, s.PendingAge)
			}
			_, err := a.Get(ctx, "k")
			wantErr(t, err, tiered.ErrRemoteUnavailable)
			for want := range int64(3) {
				if got, err := a.GetOrSet(ctx, "k", constant(10+want), tiered.Tags("tag")); name != "InvalidateTags" && (err != nil || got != 10+want) {
					t.Errorf("GetOrSet = %d, %v: want a load, nothing is kept", got, err)
				}
			}
			wantGet(t, b, "k", 1) // others know nothing of it
			losses := other.Stats().Losses
			p.Refuse(false)
			eventually(t, "the other instance's local copy goes", func() bool {
				_, err := b.Get(ctx, "k")
				return errors.Is(err, tiered.ErrNotFound)
			})
			eventually(t, "nothing is pending", func() bool { s := behind.Stats(); return s.Pending == 0 && s.PendingAge == 0 })
			if s := behind.Stats(); s.PendingDelivered == 0 || s.PendingOverflows != 0 {
				t.Errorf("%d delivered, %d overflows", s.PendingDelivered, s.PendingOverflows)
			}
			wantMissing(t, a, "k")
			if name != "Clear" {
				wantGet(t, b, "bystander", 1)
			}
			if got := other.Stats().Losses; got != losses {
				t.Errorf("the other instance lost its subscription %d times", got-losses)
			}
			check(t, a.Set(ctx, "k", 5))
			wantGet(t, a, "k", 5)
		})
	}
}

// Redis that answers but takes no writes still has the entry that this instance wanted to be gone:
// no method reads it.
func TestPending_keyIsReadByNoMethod(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Delete", "InvalidateTags", "Clear", "Set"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			o := tiered.Options{Namespace: namespace(t), MaxStaleness: 200 * time.Millisecond, RetryBackoff: 20 * time.Millisecond}
			client, other := coherent(t, server.Client(t), o), coherent(t, server.Client(t), o)
			c, b := newCache[int64](t, client, "c", tiered.CacheOptions{}), newCache[int64](t, other, "c", tiered.CacheOptions{})
			ctx := t.Context()
			check(t, c.Set(ctx, "k", 1, tiered.Tags("tag")))
			wantGet(t, b, "k", 1)
			admin := server.Client(t)
			check(t, admin.ConfigSet(ctx, "min-replicas-to-write", "1").Err())
			wantErr(t, undelivered[name](ctx, c), tiered.ErrWriteRefused)
			if client.Stats().Pending == 0 {
				t.Error("nothing is pending")
			}
			for _, keys := range [][]string{{"k"}} {
				for what, err := range map[string]error{
					"Get":        errorOf(c.Get(ctx, "k")),
					"GetMany":    errorOf(c.GetMany(ctx, keys)),
					"Exists":     errorOf(c.Exists(ctx, "k")),
					"ExistsMany": errorOf(c.ExistsMany(ctx, keys)),
					"TTL":        errorOf(c.TTL(ctx, "k")),
				} {
					if !errors.Is(err, tiered.ErrWriteRefused) {
						t.Errorf("%s: %v, want what keeps the invalidation from being delivered", what, err)
					}
				}
			}
			if got, err := c.GetOrSet(ctx, "k", constant(int64(7)), tiered.Tags("tag")); err != nil || got != 7 {
				t.Errorf("GetOrSet = %d, %v, want a load", got, err)
			}
			if got, err := c.GetOrSet(ctx, "k", constant(int64(7)), tiered.LocalTTL(1)); err != nil || got != 7 {
				t.Errorf("GetOrSet without the tag = %d, %v, want a load", got, err)
			}
			if m, err := c.GetOrSetMany(ctx, []string{"k"}, func(context.Context, []string) (map[string]int64, error) { return map[string]int64{"k": 8}, nil }, tiered.Tags("tag")); err != nil || m["k"] == 1 {
				t.Errorf("GetOrSetMany = %v, %v, want a load", m, err)
			}
			wantGet(t, b, "k", 1)
			check(t, admin.ConfigSet(ctx, "min-replicas-to-write", "0").Err())
			eventually(t, "it is delivered", func() bool { return client.Stats().Pending == 0 })
			wantMissing(t, c, "k")
			eventually(t, "the other instance hears of it", func() bool { return errors.Is(errorOf(b.Get(ctx, "k")), tiered.ErrNotFound) })
		})
	}
}

func errorOf[V any](_ V, err error) error { return err }

// Changes that were given up may happen yet. The entries that they leave do not stay when a later
// change of this instance was acknowledged.
func TestPending_lateChangeDoesNotOutlastALaterOne(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"held", "reply lost"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, client, c, raw := behindProxy(t, tiered.Options{RemoteTimeout: 2 * time.Second, RetryBackoff: 20 * time.Millisecond})
			ctx := t.Context()
			check(t, c.Set(ctx, "k", "old"))
			var trap *redistest.Trap
			if how == "held" {
				trap = p.HoldNextCommand("overtaken-value")
			} else {
				trap = p.SwallowNextReplyTo("overtaken-value")
			}
			wantErr(t, c.Set(ctx, "k", "overtaken-value"), tiered.ErrUnknownOutcome)
			await(t, "the trap springs", trap.Sprung())
			check(t, c.Set(ctx, "k", "later"))
			trap.Release()
			eventually(t, "nothing is pending", func() bool {
				if got, err := c.Get(ctx, "k"); err == nil && got != "later" {
					t.Fatalf("it reads %q after a later change", got)
				}
				return client.Stats().Pending == 0
			})
			for range 3 {
				for i, c := range []*tiered.Cache[string]{c, raw} {
					if got, err := c.Get(ctx, "k"); !errors.Is(err, tiered.ErrNotFound) && got != "later" {
						t.Errorf("reader %d gets %q, %v", i, got, err)
					}
				}
			}
		})
	}
}

// An instance does not know how long an entry lives that it could not delete: another instance may have given it a life of
// its own. So the deletion is tried for as long as it takes.
func TestPending_isTriedForLongerThanTheCachesTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		client := r.Instance(t, tiered.Options{MaxStaleness: time.Hour, RetryBackoff: time.Minute})
		c := newCache[string](t, client, "c", tiered.CacheOptions{TTL: time.Minute})
		check(t, c.Set(t.Context(), "k", "old", tiered.TTL(24*time.Hour)))
		r.Down()
		wantErr(t, errorOf(c.Delete(t.Context(), "k")), tiered.ErrRemoteUnavailable)
		time.Sleep(3 * time.Hour)
		if s := client.Stats(); s.Pending != 1 || s.PendingAge < 3*time.Hour {
			t.Errorf("%d pending, the oldest for %v", s.Pending, s.PendingAge)
		}
		r.Up()
		time.Sleep(3 * time.Minute)
		wantMissing(t, c, "k")
		if s := client.Stats(); s.Pending != 0 || s.PendingDelivered != 1 {
			t.Errorf("%d pending, %d delivered", s.Pending, s.PendingDelivered)
		}
	})
}

// logged collects what a client logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestClose_logsPendingInvalidations(t *testing.T) {
	t.Parallel()
	var l logged
	p, client, c, _ := behindProxy(t, tiered.Options{Logger: slog.New(slog.NewTextHandler(&l, nil))})
	p.Refuse(true)
	p.CutAll()
	eventually(t, "a Delete fails", func() bool { return errors.Is(errorOf(c.Delete(t.Context(), "k")), tiered.ErrRemoteUnavailable) })
	closeClient(t, client)
	if text := l.String(); !strings.Contains(text, "closing with undelivered invalidations") {
		t.Errorf("the log says: %s", text)
	}
}
