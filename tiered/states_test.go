package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// states collects transitions.
type states struct {
	mu   sync.Mutex
	seen []tiered.StateChange
}

func (s *states) tell(ch tiered.StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, ch)
}

func (s *states) list() []tiered.StateChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tiered.StateChange(nil), s.seen...)
}

func TestOnStateChange_isToldInOrderAndWithReasons(t *testing.T) {
	t.Parallel()
	var s states
	p, client, _, _ := behindProxy(t, tiered.Options{MaxStaleness: 20 * time.Second, RetryBackoff: 20 * time.Millisecond, OnStateChange: s.tell})
	// The local tier is trusted a moment before its state says so.
	eventually(t, "the lane is live", func() bool { got := client.Stats().Lanes; return len(got) == 1 && got[0].State == tiered.StateLive })
	p.Refuse(true)
	p.CutAll()
	eventually(t, "the loss is told", func() bool { l := s.list(); return l[len(l)-1].To == tiered.StateSuspect })
	if got := client.Stats().Lanes[0].State; got != tiered.StateSuspect {
		t.Errorf("the lane is %v", got)
	}
	p.Refuse(false)
	eventually(t, "it is live again", func() bool { l := s.list(); return l[len(l)-1].To == tiered.StateLive })
	want := []tiered.State{tiered.StateInit, tiered.StateSyncing, tiered.StateLive, tiered.StateSuspect, tiered.StateSyncing, tiered.StateLive}
	seen := s.list()
	if len(seen) != len(want)-1 {
		t.Fatalf("%d transitions: %+v", len(seen), seen)
	}
	for i, ch := range seen {
		if ch.From != want[i] || ch.To != want[i+1] || ch.Lane != 0 || ch.Reason == "" || ch.At.IsZero() || (ch.Err != nil) != (ch.To == tiered.StateSuspect) {
			t.Errorf("transition %d: %+v, want %v to %v", i, ch, want[i], want[i+1])
		}
		if i > 0 && ch.At.Before(seen[i-1].At) {
			t.Errorf("transition %d was before the one before it", i)
		}
	}
}

// A function that blocks holds up nothing but itself.
func TestOnStateChange_delaysNothingElse(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var once sync.Once
	letGo := func() { once.Do(func() { close(release) }) }
	p, client, c, _ := behindProxy(t, tiered.Options{Lanes: tiered.MaxLanes, RetryBackoff: 20 * time.Millisecond, OnStateChange: func(tiered.StateChange) { <-release }})
	t.Cleanup(letGo)
	check(t, c.Set(t.Context(), "k", "v"))
	for i := range uint64(3) { // each cut makes three transitions of each lane
		p.CutAll()
		eventually(t, "all lanes are lost and live again", func() bool { return client.Stats().Subscriptions >= (i+2)*tiered.MaxLanes })
		ready(t, client)
		wantGet(t, c, "k", "v")
	}
	if n := client.Stats().NoticesDropped; n == 0 || n > 8*3*tiered.MaxLanes {
		t.Errorf("%d transitions dropped", n)
	}
	letGo()
}

// The first instance says how many lanes a namespace has. One that disagrees changes nothing and trusts nothing.
func TestLanes_refusesAnotherNumber(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	first := coherent(t, shared.Client(t), tiered.Options{Namespace: ns, Lanes: 2})
	a := newCache[int64](t, first, "c", tiered.CacheOptions{})
	check(t, a.Set(t.Context(), "k", 1, tiered.Tags("tag")))
	for _, lanes := range []int{1, 3} {
		client := newClient(t, shared.Client(t), tiered.Options{Namespace: ns, Lanes: lanes, WhenIncoherent: tiered.Bypass, RetryBackoff: 20 * time.Millisecond})
		b := newCache[int64](t, client, "c", tiered.CacheOptions{})
		for name, err := range writes(t.Context(), b) {
			var option *tiered.OptionError
			if !errors.Is(err, tiered.ErrInvalidOptions) || !errors.As(err, &option) || option.Field != "Lanes" {
				t.Errorf("%s with %d lanes: %v", name, lanes, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		wantErr(t, client.Ready(ctx), tiered.ErrInvalidOptions)
		cancel()
		wantGet(t, b, "k", 1)
		check(t, a.Set(t.Context(), "k", 2, tiered.Tags("tag")))
		wantGet(t, b, "k", 2)
		check(t, a.Set(t.Context(), "k", 1, tiered.Tags("tag")))
		if s := client.Stats(); s.Coherent || s.LocalHits != 0 || s.Pending != 0 {
			t.Errorf("coherent %t, %d local hits, %d pending", s.Coherent, s.LocalHits, s.Pending)
		}
	}
	ready(t, first)
	wantGet(t, a, "k", 1)
}

// Each cache has a policy of its own for when its local copies cannot be trusted.
func TestWhenIncoherent_isEachCachesOwn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := coherent(t, server.Client(t), tiered.Options{
		MaxStaleness: 100 * time.Millisecond, WhenIncoherent: tiered.Bypass, BreakerFailures: 1, BreakerPause: time.Hour, RetryBackoff: 20 * time.Millisecond,
	})
	caches := make(map[string]*tiered.Cache[string])
	for name, policy := range map[string]tiered.Incoherence{"inherits": {}, "gutter": tiered.Gutter, "stale": tiered.ServeStale(time.Hour)} {
		caches[name] = newCache[string](t, client, name, tiered.CacheOptions{WhenIncoherent: policy})
		check(t, caches[name].Set(t.Context(), "k", "old"))
		kept(t, client, caches[name], "old")
	}
	_, err := tiered.NewCache[string](client, "gutter", tiered.CacheOptions{WhenIncoherent: tiered.Bypass})
	wantErr(t, err, tiered.ErrInvalidOptions)
	server.Kill()
	eventually(t, "the loss is noticed", func() bool { s := client.Stats(); return s.Losses > 0 && !s.Coherent })
	wantGet(t, caches["stale"], "k", "old")
	for _, name := range []string{"inherits", "gutter"} {
		wantErr(t, errorOf(caches[name].Get(t.Context(), "k")), tiered.ErrRemoteUnavailable)
	}
	for i := range 3 {
		want := fmt.Sprint(i)
		if got, err := caches["inherits"].GetOrSet(t.Context(), "k", constant(want)); err != nil || got != want {
			t.Errorf("inherits Bypass: %q, %v, want a load each time", got, err)
		}
	}
	eventually(t, "the gutter keeps a load", func() bool {
		hits := client.Stats().Caches["gutter"].LocalHits
		for range 2 {
			if got, err := caches["gutter"].GetOrSet(t.Context(), "k", constant("new")); err != nil || got != "new" {
				t.Fatalf("gutter: %q, %v", got, err)
			}
		}
		return client.Stats().Caches["gutter"].LocalHits > hits
	})
}

// The gutter counts from the begin of the load: the value of a slow one may be as old as that, and
// is not kept.
func TestGutter_doesNotKeepValuesOfSlowLoads(t *testing.T) {
	t.Parallel()
	client, c := incoherent(t, tiered.Gutter) // it keeps for 100 ms
	slow := func(context.Context) (string, error) { <-time.After(120 * time.Millisecond); return "slow", nil }
	// What came over the wire before the server went may vouch for the old value a moment longer.
	eventually(t, "the old value is not served", func() bool { got, err := c.GetOrSet(t.Context(), "k", slow); return err == nil && got == "slow" })
	for range 2 {
		hits, loads := client.Stats().LocalHits, client.Stats().Loads
		for range 2 {
			if got, err := c.GetOrSet(t.Context(), "k", slow); err != nil || got != "slow" {
				t.Fatalf("GetOrSet = %q, %v", got, err)
			}
		}
		if s := client.Stats(); s.LocalHits != hits || s.Loads != loads+2 {
			t.Errorf("%d loads, %d local hits, want 2 and 0", s.Loads-loads, s.LocalHits-hits)
		}
	}
}
