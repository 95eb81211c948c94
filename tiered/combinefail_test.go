package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// A caller that leaves before its change is sent leaves nothing in Redis, and its key is
// invalidated as after any change that failed.
func TestTogether_changeOfACallerThatLeftIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		g.both(t, "left", "old")
		flying := g.fill(t)
		ctx, leave := context.WithCancel(t.Context())
		stays, leaves, also := g.set(t.Context(), "stays", "v"), g.set(ctx, "left", "new"), g.set(t.Context(), "also", "v")
		g.at(t, 1, 1)
		leave()
		err := receive(t, "who leaves", leaves).err
		wantErr(t, err, context.Canceled)
		if errors.Is(err, tiered.ErrUnknownOutcome) {
			t.Errorf("error %v: it was not sent", err)
		}
		if s := g.client.Stats(); s.Pending == 0 && s.PendingDelivered == 0 {
			t.Error("nothing is pending, nor was it made up for")
		}
		if got, err := g.c.Get(t.Context(), "left"); err == nil {
			t.Errorf("Get = %q: it was replaced in the source", got)
		}
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		trips = g.at(t, 1, 2)
		if slices.Contains(trips[1].keys, "left") {
			t.Errorf("sent %q", trips[1].keys)
		}
		g.let(trips[0], passes)
		g.let(trips[1], passes)
		wantAll(t, flying[0], flying[1], stays, also)
		eventually(t, "it is repaired", func() bool { return g.client.Stats().Pending == 0 })
		synctest.Wait()
		wantMissing(t, g.c, "left")
		wantMissing(t, g.b, "left")
		wantGet(t, g.b, "stays", "v")
		wantGet(t, g.b, "also", "v")
	})
}

// When all callers leave a flight, it is not sent, and nothing stays behind.
func TestTogether_flightThatAllCallersLeftIsNotMade(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		flying := g.fill(t)
		ctx, leave := context.WithCancel(t.Context())
		var gone []<-chan result[bool]
		for i := range 5 {
			gone = append(gone, g.set(ctx, fmt.Sprint("gone", i), "v"))
		}
		trips := g.at(t, 1, 1)
		leave()
		for _, call := range gone {
			wantErr(t, receive(t, "who leaves", call).err, context.Canceled)
		}
		// Whoever has left already does not even wait.
		err := receive(t, "who has left", g.set(ctx, "gone", "v")).err
		wantErr(t, err, context.Canceled)
		if errors.Is(err, tiered.ErrUnknownOutcome) {
			t.Errorf("error %v: it was not sent", err)
		}
		g.let(trips[0], passes)
		g.let(trips[1], passes)
		g.at(t)
		wantAll(t, flying[0], flying[1])
		for i := range gone {
			if n := g.raw.Exists(t.Context(), fmt.Sprintf("%s:c:gone%d", g.ns, i)).Val(); n != 0 {
				t.Errorf("gone%d was stored", i)
			}
		}
		flying = g.fill(t) // both may fly again
		g.leave()
		wantAll(t, flying[0], flying[1])
	})
}

// A call whose context has ended sends nothing, not even as the one that begins a flight for
// others.
func TestTogether_endedContextSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		flying := g.fill(t)
		for range 50 {
			for _, call := range []<-chan result[bool]{g.set(ended, "k", "v"), g.remove(ended, "k")} {
				if err := receive(t, "who has left", call).err; !errors.Is(err, context.Canceled) || errors.Is(err, tiered.ErrUnknownOutcome) {
					t.Fatalf("error %v", err)
				}
			}
		}
		g.at(t, 1, 1)
		g.leave()
		wantAll(t, flying[0], flying[1])
	})
}

// A caller that leaves while its change is being made does not know what becomes of it. The change
// is made, as the others' are.
func TestTogether_flightGoesOnWithoutACallerThatLeaves(t *testing.T) {
	for name, c := range map[string]struct{ first, stays bool }{
		"the first of them": {true, true}, "another": {false, true}, "the first of them, in a goroutine": {true, false}, "another, in a goroutine": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				g := newRig(t, tiered.Options{}, func(o *redis.Options) { o.ContextTimeoutEnabled = c.stays }) // its calls stay with their caller, or may be left
				g.both(t, "left", "old")
				flying := g.fill(t)
				ctx, leave := context.WithCancel(t.Context())
				var calls []<-chan result[bool]
				begin := func(ctx context.Context, key string) <-chan result[bool] {
					call := g.set(ctx, key, "new")
					synctest.Wait()
					return call
				}
				var leaves <-chan result[bool]
				if c.first {
					leaves = begin(ctx, "left") // the round trip is made with its values, and without its end
				}
				calls = append(calls, begin(t.Context(), "stays"))
				if !c.first {
					leaves = begin(ctx, "left")
				}
				trips := g.at(t, 1, 1)
				g.let(trips[0], passes)
				trips = g.at(t, 1, 2)
				leave()
				wantErr(t, receive(t, "who leaves", leaves).err, context.Canceled, tiered.ErrUnknownOutcome)
				if n := g.client.Stats().Pending; n != 1 {
					t.Errorf("%d pending", n)
				}
				if got, err := g.c.Get(t.Context(), "left"); err == nil {
					t.Errorf("Get = %q: nobody knows what it is", got)
				}
				wantGet(t, g.b, "left", "old")
				g.let(trips[0], passes)
				g.let(trips[1], passes)
				wantAll(t, append(calls, flying...)...)
				synctest.Wait() // its message says that it was made: it is not undone
				if n := g.client.Stats().Pending; n != 0 {
					t.Errorf("%d pending still", n)
				}
				for _, c := range []*tiered.Cache[string]{g.c, g.b} {
					wantGet(t, c, "left", "new")
					wantGet(t, c, "stays", "new")
				}
			})
		})
	}
}

// The flight's message speaks for all callers that left it.
func TestTogether_oneMessageSpeaksForAllCallersThatLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		calls := g.fill(t)
		ctx, leave := context.WithCancel(t.Context())
		var gone []<-chan result[bool]
		for i := range 4 {
			gone = append(gone, g.set(ctx, fmt.Sprint("left", i), "new"))
		}
		calls = append(calls, g.set(t.Context(), "stays", "new"))
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		g.at(t, 1, 5)
		leave()
		for _, call := range gone {
			wantErr(t, receive(t, "who leaves", call).err, tiered.ErrUnknownOutcome)
		}
		if n := g.client.Stats().Pending; n != 4 {
			t.Errorf("%d pending", n)
		}
		g.leave()
		wantAll(t, calls...)
		synctest.Wait()
		if n := g.client.Stats().Pending; n != 0 {
			t.Errorf("%d pending still", n)
		}
		for i := range gone {
			wantGet(t, g.c, fmt.Sprint("left", i), "new")
		}
	})
}

// When a flight's reply is lost, no caller knows its outcome until the flight's message comes
// back; then all do.
func TestTogether_lostReplyLeavesEachOutcomeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		keys := []string{"a", "b", "c"}
		for _, key := range keys {
			g.both(t, key, "old")
		}
		flying := g.fill(t)
		var calls []<-chan result[bool]
		for _, key := range keys {
			calls = append(calls, g.set(t.Context(), key, "new"))
		}
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		trips = g.at(t, 1, 3)
		g.let(trips[1], lost)
		for _, call := range calls {
			wantErr(t, receive(t, "a call", call).err, tiered.ErrUnknownOutcome, tiered.ErrRemoteUnavailable)
		}
		g.let(trips[0], passes)
		wantAll(t, flying...)
		synctest.Wait()
		if n := g.client.Stats().Pending; n != 0 {
			t.Errorf("%d pending, though the message says that all were made", n)
		}
		for _, key := range keys {
			wantGet(t, g.c, key, "new")
			wantGet(t, g.b, key, "new")
		}
	})
}

// While Redis is gone, every caller is told, no call hangs, and every key is made up for when
// Redis is back.
func TestTogether_outageIsReportedToEachCaller(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{RetryBackoff: 10 * time.Millisecond, BreakerPause: 10 * time.Millisecond})
		keys := numbered(20)
		for _, key := range keys {
			g.both(t, key, "old")
		}
		g.both(t, "flying0", "old")
		g.both(t, "flying1", "old")
		calls := g.fill(t)
		for i, key := range keys {
			if i%2 == 0 {
				calls = append(calls, g.set(t.Context(), key, "new"))
			} else {
				calls = append(calls, g.remove(t.Context(), key))
			}
		}
		synctest.Wait()
		g.r.Down()
		g.leave()
		for i, call := range calls {
			wantErr(t, receive(t, fmt.Sprint("call ", i), call).err, tiered.ErrRemoteUnavailable)
		}
		if n := g.client.Stats().Pending; n != len(keys)+2 {
			t.Errorf("%d pending, want %d", n, len(keys)+2)
		}
		for _, key := range keys {
			if got, err := g.c.Get(t.Context(), key); err == nil {
				t.Errorf("Get(%s) = %q", key, got)
			}
		}
		g.r.Up()
		eventually(t, "all is made up for", func() bool { return g.client.Stats().Pending == 0 })
		ready(t, g.other)
		synctest.Wait() // the messages have come
		for _, key := range append(keys, "flying0", "flying1") {
			wantMissing(t, g.c, key)
			wantMissing(t, g.b, key)
		}
		check(t, g.c.Set(t.Context(), "k", "v"))
		wantGet(t, g.b, "k", "v")
	})
}

// A flight that hangs holds up no others: after a moment those that wait are made without it.
func TestTogether_changesDoNotWaitForAFlightThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		flying := g.fill(t)
		calls := []<-chan result[bool]{g.set(t.Context(), "a", "v"), g.set(t.Context(), "b", "v")}
		g.at(t, 1, 1)
		began := time.Now()
		eventually(t, "the others go", func() bool {
			synctest.Wait()
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.held) > 2
		})
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("they waited for %v", took)
		}
		trips := g.at(t, 1, 1, 2)
		g.let(trips[2], passes)
		wantAll(t, calls...)
		// And whoever comes now waits for nobody.
		call := g.set(t.Context(), "c", "v")
		trips = g.at(t, 1, 1, 1)
		g.let(trips[2], passes)
		wantAll(t, call)
		g.let(trips[0], passes)
		g.let(trips[1], passes)
		wantAll(t, flying...)
		flying = g.fill(t) // what landed late has freed no place a second time
		late := g.set(t.Context(), "d", "v")
		g.at(t, 1, 1)
		g.leave()
		wantAll(t, flying[0], flying[1], late)
	})
}

// Close ends the changes that wait; a flight that is under way ends by itself.
func TestClose_endsChangesThatWaitForAFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		flying := g.fill(t)
		group := []<-chan result[bool]{g.set(t.Context(), "a", "v"), g.set(t.Context(), "b", "v")}
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		trips = g.at(t, 1, 2)
		var waiting []<-chan result[bool]
		for i := range 5 {
			waiting = append(waiting, g.set(t.Context(), fmt.Sprint("waits", i), "v"))
		}
		g.at(t, 1, 2)
		closed := async(func() (bool, error) { return false, g.client.Close(context.Background()) })
		synctest.Wait()
		g.let(trips[0], passes)
		for _, call := range waiting {
			wantErr(t, receive(t, "who waits", call).err, tiered.ErrClosed)
		}
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed while a flight is under way")
		default:
		}
		g.let(trips[1], passes)
		wantAll(t, closed, flying[0], flying[1], group[0], group[1])
		wantErr(t, receive(t, "who comes later", g.set(t.Context(), "k", "v")).err, tiered.ErrClosed)
		for _, key := range []string{"a", "b"} {
			wantGet(t, g.b, key, "v")
		}
		wantMissing(t, g.b, "waits0")
	})
}

// Changes that wait for a flight that hangs stop waiting when the client is closed.
func TestClose_isNotHeldUpByAFlightThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		flying := g.fill(t)
		waits := g.set(t.Context(), "waits", "v")
		g.at(t, 1, 1)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, g.client.Close(short), context.DeadlineExceeded)
		select {
		case r := <-waits:
			wantErr(t, r.err, tiered.ErrClosed)
		default:
			t.Error("it waits still")
		}
		g.leave()
		wantAll(t, flying...)
	})
}

// failingPart lets what concerns one key fail, in pipelines.
type failingPart struct {
	gate
	key string
	err error
}

func (h *failingPart) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if ctx.Value(gateKey{}) == nil {
			return next(ctx, cmds)
		}
		pass := slices.DeleteFunc(slices.Clone(cmds), func(cmd redis.Cmder) bool { return slices.Contains(keysOfScript(cmd), h.key) })
		err := next(ctx, pass)
		for _, cmd := range cmds {
			if slices.Contains(keysOfScript(cmd), h.key) {
				cmd.SetErr(h.err)
				err = h.err
			}
		}
		return err
	}
}

// On a Cluster, changes made together may be made in part. The message that came for the others
// says nothing of those that failed.
func TestTogether_clusterMakesUpForEachKey(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	t.Run("none waits for another's server", func(t *testing.T) {
		g := &gate{}
		rdb := cluster.Client(t)
		rdb.AddHook(g)
		c := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: namespace(t)}), "c", tiered.CacheOptions{})
		t.Cleanup(g.leave)
		var calls []<-chan result[bool]
		for i := range 5 {
			calls = append(calls, async(func() (bool, error) { return false, c.Set(mark(t.Context()), fmt.Sprint(i), "v") }))
		}
		eventually(t, "all are on their way", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, trip := range g.held {
				if len(trip.keys) != 1 {
					t.Fatalf("one trip is for %q", trip.keys)
				}
			}
			return len(g.held) == len(calls)
		})
		g.leave()
		wantAll(t, calls...)
	})
	for name, change := range map[string]func(ctx context.Context, c *tiered.Cache[string]) error{
		"SetMany": changesOf["SetMany"], "DeleteMany": changesOf["DeleteMany"], "InvalidateTags": changesOf["InvalidateTags"],
	} {
		for how, failure := range map[string]error{"not sent": redis.ErrPoolTimeout, "reply lost": io.EOF} {
			t.Run(name+", "+how, func(t *testing.T) {
				ctx := t.Context()
				h := &failingPart{key: "k", err: failure}
				if name == "InvalidateTags" {
					h.key = "t"
				}
				h.leave()
				rdb := cluster.Client(t)
				rdb.AddHook(h)
				o := tiered.Options{Namespace: namespace(t), RetryBackoff: 20 * time.Millisecond, RemoteTimeout: 2 * time.Second}
				client := coherent(t, rdb, o)
				c := newCache[string](t, client, "c", tiered.CacheOptions{})
				_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "k", Value: "old", Tags: []string{"t"}}, {Key: "k2", Value: "old", Tags: []string{"t2"}}})
				check(t, err)
				wantGet(t, c, "k", "old")
				heard := client.Stats().Invalidations
				err = change(mark(ctx), c)
				var batch *tiered.BatchError
				if !errors.As(err, &batch) || len(batch.Failed) != 1 {
					t.Fatalf("error %v, want that of one", err)
				}
				eventually(t, "the message comes", func() bool { return client.Stats().Invalidations > heard })
				eventually(t, "it is made up for", func() bool {
					if got, err := c.Get(ctx, "k"); err == nil && got == "old" {
						t.Fatal("what was to be replaced is read")
					}
					return client.Stats().Pending == 0
				})
				wantMissing(t, c, "k")
				switch got, err := c.Get(ctx, "k2"); {
				case name == "SetMany" && got != "new", name != "SetMany" && !errors.Is(err, tiered.ErrNotFound):
					t.Errorf("the other is %q, %v", got, err)
				}
			})
		}
	}
}
