package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// While there are few changes, each goes at once; those that come meanwhile go with the next
// flight, with one message; and then it is as before.
func TestTogether_changesMadeMeanwhileGoWithTheNextFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		for round := range 2 { // nothing is left of the first
			keys := make([]string, 10)
			for i := range keys {
				keys[i] = fmt.Sprint("k", round, i)
				g.both(t, keys[i], "old")
			}
			before := g.told(t)
			calls := g.fill(t)
			for _, key := range keys[:7] {
				calls = append(calls, g.set(t.Context(), key, "new"))
			}
			flying := g.at(t, 1, 1)
			g.let(flying[0], passes)
			g.at(t, 1, 7)
			for _, key := range keys[7:] {
				calls = append(calls, g.set(t.Context(), key, "new"))
			}
			flying = g.at(t, 1, 7)
			g.let(flying[0], passes)
			flying = g.at(t, 7, 3)
			if told := g.told(t) - before; told != 2 {
				t.Errorf("%d messages of two changes", told)
			}
			g.let(flying[0], passes)
			g.at(t, 3)
			g.let(flying[1], passes)
			g.at(t)
			wantAll(t, calls...)
			if told := g.told(t) - before; told != 4 {
				t.Errorf("%d messages, want 4", told)
			}
			for _, key := range keys {
				g.wantLocal(t, g.client, g.c, key, "new") // it is its own
				hits := g.other.Stats().LocalHits
				wantGet(t, g.b, key, "new")
				if g.other.Stats().LocalHits != hits {
					t.Errorf("%s was local elsewhere", key)
				}
			}
			if s := g.client.Stats(); s.Pending != 0 {
				t.Errorf("%d pending", s.Pending)
			}
		}
	})
}

// While many changes come, one flight carries them; when few are left, none waits for another.
func TestTogether_noChangeWaitsAfterACrowd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		calls := g.fill(t)
		for i := range 5 {
			calls = append(calls, g.set(t.Context(), fmt.Sprint("a", i), "v"))
		}
		flying := g.at(t, 1, 1)
		g.let(flying[1], passes)
		g.let(flying[0], passes) // one was in time for the five, the other finds nobody
		flying = g.at(t, 5)
		calls = append(calls, g.set(t.Context(), "b", "v")) // it was crowded: one flight will do
		g.at(t, 5)
		g.let(flying[0], passes)
		g.at(t, 1)
		calls = append(calls, g.set(t.Context(), "c", "v")) // it is no more
		flying = g.at(t, 1, 1)
		g.let(flying[0], passes)
		g.let(flying[1], passes)
		wantAll(t, calls...)
	})
}

// Each of many callers is told what became of its own key.
func TestTogether_tellsEachDeleteItsOwnResult(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		// One lies below the floor of its cache: it counts as gone.
		check(t, g.c.Set(t.Context(), "not0", "cleared"))
		record := g.raw.Get(t.Context(), g.ns+":c:not0").Val()
		_, err := g.c.Clear(t.Context(), "")
		check(t, err)
		check(t, g.raw.Set(t.Context(), g.ns+":c:not0", record, 0).Err())
		for i := range 4 {
			g.both(t, fmt.Sprint("there", i), "v")
		}
		before := g.told(t)
		first, second := g.remove(t.Context(), "flying0"), g.remove(t.Context(), "flying1")
		flying := g.at(t, 1, 1)
		calls := make(map[string]<-chan result[bool])
		for i := range 4 {
			calls[fmt.Sprint("there", i)] = g.remove(t.Context(), fmt.Sprint("there", i))
			calls[fmt.Sprint("not", i)] = g.remove(t.Context(), fmt.Sprint("not", i))
		}
		twice := g.remove(t.Context(), "there0")
		g.at(t, 1, 1)
		g.let(flying[0], passes)
		flying = g.at(t, 1, 9)
		g.let(flying[1], passes)
		g.let(flying[0], passes)
		existed := 0
		for key, call := range calls {
			r := receive(t, key, call)
			check(t, r.err)
			switch {
			case key == "there0":
				existed += map[bool]int{true: 1}[r.v]
			case r.v != strings.HasPrefix(key, "there"):
				t.Errorf("%s existed: %v", key, r.v)
			}
		}
		r := receive(t, "the second", twice)
		if existed += map[bool]int{true: 1}[r.v]; r.err != nil || existed != 1 {
			t.Errorf("one key was removed %d times, %v", existed, r.err)
		}
		wantAll(t, first, second)
		if told := g.told(t) - before; told != 3 {
			t.Errorf("%d messages, want 3", told)
		}
		synctest.Wait() // the messages have come
		for i := range 4 {
			wantMissing(t, g.c, fmt.Sprint("there", i))
			wantMissing(t, g.b, fmt.Sprint("there", i))
		}
	})
}

// Of two values for one key in one flight, Redis has the last; neither instance keeps the other.
func TestTogether_setsOfOneKeyLeaveBothTiersAlike(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		for round := range 20 {
			g.both(t, "k", "old")
			calls := g.fill(t)
			for i := range 4 {
				calls = append(calls, g.set(t.Context(), "k", fmt.Sprint(round, i)))
				synctest.Wait()
			}
			flying := g.at(t, 1, 1)
			g.let(flying[0], passes)
			flying = g.at(t, 1, 4)
			g.let(flying[1], passes)
			g.let(flying[0], passes)
			wantAll(t, calls...)
			synctest.Wait()
			want := fmt.Sprint(round, 3)
			wantGet(t, g.c, "k", want)
			wantGet(t, g.b, "k", want)
			wantGet(t, g.c, "k", want) // as it was kept by the read
		}
	})
}

// More than a flight carries go with the next ones.
func TestTogether_aFlightCarries64Changes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		before := g.told(t)
		calls := g.fill(t)
		keys := numbered(2*64 + 24)
		for _, key := range keys {
			calls = append(calls, g.set(t.Context(), key, key))
		}
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		trips = g.at(t, 1, 64)
		g.let(trips[1], passes)
		trips = g.at(t, 1, 64)
		g.let(trips[0], passes)
		g.at(t, 64, 24)
		g.leave()
		wantAll(t, calls...)
		if told := g.told(t) - before; told != 5 {
			t.Errorf("%d messages", told)
		}
		got, err := g.b.GetMany(t.Context(), keys)
		check(t, err)
		for _, key := range keys {
			if got[key] != key {
				t.Errorf("%s is %q", key, got[key])
			}
		}
	})
}

// Changes of different lanes, and of different kinds, do not wait for each other; those of
// different caches do.
func TestTogether_lanesAndKindsDoNotWaitForEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{Lanes: 2})
		// Which lane a key has is seen from where its message goes.
		byLane := [2][]string{}
		for i := 0; len(byLane[0]) < 3 || len(byLane[1]) < 1; i++ {
			key := fmt.Sprint("key", i)
			before := g.raw.XLen(t.Context(), lane.Of(g.ns, 0).Stream).Val()
			check(t, g.c.Set(t.Context(), key, "old"))
			index := 1
			if g.raw.XLen(t.Context(), lane.Of(g.ns, 0).Stream).Val() > before {
				index = 0
			}
			byLane[index] = append(byLane[index], key)
		}
		var calls []<-chan result[bool]
		for i, call := range []func() <-chan result[bool]{
			func() <-chan result[bool] { return g.set(t.Context(), byLane[0][0], "v") },
			func() <-chan result[bool] { return g.set(t.Context(), byLane[0][1], "v") },
			func() <-chan result[bool] { return g.remove(t.Context(), byLane[0][2]) },
			func() <-chan result[bool] { return g.set(t.Context(), byLane[1][0], "v") },
		} {
			calls = append(calls, call())
			g.at(t, slices.Repeat([]int{1}, i+1)...)
		}
		another := newCache[int64](t, g.client, "another", tiered.CacheOptions{})
		other := 0
		for i := range 20 {
			before := g.told(t)
			call := async(func() (bool, error) { return false, another.Set(mark(t.Context()), fmt.Sprint(i), 5) })
			synctest.Wait()
			g.mu.Lock()
			n := len(g.held)
			g.mu.Unlock()
			calls = append(calls, call)
			if g.told(t) != before {
				t.Fatal("it passed the gate")
			}
			if n == 4 {
				other++ // it waits in the lane that is full
			}
			if n == 5 {
				break
			}
		}
		g.leave()
		wantAll(t, calls...)
		for i := range other {
			wantGet(t, newCache[int64](t, g.other, "another", tiered.CacheOptions{}), fmt.Sprint(i), 5)
		}
	})
}

// A large value shares no flight: it goes at once, whatever waits, and in a batch it has a message
// of its own.
func TestTogether_largeValuesGoAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		large := strings.Repeat("x", 100<<10)
		flying := g.fill(t)
		small := g.set(t.Context(), "small", "v")
		g.at(t, 1, 1)
		alone := g.set(t.Context(), "large", large)
		trips := g.at(t, 1, 1, 1)
		g.let(trips[2], passes)
		wantAll(t, alone)
		g.at(t, 1, 1)
		g.leave()
		wantAll(t, flying[0], flying[1], small)
		wantGet(t, g.b, "large", large)

		before := g.told(t)
		n, err := g.c.SetMany(t.Context(), []tiered.Item[string]{{Key: "a", Value: "v"}, {Key: "b", Value: "v"}, {Key: "c", Value: large}, {Key: "d", Value: large}, {Key: "e", Value: "v"}, {Key: "f", Value: "v"}})
		if told := g.told(t) - before; n != 6 || err != nil || told != 4 {
			t.Errorf("SetMany = %d, %v, with %d messages, want 4", n, err, told)
		}
		synctest.Wait()
		got, err := g.b.GetMany(t.Context(), []string{"a", "b", "c", "d", "e", "f"})
		if err != nil || len(got) != 6 || got["c"] != large || got["f"] != "v" {
			t.Errorf("GetMany = %d, %v", len(got), err)
		}
	})
}

// Each caller's token has its change.
func TestTogether_fillsEachCallersToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newRig(t, tiered.Options{})
		flying := g.fill(t)
		var tokens [3]tiered.Token
		var calls []<-chan result[bool]
		for i := range tokens {
			calls = append(calls, g.set(tiered.WithToken(t.Context(), &tokens[i]), fmt.Sprint("k", i), "new"))
		}
		trips := g.at(t, 1, 1)
		g.let(trips[0], passes)
		g.at(t, 1, 3)
		g.leave()
		wantAll(t, append(calls, flying...)...)
		for i := range tokens {
			if tokens[i].String() == (tiered.Token{}).String() {
				t.Errorf("the token of %d is empty", i)
			}
			wantGet(t, g.b.After(tokens[i]), fmt.Sprint("k", i), "new")
		}
	})
}

// changesOf are changes of the key "k" of a cache of strings, which is tagged "t".
var changesOf = map[string]func(ctx context.Context, c *tiered.Cache[string]) error{
	"Set": func(ctx context.Context, c *tiered.Cache[string]) error { return c.Set(ctx, "k", "new") },
	"SetMany": func(ctx context.Context, c *tiered.Cache[string]) error {
		_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "k", Value: "new"}, {Key: "k2", Value: "new"}})
		return err
	},
	"Delete": func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Delete(ctx, "k"); return err },
	"DeleteMany": func(ctx context.Context, c *tiered.Cache[string]) error {
		_, err := c.DeleteMany(ctx, []string{"k", "k2"})
		return err
	},
	"InvalidateTags": func(ctx context.Context, c *tiered.Cache[string]) error { return c.InvalidateTags(ctx, "t", "t2") },
	"Expire": func(ctx context.Context, c *tiered.Cache[string]) error {
		_, err := c.Expire(ctx, "k", time.Hour)
		return err
	},
}

// A local copy is served while a change of its key is under way, here and elsewhere, and not after
// the change has returned, however it went.
func TestCoherence_copyIsServedUntilAChangeReturns(t *testing.T) {
	for name, change := range changesOf {
		for how, v := range map[string]verdict{"made": passes, "not sent": unsent, "reply lost": lost} {
			t.Run(name+", "+how, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					g := newRig(t, tiered.Options{})
					check(t, g.c.Set(t.Context(), "k", "old", tiered.Tags("t")))
					check(t, change(t.Context(), g.c)) // the server knows the script
					check(t, g.c.Set(t.Context(), "k", "old", tiered.Tags("t")))
					synctest.Wait()
					wantGet(t, g.b, "k", "old")
					wantGet(t, g.c, "k", "old")
					call := async(func() (bool, error) { return false, change(mark(t.Context()), g.c) })
					synctest.Wait()
					g.mu.Lock()
					held := slices.Clone(g.held)
					g.mu.Unlock()
					if len(held) != 1 {
						t.Fatalf("%d trips at the gate", len(held))
					}
					for range 3 {
						g.wantLocal(t, g.client, g.c, "k", "old")
						g.wantLocal(t, g.other, g.b, "k", "old")
					}
					g.let(held[0], v)
					g.leave() // an Expire asks for tags, too
					err := receive(t, "the change", call).err
					if (err == nil) != (how == "made") {
						t.Fatalf("error %v", err)
					}
					before := g.client.Stats().LocalHits
					got, err := g.c.Get(t.Context(), "k")
					switch {
					case name == "Expire": // the value stays, as it is
						if hits := g.client.Stats().LocalHits; hits != before {
							t.Error("its life is still the old one's")
						}
					case got == "old" && err == nil:
						t.Error("it is served still")
					case how == "made" && strings.HasPrefix(name, "Set") && got != "new":
						t.Errorf("Get = %q, %v", got, err)
					}
				})
			})
		}
	}
}

// Many callers change keys in several lanes and caches of a real server: all changes are made, and
// told to other instances by few messages.
func TestTogether_makesTheChangesOfManyCallers(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 6
	ctx := t.Context()
	o := tiered.Options{Namespace: namespace(t), Lanes: 2}
	p := redistest.NewProxy(t, shared.Addr)
	client, other := coherent(t, shared.Client(t, func(r *redis.Options) { r.Addr = p.Addr(); r.PoolSize = 2 * callers }), o), coherent(t, shared.Client(t), o)
	raw := shared.Client(t)
	var caches, elsewhere [2]*tiered.Cache[string]
	for i := range caches {
		caches[i], elsewhere[i] = newCache[string](t, client, fmt.Sprint("c", i), tiered.CacheOptions{}), newCache[string](t, other, fmt.Sprint("c", i), tiered.CacheOptions{})
	}
	keyOf := func(caller, n int) string { return fmt.Sprintf("k%d-%d", caller, n) }
	for i, c := range caches {
		var items []tiered.Item[string]
		var keys []string
		for caller := range callers {
			for n := range each {
				items = append(items, tiered.Item[string]{Key: keyOf(caller, n), Value: "old"})
				keys = append(keys, keyOf(caller, n))
			}
		}
		_, err := c.SetMany(ctx, items)
		check(t, err)
		_, err = elsewhere[i].GetMany(ctx, keys)
		check(t, err)
	}
	p.Delay(time.Millisecond)
	told := func() int64 {
		return raw.XLen(ctx, lane.Of(o.Namespace, 0).Stream).Val() + raw.XLen(ctx, lane.Of(o.Namespace, 1).Stream).Val()
	}
	before := told()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			<-start
			c := caches[caller%2]
			for n := range each {
				key := keyOf(caller, n)
				if n%3 == 2 {
					existed, err := c.Delete(ctx, key)
					again, err2 := c.Delete(ctx, key)
					if !existed || again || err != nil || err2 != nil {
						t.Errorf("Delete of %s: %v, %v, %v, %v", key, existed, err, again, err2)
					}
					if got, err := c.Get(ctx, key); !errors.Is(err, tiered.ErrNotFound) {
						t.Errorf("after Delete %s is %q, %v", key, got, err)
					}
					continue
				}
				if err := c.Set(ctx, key, "new "+key); err != nil {
					t.Errorf("Set of %s: %v", key, err)
				}
				if got, err := c.Get(ctx, key); err != nil || got != "new "+key {
					t.Errorf("after Set %s is %q, %v", key, got, err)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	const changes = callers * (each + each/3)
	if n := told() - before; n > changes/3 {
		t.Errorf("%d messages of %d changes", n, changes)
	} else {
		t.Logf("%d messages of %d changes", n, changes)
	}
	p.Delay(0)
	for caller := range callers {
		for n := range each {
			c, key := elsewhere[caller%2], keyOf(caller, n)
			eventually(t, key+" is what it was made", func() bool {
				got, err := c.Get(ctx, key)
				return n%3 == 2 && errors.Is(err, tiered.ErrNotFound) || n%3 != 2 && err == nil && got == "new "+key
			})
			if n%3 != 2 {
				hits := client.Stats().LocalHits
				wantGet(t, caches[caller%2], key, "new "+key)
				if client.Stats().LocalHits == hits {
					t.Errorf("%s is not local where it was set", key)
				}
			}
		}
	}
	if s := client.Stats(); s.Pending != 0 {
		t.Errorf("%d pending", s.Pending)
	}
}
