package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/luascript"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// calls is how often the server has run a command.
func calls(t *testing.T, rdb *redis.Client, command string) int {
	t.Helper()
	info, err := rdb.InfoMap(t.Context(), "commandstats").Result()
	must(t, err)
	line := info["Commandstats"]["cmdstat_"+command]
	_, after, _ := strings.Cut(line, "calls=")
	n, _, _ := strings.Cut(after, ",")
	if n == "" {
		return 0
	}
	count, err := strconv.Atoi(n)
	must(t, err)
	return count
}

// A client that retries must not repeat a change.
func TestRetry_repeatsNoChangeWhoseReplyWasLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	direct := server.Client(t)
	p, rdb := proxied(t, server, func(o *redis.Options) {
		o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 0, -1, -1 // 0 is 3
	})
	s := newStore(t, rdb, never)
	ctx := context.Background()
	for _, sc := range []luascript.Script{
		scriptIncrement, scriptSet, scriptSetIfAbsent, scriptDelete, scriptSetTTL, scriptAcquire, scriptRelease, scriptPublish,
		scriptAnnounce, scriptRaiseFloor,
	} {
		must(t, direct.ScriptLoad(ctx, sc.Source()).Err()) // else a reply NOSCRIPT is lost, and nothing ran
	}
	for _, c := range []struct {
		name  string
		match string // what the last command contains
		do    func() error
		runs  int
	}{
		{"Increment", "n-key", func() error { _, err := increment(ctx, s, "n-key", 1, nil, number(0), 0, nil); return err }, 1},
		{"Set", "k-key", func() error { return s.Set(ctx, "k-key", value("v"), nil) }, 1},
		{"SetIfAbsent", "k2-key", func() error { _, _, err := s.SetIfAbsent(ctx, "k2-key", value("v"), 0, nil); return err }, 1},
		{"Delete", "k-key", func() error { _, err := s.Delete(ctx, "k-key", 0, nil); return err }, 1},
		{"Expire", "k2-key", func() error { _, err := setTTL(ctx, s, "k2-key", time.Hour, 0, nil); return err }, 1},
		{"Announce", "the-news", func() error { return s.Announce(ctx, news("the-news")) }, 1},
		{"RaiseFloor", "the-cache", func() error { return s.RaiseFloor(ctx, "the-cache", news("m")) }, 1},
		{"Set, announced", "a-key", func() error { return s.Set(ctx, "a-key", value("v"), news("m")) }, 1},
		{"SetMany", "m4-key", func() error {
			var writes []Write
			for i := range 5 {
				writes = append(writes, Write{Key: fmt.Sprint("m", i, "-key"), Record: value("v")})
			}
			errs := s.SetMany(ctx, writes)
			for _, err := range errs[1:] {
				wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
			}
			return errs[0]
		}, 5},
		{"DeleteMany", "m2-key", func() error {
			_, errs := s.DeleteMany(ctx, deletions([]string{"m0-key", "m1-key", "m2-key"}, 0))
			return errs[0]
		}, 3},
	} {
		t.Log(c.name)
		must(t, greeted(rdb))
		before := calls(t, direct, "evalsha")
		p.SwallowNextReplyTo(c.match) // new connections are answered: a second attempt would succeed
		wantErr(t, c.do(), ErrUnavailable, ErrUnknownOutcome)
		if runs := calls(t, direct, "evalsha") - before; runs != c.runs {
			t.Errorf("%s: %d scripts ran, want %d", c.name, runs, c.runs)
		}
	}
	// A store of its own: it gives the lease back in the background, which may be repeated.
	leases := newStore(t, rdb, never)
	must(t, greeted(rdb))
	acquired := calls(t, direct, "evalsha")
	p.SwallowNextReplyTo("l-key")
	_, _, err := leases.Acquire(ctx, LeaseRequest{Key: "l-key", Token: NewToken()}, time.Hour)
	wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
	redistest.Eventually(t, patience, func() error {
		if n := direct.Exists(ctx, "l-key").Val(); n != 0 {
			return errors.New("the lease is still there")
		}
		return nil
	})
	must(t, leases.Close(ctx))
	if runs := calls(t, direct, "evalsha") - acquired; runs != 2 && runs != 3 {
		t.Errorf("Acquire: %d scripts ran, want the lease's, and its release's once or twice", runs)
	}

	r, err := newStore(t, direct).Get(ctx, "n-key")
	if err != nil || string(r.Payload) != "1" {
		t.Errorf("the counter is %q, %v", r.Payload, err)
	}

	before := calls(t, direct, "publish")
	must(t, greeted(rdb))
	p.SwallowNextReplyTo("the message")
	wantErr(t, s.Publish(ctx, 0, []byte("the message")), ErrUnavailable, ErrUnknownOutcome)
	if n := calls(t, direct, "publish") - before; n != 1 {
		t.Errorf("published %d times", n)
	}

	// What this is protected from.
	must(t, greeted(rdb))
	p.SwallowNextReplyTo("plain")
	if n, err := rdb.Incr(ctx, "plain").Result(); n != 2 || err != nil {
		t.Errorf("plain INCR: %d, %v; if go-redis has stopped repeating it, luascript.Cmd may go", n, err)
	}
}

// Reads may be repeated, and survive one lost reply.
func TestRetry_repeatsReads(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared, func(o *redis.Options) { o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 0, -1, -1 })
	s := newStore(t, rdb)
	key := t.Name()
	must(t, s.Set(t.Context(), key, value("v"), nil))
	for name, read := range map[string]func() error{
		"Get":        func() error { _, err := s.Get(t.Context(), key); return err },
		"GetMany":    func() error { return s.GetMany(t.Context(), []string{key, key})[1].Err },
		"Exists":     func() error { _, err := exists(t.Context(), s, key, 0); return err },
		"ExistsMany": func() error { _, errs := existsMany(t.Context(), s, []string{key}, 0); return errs[0] },
		"Count":      func() error { _, err := countKeys(t.Context(), s, key, "", 0); return err },
	} {
		must(t, greeted(rdb))
		trap := p.SwallowNextReplyTo(key)
		t.Log(name)
		wantErr(t, read())
		<-trap.Sprung()
	}
}

func TestScripts_areLearnedAgainByAServerThatForgotThem(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t) // scripts are flushed
	rdb := server.Client(t)
	s := newStore(t, rdb)
	flush := func() { t.Helper(); must(t, rdb.ScriptFlush(t.Context()).Err()) }
	for i, op := range operations {
		flush()
		key := fmt.Sprint("key", i)
		err := op.do(t.Context(), s, key)
		switch op.name {
		case "Get", "GetMany", "TTL":
			wantErr(t, err, ErrNotFound)
		default:
			if err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		}
	}
	flush()
	before := calls(t, rdb, "eval")
	var writes []Write
	for i := range 50 {
		writes = append(writes, Write{Key: fmt.Sprint("w", i), Record: number(int64(i)), Announcement: news("m")})
	}
	for i, err := range s.SetMany(t.Context(), writes) {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, r := range s.GetMany(t.Context(), []string{"w0", "w49"}) {
		if r.Err != nil {
			t.Errorf("%d: %v", i, r.Err)
		}
	}
	if n := calls(t, rdb, "eval") - before; n != 1 {
		t.Errorf("%d scripts were sent whole, want one", n)
	}
	flush()
	for range 3 {
		if n, err := increment(t.Context(), s, "n", 1, nil, number(0), 0, nil); err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if r, err := s.Get(t.Context(), "n"); err != nil || string(r.Payload) != "3" {
		t.Errorf("the counter is %q, %v", r.Payload, err)
	}
}
