package invalidation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

func TestReceiver_getsMessagesInOrder(t *testing.T) {
	for name, client := range map[string]func(*testing.T) *redis.Client{
		"RESP2":     func(t *testing.T) *redis.Client { return shared.Client(t, func(o *redis.Options) { o.Protocol = 2 }) },
		"RESP3":     func(t *testing.T) *redis.Client { return shared.Client(t, func(o *redis.Options) { o.Protocol = 3 }) },
		"miniredis": func(t *testing.T) *redis.Client { return redistest.Miniredis(t).Client(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := client(t)
			rec := receive(t, rdb, bound(2*time.Second))
			rec.live(t)
			want := []uint64{1, 2, 3, 4, 5}
			var id lane.ID
			for _, h := range want {
				id = announce(t, rdb, keys(h))
			}
			sent := Message{Type: TypeAll, Publisher: 9, Trace: trace25}
			before, after := id, announce(t, rdb, sent)
			got := rec.await(t, "invalidated", len(want)+1)
			sent.Previous, sent.ID = uint64(before), uint64(after)
			if !sameMessage(got.msg, sent) {
				t.Errorf("the last message is %+v", got.msg)
			}
			if !slices.Equal(rec.received(), want) {
				t.Errorf("received %v", rec.received())
			}
			rec.await(t, "trusted", 8) // twice as long as MaxStaleness
			if lost := rec.all("lost"); len(lost) > 0 {
				t.Errorf("lost: %v", lost[0].err)
			}
			if w := rec.receiver.Applied(); w != uint64(after) {
				t.Errorf("applied %v, want %v", lane.ID(w), after)
			}
			rec.awaitDrops(t, DropFirstSync)
		})
	}
}

func TestState_ofAFirstSubscription(t *testing.T) {
	t.Parallel()
	rec := receive(t, shared.Client(t))
	rec.live(t)
	var states []State
	for _, e := range rec.all("changed") {
		states = append(states, e.change.To)
	}
	if !slices.Equal(states, []State{StateSyncing, StateLive}) {
		t.Errorf("states %v", states)
	}
}

func TestReceiver_messageOutsideTheLaneDoesNotBreakTheChain(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	rec := receive(t, rdb)
	rec.live(t)
	announce(t, rdb, keys(1))
	if err := rdb.Publish(t.Context(), lane.Of(t.Name(), 0).Channel, mustAppend(t, Message{Type: TypeFilled, Hashes: []uint64{2}})).Err(); err != nil {
		t.Fatal(err)
	}
	announce(t, rdb, keys(3))
	rec.awaitHash(t, 3)
	rec.live(t)
	rec.awaitDrops(t, DropFirstSync)
	if !slices.Equal(rec.received(), []uint64{1, 2, 3}) {
		t.Errorf("received %v", rec.received())
	}
}

func TestReceiver_malformedMessageDropsEverythingAndTheChainGoesOn(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	rec := receive(t, rdb, bound(4*time.Second))
	rec.live(t)
	names := lane.Of(t.Name(), 0)
	garbage := []string{"", "hello", strings.Repeat("x", 1<<16), "\xc1\x07", string(mustAppend(t, keys(1))) + "!"}
	want := []DropReason{DropFirstSync}
	for _, g := range garbage {
		if err := rdb.Publish(t.Context(), names.Channel, g).Err(); err != nil {
			t.Fatal(err)
		}
		want = append(want, DropUnreadable)
	}
	// Of a later version, in the lane.
	later := mustAppend(t, keys(1))
	later[1] = 0x7F
	appendTo(t, rdb, names.Channel, string(later), 1)
	want = append(want, DropUnreadable)
	rec.awaitDrops(t, want...)
	announce(t, rdb, keys(2))
	rec.awaitHash(t, 2)
	rec.live(t)
	rec.awaitDrops(t, want...)
	if lost := rec.all("lost"); len(lost) > 0 {
		t.Errorf("garbage ended the subscription: %v", lost[0].err)
	}
}

func TestTrust_isGivenAfterTheFloorsAreLearned(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	names := lane.Of(t.Name(), 0)
	raise := func(name, id string) {
		if err := rdb.HSet(t.Context(), names.Floors, name, id, "!", id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	raise("users", "5-1")
	rec := receive(t, rdb)
	rec.live(t)
	first := rec.all("learned")[0]
	if first.floors["users"] != 5<<20|1 {
		t.Errorf("floors %v", first.floors)
	}
	if first.at.After(rec.all("trusted")[0].at) {
		t.Error("trusted before the floors were known")
	}
	learned := func() (n int) {
		for _, e := range rec.all("learned") {
			if e.floors != nil {
				n++
			}
		}
		return n
	}
	if n := learned(); n != 1 {
		t.Errorf("floors were told %d times", n)
	}
	raise("*", "7-0")
	raised := time.Now()
	redistest.Eventually(t, patience, func() error {
		all := rec.all("learned")
		for _, e := range all {
			if e.floors["*"] == 7<<20 && e.floors["users"] == 5<<20|1 {
				return nil
			}
		}
		return fmt.Errorf("learned %v", all[len(all)-1].floors)
	})
	rec.live(t)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	known := false
	for _, e := range rec.events {
		known = known || e.floors["*"] == 7<<20
		if e.what == "trusted" && e.sent.After(raised) && !known {
			t.Error("trusted before the new floor was known")
		}
	}
}

func TestLanes_thatDisagreeAreNeverTrusted(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	receive(t, rdb, func(o *Options) { o.Lanes = 3 }).live(t)
	rec := receive(t, rdb, func(o *Options) { o.Lanes = 2; o.Instance = 77 })
	for n := range 2 {
		if e := rec.await(t, "lost", n+1); !errors.Is(e.err, ErrLaneCount) {
			t.Errorf("lost: %v", e.err)
		}
	}
	if n := len(rec.all("trusted")); n > 0 {
		t.Errorf("trusted %d times", n)
	}
	if err := rdb.Del(t.Context(), lane.Of(t.Name(), 0).Count).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestReceiver_reportsADeniedChannelAndTriesAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithACLUser("app", "hunter2", "~*", "&allowed", "+@all"))
	rec := receive(t, s.ClientAs(t, "app", "hunter2"))
	for n := range 3 {
		e := rec.await(t, "lost", n+1)
		if !strings.Contains(e.err.Error(), "NOPERM") || strings.Contains(e.err.Error(), "hunter2") {
			t.Errorf("lost: %v", e.err)
		}
	}
	if rec.receiver.State() != StateInit || len(rec.all("changed")) > 0 {
		t.Errorf("state %v", rec.receiver.State())
	}
	if err := s.Client(t).Do(t.Context(), "ACL", "SETUSER", "app", "allchannels").Err(); err != nil {
		t.Fatal(err)
	}
	rec.live(t)
}

func TestReceiver_backsOff(t *testing.T) {
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

// An idle receiver costs the server one script every quarter of MaxStaleness.
func TestReceiver_isCheapWhenItIsIdle(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rec := receive(t, s.Client(t), bound(2*time.Second))
	rec.live(t)
	direct := s.Client(t)
	commands := func() (n int) {
		info, err := direct.InfoMap(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range info["Commandstats"] {
			switch name {
			case "cmdstat_evalsha", "cmdstat_eval", "cmdstat_ping", "cmdstat_subscribe":
				var calls int
				if _, err := fmt.Sscanf(v, "calls=%d", &calls); err != nil {
					t.Fatal(err)
				}
				n += calls
			}
		}
		return n
	}
	before, began, trusted := commands(), time.Now(), len(rec.all("trusted"))
	rec.await(t, "trusted", trusted+6)
	perSecond := float64(commands()-before) / time.Since(began).Seconds()
	t.Logf("%.2f commands a second", perSecond)
	if perSecond > 2.5 {
		t.Errorf("%.2f commands a second", perSecond)
	}
}

func TestOptions_zeroOnesAreCompleted(t *testing.T) {
	o := Options{}.withDefaults()
	if o.MaxStaleness != DefaultMaxStaleness || o.Backoff != DefaultBackoff || o.Lanes != 1 || o.Logger == nil ||
		o.Logger.Enabled(context.Background(), slog.LevelError) {
		t.Errorf("%+v", o)
	}
	for _, backoff := range []time.Duration{1, time.Microsecond, time.Millisecond, time.Second, time.Minute} {
		o := Options{Backoff: backoff}.withDefaults()
		if p := o.minPause(); p <= 0 || p > backoff {
			t.Errorf("backoff %v begins with %v", backoff, p)
		}
	}
}
