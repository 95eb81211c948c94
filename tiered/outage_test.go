package tiered_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// reads and writes are the calls that have to ask the remote tier, when nothing is local.
func reads(ctx context.Context, c *tiered.Cache[int64]) map[string]error {
	out := make(map[string]error)
	_, out["Get"] = c.Get(ctx, "k")
	_, out["GetMany"] = c.GetMany(ctx, []string{"k", "l"})
	_, out["Exists"] = c.Exists(ctx, "k")
	_, out["ExistsMany"] = c.ExistsMany(ctx, []string{"k", "l"})
	_, out["TTL"] = c.TTL(ctx, "k")
	_, out["Count"] = c.Count(ctx, "")
	return out
}

func writes(ctx context.Context, c *tiered.Cache[int64]) map[string]error {
	out := make(map[string]error)
	out["Set"] = c.Set(ctx, "k", 1)
	out["Set with tags"] = c.Set(ctx, "k", 1, tiered.Tags("tag"))
	_, out["SetMany"] = c.SetMany(ctx, []tiered.Item[int64]{{Key: "k", Value: 1}, {Key: "l", Value: 1}})
	_, out["SetIfAbsent"] = c.SetIfAbsent(ctx, "k", 1)
	_, out["GetOrSetValue"] = c.GetOrSetValue(ctx, "k", 1)
	_, out["Delete"] = c.Delete(ctx, "k")
	_, out["DeleteMany"] = c.DeleteMany(ctx, []string{"k", "l"})
	_, out["Increment"] = c.Increment(ctx, "k", 1)
	_, out["Expire"] = c.Expire(ctx, "k", time.Minute)
	_, out["Clear"] = c.Clear(ctx, "")
	out["InvalidateTags"] = c.InvalidateTags(ctx, "tag")
	return out
}

// wantOutage requires ErrRemoteUnavailable of every call, without a doubt about what happened, and never a miss.
func wantOutage(t *testing.T, c *tiered.Cache[int64]) {
	t.Helper()
	ctx := t.Context()
	for _, calls := range []map[string]error{reads(ctx, c), writes(ctx, c)} {
		for name, err := range calls {
			if !errors.Is(err, tiered.ErrRemoteUnavailable) || errors.Is(err, tiered.ErrNotFound) || errors.Is(err, tiered.ErrUnknownOutcome) {
				t.Errorf("%s: %v, want ErrRemoteUnavailable, and nothing else", name, err)
			}
		}
	}
	if got, err := c.GetOrSet(ctx, "k", constant(int64(7))); err != nil || got != 7 {
		t.Errorf("GetOrSet = %d, %v, want a load", got, err)
	}
	got, err := c.GetOrSetMany(ctx, []string{"m", "n"}, func(context.Context, []string) (map[string]int64, error) {
		return map[string]int64{"m": 1, "n": 2}, nil
	})
	if err != nil || len(got) != 2 {
		t.Errorf("GetOrSetMany = %v, %v, want a load", got, err)
	}
}

func wantWorking(t *testing.T, client *tiered.Client, c *tiered.Cache[int64]) {
	t.Helper()
	ready(t, client)
	eventually(t, "Redis is used again", func() bool { return client.Stats().Pending == 0 && c.Set(t.Context(), "k", 3) == nil })
	for name, err := range reads(t.Context(), c) {
		if err != nil {
			t.Errorf("%s after the outage: %v", name, err)
		}
	}
	for name, err := range writes(t.Context(), c) {
		if err != nil {
			t.Errorf("%s after the outage: %v", name, err)
		}
	}
}

// quick makes a client find its server again within milliseconds.
var quick = tiered.Options{RetryBackoff: 20 * time.Millisecond, BreakerPause: 20 * time.Millisecond}

func TestOutage_mayLastFromTheStart(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, shared.Addr)
	p.Refuse(true)
	client := newClient(t, shared.Client(t, func(o *redis.Options) { o.Addr = p.Addr() }), quick)
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantErr(t, client.Ready(short), context.DeadlineExceeded)
	wantOutage(t, c)
	if s := client.Stats(); s.RemoteErrors == 0 || s.Coherent || s.RemoteMisses != 0 {
		t.Errorf("stats: %d remote errors, coherent %t, %d remote misses: an outage shows, and is no miss", s.RemoteErrors, s.Coherent, s.RemoteMisses)
	}
	p.Refuse(false)
	wantWorking(t, client, c)
}

func TestOutage_mayEndWithAnEmptyRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := quick
	o.MaxStaleness = 100 * time.Millisecond
	client := coherent(t, server.Client(t), o)
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", 1))
	check(t, c.Set(t.Context(), "gone", 1, tiered.Tags("tag")))
	server.Kill()
	eventually(t, "the loss is noticed", func() bool { return !client.Stats().Coherent })
	eventually(t, "connections that broke under a command are gone", func() bool {
		err := c.Set(t.Context(), "k", 1)
		return errors.Is(err, tiered.ErrRemoteUnavailable) && !errors.Is(err, tiered.ErrUnknownOutcome)
	})
	wantOutage(t, c)
	server.Restart()
	ready(t, client)
	eventually(t, "the breaker lets calls through", func() bool { _, err := c.Get(t.Context(), "gone"); return errors.Is(err, tiered.ErrNotFound) })
	wantWorking(t, client, c)
}

func TestOutage_costsATimeoutAndThenTheBreakerOpens(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const timeout = 300 * time.Millisecond
	client := coherent(t, server.Client(t), tiered.Options{RemoteTimeout: timeout, BreakerFailures: 3, BreakerPause: time.Hour, MaxStaleness: 100 * time.Millisecond})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	server.Pause()
	defer server.Resume()
	for i := 0; !client.Stats().BreakerOpen; i++ {
		if i > 20 {
			t.Fatal("the breaker does not open")
		}
		began := time.Now()
		got, err := c.GetOrSet(t.Context(), numbered(30)[i], constant(int64(7)))
		if err != nil || got != 7 {
			t.Fatalf("GetOrSet = %d, %v", got, err)
		}
		if took := time.Since(began); took > timeout+20*time.Second {
			t.Errorf("took %v, want little more than RemoteTimeout", took)
		}
	}
	before := client.Stats().RemoteErrors
	began := time.Now()
	for i := range 100 {
		if _, err := c.GetOrSet(t.Context(), "open"+numbered(100)[i], constant(int64(7))); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 50*timeout {
		t.Errorf("100 calls with the breaker open took %v: each waited", took)
	}
	if after := client.Stats().RemoteErrors; after < before+100 {
		t.Errorf("%d remote errors counted for 100 calls", after-before)
	}
	err := c.Set(t.Context(), "k", 1)
	if !errors.Is(err, tiered.ErrRemoteUnavailable) || errors.Is(err, tiered.ErrUnknownOutcome) {
		t.Errorf("Set with the breaker open: %v: it was never sent", err)
	}
}

// go-redis's own defaults take 1.7 s to report a refused connection, and a server that is out of
// reach may take minutes. A load waits for neither: here no dial ends before the loads have.
func TestOutage_goRedisDefaultsDoNotSlowLoads(t *testing.T) {
	t.Parallel()
	unreachable := make(chan struct{})
	rdb := redis.NewClient(&redis.Options{Addr: shared.Addr, Dialer: func(context.Context, string, string) (net.Conn, error) {
		<-unreachable
		return nil, errors.New("refused at last")
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	client := newClient(t, rdb, tiered.Options{RemoteTimeout: 100 * time.Millisecond, BreakerFailures: 2, BreakerPause: time.Hour})
	t.Cleanup(sync.OnceFunc(func() { close(unreachable) }))
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	for _, key := range numbered(3) {
		got := async(func() (int64, error) { return c.GetOrSet(t.Context(), key, constant(int64(7))) })
		if r := receive(t, "the load", got); r.err != nil || r.v != 7 {
			t.Fatalf("GetOrSet = %d, %v", r.v, r.err)
		}
	}
	eventually(t, "the breaker opens", func() bool {
		_, _ = c.Get(t.Context(), "k")
		return client.Stats().BreakerOpen
	})
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	if !strings.Contains(err.Error(), "skipped") {
		t.Errorf("with the breaker open: %v, want no call", err)
	}
}

func TestErrAccessDenied_isToldApartFromAnOutage(t *testing.T) {
	t.Parallel()
	const password = "s3cret-of-app"
	server := redistest.Start(t,
		redistest.WithACLUser("reader", password, "~*", "&*", "+@all", "-eval", "-evalsha", "-publish"),
		redistest.WithACLUser("mute", password, "~*", "resetchannels", "+@all"))
	t.Run("writes", func(t *testing.T) {
		// Nor does it get an echo, which is a write.
		client := newClient(t, server.ClientAs(t, "reader", password), quick)
		c := newCache[int64](t, client, "c", tiered.CacheOptions{})
		wantMissing(t, c, "k")
		for name, err := range writes(t.Context(), c) {
			if name == "Clear" { // on an empty cache it has nothing to write but its announcement
				wantErr(t, err, tiered.ErrAccessDenied)
			}
			if !errors.Is(err, tiered.ErrAccessDenied) || errors.Is(err, tiered.ErrRemoteUnavailable) {
				t.Errorf("%s: %v, want ErrAccessDenied", name, err)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("%s: the error shows the password", name)
			}
		}
		if got, err := c.GetOrSet(t.Context(), "k", constant(int64(7))); err != nil || got != 7 {
			t.Errorf("GetOrSet = %d, %v, want a load", got, err)
		}
		if client.Stats().BreakerOpen {
			t.Error("a denial opened the breaker")
		}
	})
	t.Run("channel", func(t *testing.T) {
		client := newClient(t, server.ClientAs(t, "mute", password), quick)
		c := newCache[int64](t, client, "c", tiered.CacheOptions{})
		eventually(t, "the denied subscription is noticed", func() bool { return client.Stats().SubscribeErrors > 0 })
		if got, err := c.GetOrSet(t.Context(), "k", constant(int64(7))); err != nil || got != 7 {
			t.Errorf("GetOrSet = %d, %v", got, err)
		}
		if client.Stats().Coherent {
			t.Error("coherent without a subscription")
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		client := newClient(t, server.ClientAs(t, "reader", "wr0ng-"+password), quick)
		c := newCache[int64](t, client, "c", tiered.CacheOptions{})
		for _, calls := range []map[string]error{reads(t.Context(), c), writes(t.Context(), c)} {
			for name, err := range calls {
				if !errors.Is(err, tiered.ErrAccessDenied) || errors.Is(err, tiered.ErrNotFound) {
					t.Errorf("%s: %v, want ErrAccessDenied", name, err)
				}
				if err != nil && strings.Contains(err.Error(), password) {
					t.Errorf("%s: the error shows the password", name)
				}
			}
		}
		if got, err := c.GetOrSet(t.Context(), "k", constant(int64(7))); err != nil || got != 7 {
			t.Errorf("GetOrSet = %d, %v, want a load", got, err)
		}
	})
}

func TestErrWriteRefused_isToldApartFromAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := coherent(t, server.Client(t), quick)
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "there", 1))
	admin := server.Client(t)
	check(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for name, call := range map[string]func() error{
		"Set":         func() error { return c.Set(t.Context(), "k", 1) },
		"SetMany":     func() error { _, err := c.SetMany(t.Context(), []tiered.Item[int64]{{Key: "k", Value: 1}}); return err },
		"SetIfAbsent": func() error { _, err := c.SetIfAbsent(t.Context(), "k", 1); return err },
	} {
		if err := call(); !errors.Is(err, tiered.ErrWriteRefused) || errors.Is(err, tiered.ErrRemoteUnavailable) {
			t.Errorf("%s: %v, want ErrWriteRefused", name, err)
		}
	}
	if got, err := c.GetOrSet(t.Context(), "k", constant(int64(7))); err != nil || got != 7 {
		t.Errorf("GetOrSet = %d, %v, want a load", got, err)
	}
	wantGet(t, c, "there", 1)
	if found, err := c.Delete(t.Context(), "there"); err != nil || !found {
		t.Errorf("Delete = %t, %v: what frees memory is allowed", found, err)
	}
	if client.Stats().BreakerOpen {
		t.Error("refused writes opened the breaker")
	}
	check(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	check(t, c.Set(t.Context(), "k", 1))
}
