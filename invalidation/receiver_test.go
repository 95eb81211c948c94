package invalidation

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

func TestMessagesArriveInOrder(t *testing.T) {
	for _, protocol := range []int{2, 3} { // they answer a PING differently
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			t.Parallel()
			rdb := shared.Client(t, func(o *redis.Options) { o.Protocol = protocol })
			rec := receive(t, rdb, func(o *Options) { o.MaxSilence = 400 * time.Millisecond })
			rec.await(t, "subscribed", 1)
			want := []uint64{1, 2, 3, 4, 5}
			for _, h := range want {
				publish(t, rdb, keys(h))
			}
			last := Message{Type: All, Publisher: 9, Trace: trace25}
			publish(t, rdb, last)
			got := rec.await(t, "invalidated", len(want)+1)
			if !sameMessage(got.msg, last) {
				t.Errorf("the last message is %+v", got.msg)
			}
			if !slices.Equal(received(rec), want) {
				t.Errorf("received %v", received(rec))
			}
			rec.await(t, "alive", 8) // twice as long as MaxSilence
			if lost := rec.all("lost"); len(lost) > 0 {
				t.Errorf("lost: %v", lost[0].err)
			}
		})
	}
}

func TestSubscribedTellsWhenItWasAskedFor(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	hold := p.HoldNextReplyTo("subscribe")
	began := time.Now()
	rec := receive(t, rdb)
	<-hold.Sprung()
	answered := time.Now()
	hold.Release()
	e := rec.await(t, "subscribed", 1)
	if e.sent.Before(began) || e.sent.After(answered) {
		t.Errorf("sent %v after the start, the server had answered %v after it", e.sent.Sub(began), answered.Sub(began))
	}
}

func TestWhatIsNoMessageIsUnreadable(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	rec := receive(t, rdb)
	rec.await(t, "subscribed", 1)
	garbage := []string{"", "hello", strings.Repeat("x", 1<<16), "\xc1\x07", "\x00", string(mustAppend(t, keys(1))) + "!"}
	for _, g := range garbage {
		if err := rdb.Publish(t.Context(), t.Name(), g).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rec.await(t, "unreadable", len(garbage))
	publish(t, rdb, keys(2))
	rec.await(t, "invalidated", 1)
	if lost := rec.all("lost"); len(lost) > 0 {
		t.Errorf("garbage ended the subscription: %v", lost[0].err)
	}
}

func TestDeniedChannelIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithACLUser("app", "hunter2", "~*", "&allowed", "+@all"))
	rec := receive(t, s.ClientAs(t, "app", "hunter2"))
	for n := range 3 {
		e := rec.await(t, "lost", n+1)
		if !strings.Contains(e.err.Error(), "NOPERM") || strings.Contains(e.err.Error(), "hunter2") {
			t.Errorf("lost: %v", e.err)
		}
	}
	if n := len(rec.all("subscribed")); n > 0 {
		t.Errorf("subscribed %d times", n)
	}
	if err := s.Client(t).Do(t.Context(), "ACL", "SETUSER", "app", "allchannels").Err(); err != nil {
		t.Fatal(err)
	}
	rec.await(t, "subscribed", 1)
}

func TestAttemptsBackOff(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	p.Refuse(true)
	rec := receive(t, rdb, func(o *Options) { o.Backoff = time.Second })
	rec.await(t, "lost", 6)
	lost := rec.all("lost")
	// The pauses are 20, 40, 80, 160, 320 ms, each cut by half at most.
	if took := lost[5].at.Sub(lost[0].at); took < 310*time.Millisecond {
		t.Errorf("six attempts within %v", took)
	}
}

func TestClusterClientHearsWhatAnyNodePublishes(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	rec := receive(t, c.Client(t))
	rec.await(t, "subscribed", 1)
	for i, n := range c.Nodes {
		awaitArrival(t, n.Client(t), rec, uint64(i+1))
	}
}

// After a failover, what the new master publishes arrives: over the old master, now its replica, or after a new subscription.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	rdb := s.Client(t)
	rec := receive(t, rdb)
	rec.await(t, "subscribed", 1)
	awaitArrival(t, rdb, rec, 1)
	s.Failover(t)
	awaitArrival(t, s.Client(t), rec, 2)
	t.Logf("lost %d times, subscribed %d times", len(rec.all("lost")), len(rec.all("subscribed")))
}

func TestZeroOptionsAreCompleted(t *testing.T) {
	o := Options{}.withDefaults()
	if o.MaxSilence != DefaultMaxSilence || o.Backoff != DefaultBackoff || o.Logger == nil || o.Logger.Enabled(context.Background(), slog.LevelError) {
		t.Errorf("%+v", o)
	}
	for _, backoff := range []time.Duration{1, time.Microsecond, time.Millisecond, time.Second, time.Minute} {
		o := Options{Backoff: backoff}.withDefaults()
		if p := o.firstPause(); p <= 0 || p > backoff {
			t.Errorf("backoff %v begins with %v", backoff, p)
		}
	}
}
