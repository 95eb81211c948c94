package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/tiered"
)

// tailing is a Tail under way.
type tailing struct {
	t      *testing.T
	events chan Event
	end    context.CancelFunc
	done   chan error
	sum    Summary
}

// tail begins one, and waits until all of its lanes are subscribed to.
func tail(t *testing.T, rdb redis.UniversalClient, o TailOptions, lanes int) *tailing {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	tl := &tailing{t: t, events: make(chan Event, 10_000), end: end, done: make(chan error, 1)}
	go func() {
		var err error
		tl.sum, err = Tail(ctx, rdb, o, func(e Event) error { tl.events <- e; return nil })
		tl.done <- err
	}()
	t.Cleanup(end)
	for range lanes {
		tl.next(Subscribed)
	}
	return tl
}

// next gives the next event of a kind; others are passed over.
func (tl *tailing) next(what string) Event {
	tl.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-tl.events:
			if e.What == what {
				return e
			}
		case <-timeout:
			tl.t.Fatalf("no event %q within %v", what, patience)
		}
	}
}

// message gives the next message of a type.
func (tl *tailing) message(kind string) Event {
	tl.t.Helper()
	for {
		if e := tl.next(Message); e.Type == kind {
			return e
		}
	}
}

func (tl *tailing) stop() Summary {
	tl.t.Helper()
	tl.end()
	if err := <-tl.done; err != nil {
		tl.t.Errorf("the end that was asked for: %v", err)
	}
	return tl.sum
}

func TestTailSeesChanges(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			const namespace, name, key = "tail", "c", "k"
			rdb := d.client(t)
			c := cacheOf[string](t, instance(t, rdb, namespace, 2), name, tiered.CacheOptions{})
			place := Place{Namespace: namespace, Cache: name, Key: key}
			hash, seed := fmt.Sprintf("%016x", place.hash()), fmt.Sprintf("%016x", place.seed())
			all := tail(t, rdb, TailOptions{Namespace: namespace}, 2)
			one := tail(t, rdb, TailOptions{Namespace: namespace, Cache: name, Key: key}, 1)

			must(t, c.Set(t.Context(), key, "v", tiered.Tags("t")))
			set := all.message("keys")
			if set.Count != 1 || set.Hashes[0] != hash || set.ID == "" || set.LagMs == nil || set.Publisher == "" || set.IDAt == nil {
				t.Errorf("%+v, want hash %s", set, hash)
			}
			must(t, c.Set(t.Context(), "another", "v"))
			all.message("keys")
			_, err := c.Delete(t.Context(), key)
			must(t, err)
			if e := all.message("keys"); e.Hashes[0] != hash || e.Lane != set.Lane {
				t.Errorf("Delete: %+v after %+v", e, set)
			}
			must(t, c.InvalidateTags(t.Context(), "t"))
			if e := all.message("keys"); e.Count != 1 || e.Hashes[0] == hash {
				t.Errorf("InvalidateTags: %+v", e)
			}
			_, err = c.Clear(t.Context(), "")
			must(t, err)
			cleared := map[int]bool{}
			for range 2 {
				e := all.message("cleared")
				cleared[e.Lane] = true
				if e.Hashes[0] != seed {
					t.Errorf("Clear: %+v, want %s", e, seed)
				}
			}
			if len(cleared) != 2 {
				t.Errorf("Clear was announced on the lanes %v", cleared)
			}
			_, err = c.GetOrSet(t.Context(), key, func(context.Context) (string, error) { return "v", nil })
			must(t, err)

			for _, want := range []string{"keys", "keys", "cleared"} { // what concerns the entry: Set, Delete, Clear
				e := one.next(Message)
				if e.Type != want || e.Type == "keys" && e.Hashes[0] != hash {
					t.Errorf("of one entry: %+v, want %s", e, want)
				}
			}
			if s := all.stop(); s.Messages < 6 || s.Gaps != 0 || s.Losses != 0 || !strings.Contains(s.Text(), "0 gaps") {
				t.Errorf("%+v", s)
			}
			one.stop()

			replayed := tail(t, rdb, TailOptions{Namespace: namespace, Since: "1h", Cache: name, Key: key}, 1)
			if e := replayed.message("keys"); e.ID != set.ID || !e.Replayed || e.LagMs != nil {
				t.Errorf("replayed: %+v, want %s", e, set.ID)
			}
			must(t, c.Set(t.Context(), key, "v"))
			for e := replayed.next(Message); e.Replayed; e = replayed.next(Message) {
			}
			replayed.stop()
			after := tail(t, rdb, TailOptions{Namespace: namespace, Since: set.ID, Cache: name, Key: key, Count: 1}, 1)
			if e := after.next(Message); e.ID == set.ID || !e.Replayed {
				t.Errorf("what follows %s: %+v", set.ID, e)
			}
			if err := <-after.done; err != nil || after.sum.Messages != 1 {
				t.Errorf("after one message: %v, %+v", err, after.sum)
			}
		})
	}
}

func TestTailShowsGaps(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			const namespace = "gaps"
			rdb := d.client(t)
			c := cacheOf[string](t, instance(t, rdb, namespace, 1), "c", tiered.CacheOptions{})
			tl := tail(t, rdb, TailOptions{Namespace: namespace}, 1)
			must(t, c.Set(t.Context(), "a", "v"))
			first := tl.message("keys")

			// Two that are in the lane, and were never published.
			m := invalidation.Message{Type: invalidation.TypeKeys, Hashes: []uint64{1}}
			b, err := m.Append(nil)
			must(t, err)
			stored := string(b[:2]) + string(b[2+2*lane.WireSize:])
			names := lane.Of(namespace, 0)
			var last string
			for range 2 {
				last, err = rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: names.Stream, Values: []string{"m", stored}}).Result()
				must(t, err)
			}
			must(t, c.Set(t.Context(), "b", "v"))
			gap := tl.next(Gap)
			if gap.Seen != first.ID || gap.Previous != last || gap.Missed == nil || *gap.Missed != 2 || !strings.Contains(gap.Text(), "GAP") {
				t.Errorf("%+v, want from %s to %s", gap, first.ID, last)
			}
			tl.message("keys")

			publish := rdb.Publish
			if d.name == "cluster" {
				publish = rdb.SPublish
			}
			must(t, publish(t.Context(), names.Channel, "nonsense").Err())
			tl.next(Unreadable)
			must(t, c.Set(t.Context(), "c", "v"))
			if e := tl.next(Message); e.ID == "" {
				t.Errorf("%+v", e)
			}
			if s := tl.stop(); s.Gaps != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestTailOutlivesALoss(t *testing.T) {
	t.Parallel()
	const namespace = "loss"
	rdb := shared.Client(t)
	c := cacheOf[string](t, instance(t, rdb, namespace, 1), "c", tiered.CacheOptions{})
	proxy := redistest.NewProxy(t, shared.Addr)
	through := shared.Client(t, func(o *redis.Options) { o.Addr = proxy.Addr() })
	tl := tail(t, through, TailOptions{Namespace: namespace}, 1)
	must(t, c.Set(t.Context(), "a", "v"))
	tl.message("keys")
	proxy.Refuse(true)
	proxy.CutAll()
	if e := tl.next(Lost); e.Why == "" {
		t.Errorf("%+v", e)
	}
	must(t, c.Set(t.Context(), "b", "v"))
	proxy.Refuse(false)
	tl.next(Subscribed)
	must(t, c.Set(t.Context(), "c", "v"))
	if e := tl.next(Gap); e.Missed == nil || *e.Missed != 1 {
		t.Errorf("%+v", e)
	}
	proxy.BlackHole(true)
	if e := tl.next(Lost); !strings.Contains(e.Why, "does not answer") {
		t.Errorf("half-open: %+v", e)
	}
	proxy.BlackHole(false)
	if s := tl.stop(); s.Losses < 2 || s.Gaps != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTailOptions(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	for _, o := range []TailOptions{
		{},
		{Namespace: "a:b"},
		{Namespace: "a", Key: "k"},
		{Namespace: "a", Cache: "c"},
		{Namespace: "a", Cache: "c:", Key: "k"},
		{Namespace: "a", Count: -1},
		{Namespace: "a", Since: "yesterday"},
		{Namespace: "a", Since: "-1h"},
	} {
		if _, err := Tail(t.Context(), rdb, o, nil); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	gone := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer gone.Close()
	if _, err := Tail(t.Context(), gone, TailOptions{Namespace: "a"}, nil); err == nil {
		t.Error("an absent Redis was followed")
	}
}

func TestEventText(t *testing.T) {
	t.Parallel()
	m := invalidation.Message{Type: invalidation.TypeKeys, ID: 5 << 20, Previous: 4 << 20, Publisher: 7, Trace: make([]byte, 25), Hashes: make([]uint64, 9)}
	e := messageEvent(3, m, time.UnixMilli(9), time.Millisecond, false)
	text := e.Text()
	for _, want := range []string{"lane 3", "5-0", "keys", "9: 0000", "…", "by 0000000000000007", "trace 0000", "lag 5.0 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not tell %q", text, want)
		}
	}
	if b, err := json.Marshal(e); err != nil || strings.Count(string(b), `"0000000000000000"`) != 9 {
		t.Errorf("%s, %v: want all hashes", b, err)
	}
	lost := Event{What: Lost, Why: "\x1b[2J"}
	if strings.Contains(lost.Text(), "\x1b") {
		t.Errorf("%q", lost.Text())
	}
}

func FuzzStoredMessage(f *testing.F) {
	f.Add([]byte{}, uint64(1), uint64(2))
	m := invalidation.Message{Type: invalidation.TypeKeys, Hashes: []uint64{1}}
	if b, err := m.Append(nil); err == nil {
		f.Add(append(b[:2:2], b[2+2*lane.WireSize:]...), uint64(1), uint64(2))
		f.Add(b, uint64(0), uint64(0))
	}
	f.Fuzz(func(_ *testing.T, data []byte, previous, id uint64) {
		if m, err := fromStream(data, lane.ID(previous), lane.ID(id)); err == nil {
			e := messageEvent(0, m, time.Now(), 0, true)
			e.Text()
		}
		place(data)
		payloadOf("k", data, false, true)
		payloadOf("k", data, true, true)
	})
}
