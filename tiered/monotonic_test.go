package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

const trapped = "key-of-trap"

// pastSelf is an instance some of whose reads are slow, and whose change of the key was made and
// not acknowledged: so nothing but its own reads tells it what is new.
type pastSelf struct {
	proxy  *redistest.Proxy
	client *tiered.Client
	cache  *tiered.Cache[string]
}

func newPastSelf(t *testing.T, o tiered.CacheOptions, old ...tiered.EntryOption) *pastSelf {
	t.Helper()
	p, client, _, raw := behindProxy(t, tiered.Options{MaxStaleness: time.Hour})
	s := &pastSelf{p, client, newCache[string](t, client, "c", o)}
	// The server learns the scripts: the replies that are held shall be those of the changes.
	check(t, raw.Set(t.Context(), "another", "", tiered.Tags("another")))
	check(t, raw.InvalidateTags(t.Context(), "another"))
	_, err := raw.Delete(t.Context(), "another")
	check(t, err)
	eventually(t, "that is heard of", func() bool { return client.Stats().Invalidations == 3 })
	check(t, raw.Set(t.Context(), trapped, "old", old...))
	eventually(t, "the first value is heard of", func() bool { return client.Stats().Invalidations == 4 })
	rdb := shared.Client(t)
	begin, err := rdb.Time(t.Context()).Result()
	check(t, err)
	eventually(t, "the server's clock goes on", func() bool {
		now, err := rdb.Time(t.Context()).Result()
		return err == nil && now.Sub(begin) > 2*time.Millisecond
	})
	return s
}

// change makes a change whose reply is held, and returns what releases it and waits for its end.
func (s *pastSelf) change(t *testing.T, call func(context.Context) error) (finish func()) {
	t.Helper()
	trap := s.proxy.HoldNextReplyTo(trapped)
	done := async(func() (struct{}, error) { return struct{}{}, call(t.Context()) })
	await(t, "the change is made", trap.Sprung())
	return func() {
		trap.Release()
		check(t, receive(t, "the change", done).err)
	}
}

// the changes of the trapped key, with what reads of it give afterwards
var changesOfTrapped = map[string]struct {
	make func(c *tiered.Cache[string]) func(context.Context) error
	want string // "": not found
}{
	"replaced": {func(c *tiered.Cache[string]) func(context.Context) error {
		return func(ctx context.Context) error { return c.Set(ctx, trapped, "new") }
	}, "new"},
	"deleted": {func(c *tiered.Cache[string]) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.Delete(ctx, trapped); return err }
	}, ""},
}

func saysNoSuchThing(context.Context) (string, error) { return "", tiered.ErrNotFound }

// the ways to read the trapped key: "" is not found
var readsOfTrapped = map[string]func(context.Context, *tiered.Cache[string]) (string, error){
	"Get": func(ctx context.Context, c *tiered.Cache[string]) (string, error) { return c.Get(ctx, trapped) },
	"GetMany": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		m, err := c.GetMany(ctx, []string{trapped, "other"})
		return m[trapped], err
	},
	"GetOrSet": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		return c.GetOrSet(ctx, trapped, saysNoSuchThing)
	},
	"GetOrSet by a flight": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		return c.GetOrSet(ctx, trapped, saysNoSuchThing, tiered.SoftTimeout(time.Hour))
	},
	"GetOrSetMany": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		m, err := c.GetOrSetMany(ctx, []string{trapped}, func(context.Context, []string) (map[string]string, error) { return nil, nil })
		return m[trapped], err
	},
}

// those of them that others can join from the beginning
var flies = map[string]bool{"GetOrSet by a flight": true, "GetOrSetMany": true}

func wantRead(t *testing.T, what, want string, got result[string]) {
	t.Helper()
	if got.v != want || got.err != nil && (want != "" || !errors.Is(got.err, tiered.ErrNotFound)) {
		t.Fatalf("%s: %q, %v, want %q", what, got.v, got.err, want)
	}
}

// A read of the old record that ends after a read of the new one leaves no local copy of the old one behind.
func TestMonotonicReads_slowReadDoesNotReplaceANewerCopy(t *testing.T) {
	t.Parallel()
	for change, ch := range changesOfTrapped {
		for slow, readSlowly := range readsOfTrapped {
			for fast, readFast := range readsOfTrapped {
				if flies[slow] && (flies[fast] || fast == "GetOrSet") {
					continue // the one joins the flight of the other
				}
				t.Run(fmt.Sprintf("%s/%s while %s is slow", change, fast, slow), func(t *testing.T) {
					t.Parallel()
					s := newPastSelf(t, tiered.CacheOptions{})
					trap := s.proxy.HoldNextReplyTo(trapped)
					past := async(func() (string, error) { return readSlowly(t.Context(), s.cache) })
					await(t, "the slow read has its record", trap.Sprung())
					finish := s.change(t, ch.make(s.cache))
					v, err := readFast(t.Context(), s.cache)
					wantRead(t, "the fast read", ch.want, result[string]{v, err})
					trap.Release()
					receive(t, "the slow read", past) // which may give either
					before := s.client.Stats().LocalHits
					v, err = s.cache.Get(t.Context(), trapped)
					wantRead(t, "a read after both", ch.want, result[string]{v, err})
					if ch.want != "" && s.client.Stats().LocalHits == before {
						t.Error("the newer copy is not there any more")
					}
					finish()
				})
			}
		}
	}
}

// Of two slow reads the one with the newer record wins, whichever ends first; a call that asks for
// presence only counts as well.
func TestMonotonicReads_newerOfTwoSlowReadsWins(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"the older one ends first", "the newer one ends first"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			s := newPastSelf(t, tiered.CacheOptions{})
			get := func() (string, error) { return s.cache.Get(t.Context(), trapped) }
			oldTrap := s.proxy.HoldNextReplyTo(trapped)
			older := async(get)
			await(t, "the first read has its record", oldTrap.Sprung())
			finish := s.change(t, changesOfTrapped["replaced"].make(s.cache))
			newTrap := s.proxy.HoldNextReplyTo(trapped)
			newer := async(get)
			await(t, "the second read has its record", newTrap.Sprung())
			if first == "the older one ends first" {
				oldTrap.Release()
				wantRead(t, "the older read", "old", receive(t, "the older read", older))
				newTrap.Release()
				wantRead(t, "the newer read", "new", receive(t, "the newer read", newer))
			} else {
				newTrap.Release()
				wantRead(t, "the newer read", "new", receive(t, "the newer read", newer))
				oldTrap.Release()
				receive(t, "the older read", older)
			}
			before := s.client.Stats().LocalHits
			wantGet(t, s.cache, trapped, "new")
			if s.client.Stats().LocalHits == before {
				t.Error("the newer copy is not there any more")
			}
			finish()
		})
	}
	for name, absent := range map[string]func(context.Context, *tiered.Cache[string]) (bool, error){
		"Exists": func(ctx context.Context, c *tiered.Cache[string]) (bool, error) {
			there, err := c.Exists(ctx, trapped)
			return !there, err
		},
		"ExistsMany": func(ctx context.Context, c *tiered.Cache[string]) (bool, error) {
			there, err := c.ExistsMany(ctx, []string{trapped})
			return !there[trapped], err
		},
		"TTL": func(ctx context.Context, c *tiered.Cache[string]) (bool, error) {
			_, err := c.TTL(ctx, trapped)
			return errors.Is(err, tiered.ErrNotFound), nil
		},
		"Expire": func(ctx context.Context, c *tiered.Cache[string]) (bool, error) {
			there, err := c.Expire(ctx, trapped, time.Hour)
			return !there, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPastSelf(t, tiered.CacheOptions{})
			trap := s.proxy.HoldNextReplyTo(trapped)
			past := async(func() (string, error) { return s.cache.Get(t.Context(), trapped) })
			await(t, "the slow read has its record", trap.Sprung())
			finish := s.change(t, changesOfTrapped["deleted"].make(s.cache))
			if gone, err := absent(t.Context(), s.cache); err != nil || !gone {
				t.Fatalf("it is gone: %v, %v", gone, err)
			}
			trap.Release()
			receive(t, "the slow read", past)
			wantMissing(t, s.cache, trapped)
			finish()
		})
	}
}

// A read that has asked for the versions of its tags before one of them was invalidated, and ends
// after another read has found the entry invalid, leaves no copy behind.
func TestMonotonicReads_slowReadOfATaggedEntryLeavesNoCopy(t *testing.T) {
	t.Parallel()
	const tag = "tag-of-trap"
	for slow, read := range readsOfTrapped {
		t.Run(slow, func(t *testing.T) {
			t.Parallel()
			s := newPastSelf(t, tiered.CacheOptions{}, tiered.Tags(tag))
			trap := s.proxy.HoldNextReplyTo(tag)
			past := async(func() (string, error) { return read(t.Context(), s.cache) })
			await(t, "the slow read has the tag's version", trap.Sprung())
			held := s.proxy.HoldNextReplyTo(tag)
			invalidated := async(func() (struct{}, error) { return struct{}{}, s.cache.InvalidateTags(t.Context(), tag) })
			await(t, "the tag is invalidated", held.Sprung())
			wantMissing(t, s.cache, trapped)
			trap.Release()
			receive(t, "the slow read", past)
			wantMissing(t, s.cache, trapped)
			held.Release()
			check(t, receive(t, "InvalidateTags", invalidated).err)
		})
	}
}

// the ways to join a flight for the trapped key
var joinersOfTrapped = map[string]func(context.Context, *tiered.Cache[string]) (string, error){
	"GetOrSet": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		return c.GetOrSet(ctx, trapped, constant("loaded"))
	},
	"GetOrSetMany": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
		m, err := c.GetOrSetMany(ctx, []string{trapped}, func(context.Context, []string) (map[string]string, error) {
			return map[string]string{trapped: "loaded"}, nil
		})
		return m[trapped], err
	},
}

// kept in no local tier, so that callers come to flights
var notLocal = tiered.CacheOptions{LocalTTL: 1, SoftTimeout: time.Hour, HardTimeout: time.Hour}

// A caller that has seen the new record is not given the old one by a flight that read it before:
// neither does it wait for that flight.
func TestMonotonicReads_overtakenFlightIsNotJoined(t *testing.T) {
	t.Parallel()
	for name, join := range joinersOfTrapped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPastSelf(t, notLocal)
			trap := s.proxy.HoldNextReplyTo(trapped)
			past := async(func() (string, error) { return s.cache.GetOrSet(t.Context(), trapped, forbidden[string](t)) })
			await(t, "the flight has its record", trap.Sprung())
			finish := s.change(t, changesOfTrapped["replaced"].make(s.cache))
			wantGet(t, s.cache, trapped, "new")
			late := async(func() (string, error) { return join(t.Context(), s.cache) })
			wantRead(t, "a caller that came later", "new", receive(t, "a caller that came later", late))
			trap.Release()
			receive(t, "the flight", past)
			finish()
		})
	}
}

// A caller that came after others had found nothing joins a flight, since that may load; if the
// flight gives an older value, the caller begins again.
func TestMonotonicReads_callerOfAnOvertakenFlightBeginsAgain(t *testing.T) {
	t.Parallel()
	for name, join := range joinersOfTrapped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPastSelf(t, notLocal)
			trap := s.proxy.HoldNextReplyTo(trapped)
			past := async(func() (string, error) { return s.cache.GetOrSet(t.Context(), trapped, forbidden[string](t)) })
			await(t, "the flight has its record", trap.Sprung())
			finish := s.change(t, changesOfTrapped["deleted"].make(s.cache))
			wantMissing(t, s.cache, trapped)
			late := async(func() (string, error) { return join(t.Context(), s.cache) })
			eventually(t, "it has joined", func() bool { return s.client.Stats().Joined == 1 })
			trap.Release()
			wantRead(t, "the flight", "old", receive(t, "the flight", past))
			wantRead(t, "a caller that came later", "loaded", receive(t, "a caller that came later", late))
			finish()
		})
	}
}

// A load whose fill is refused leaves no local copy where others have read the record that refused
// it, and no caller that may have read it joins the load.
func TestMonotonicReads_loadDoesNotReplaceANewerCopy(t *testing.T) {
	t.Parallel()
	for name, load := range map[string]func(*tiered.Cache[string], context.Context, *blocked[string]) (string, error){
		"GetOrSet": func(c *tiered.Cache[string], ctx context.Context, b *blocked[string]) (string, error) {
			return c.GetOrSet(ctx, trapped, b.load)
		},
		"GetOrSetMany": func(c *tiered.Cache[string], ctx context.Context, b *blocked[string]) (string, error) {
			m, err := c.GetOrSetMany(ctx, []string{trapped}, b.many(trapped))
			return m[trapped], err
		},
	} {
		for _, o := range []tiered.CacheOptions{{HardTimeout: time.Hour}, notLocal} {
			t.Run(fmt.Sprint(name, ", kept locally: ", o.LocalTTL == 0), func(t *testing.T) {
				t.Parallel()
				s := newPastSelf(t, o)
				_, err := s.cache.Delete(t.Context(), trapped)
				check(t, err)
				b := newBlocked(t, "old")
				past := async(func() (string, error) { return load(s.cache, t.Context(), b) })
				await(t, "the load runs", b.running)
				finish := s.change(t, changesOfTrapped["replaced"].make(s.cache))
				wantGet(t, s.cache, trapped, "new")
				late := async(func() (string, error) { return s.cache.GetOrSet(t.Context(), trapped, forbidden[string](t)) })
				wantRead(t, "a caller that came later", "new", receive(t, "a caller that came later", late))
				b.letGo()
				wantRead(t, "the load", "old", receive(t, "the load", past))
				wantGet(t, s.cache, trapped, "new")
				finish()
			})
		}
	}
}

// A value past its life does not serve, when a load fails, a caller that came after others had read a newer one.
func TestFailSafe_isNotServedAfterANewerValue(t *testing.T) {
	t.Parallel()
	for name, join := range joinersOfTrapped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := notLocal
			o.FailSafe = time.Hour
			s := newPastSelf(t, o, tiered.TTL(time.Millisecond), tiered.FailSafe(time.Hour))
			trap := s.proxy.HoldNextReplyTo(trapped)
			b := newBlocked(t, "")
			b.err = errors.New("the source is down")
			past := async(func() (string, error) { return s.cache.GetOrSet(t.Context(), trapped, b.load) })
			await(t, "the flight has the value past its life", trap.Sprung())
			finish := s.change(t, changesOfTrapped["replaced"].make(s.cache))
			wantGet(t, s.cache, trapped, "new")
			trap.Release()
			await(t, "the load runs", b.running)
			late := async(func() (string, error) { return join(t.Context(), s.cache) })
			eventually(t, "it has joined", func() bool { return s.client.Stats().Joined == 1 })
			b.letGo()
			wantRead(t, "the first caller", "old", receive(t, "the first caller", past))
			wantRead(t, "a caller that came later", "new", receive(t, "a caller that came later", late))
			finish()
		})
	}
}

// Whatever reads overlap while a key is changed here and elsewhere: none gives less than one that
// had returned before it began.
func TestMonotonicReads_neverGoBackOnOneInstance(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	p := redistest.NewProxy(t, shared.Addr)
	client := coherent(t, shared.Client(t, func(r *redis.Options) { r.Addr = p.Addr() }), tiered.Options{Namespace: ns})
	elsewhere := newCache[string](t, coherent(t, shared.Client(t), tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), trapped, "0"))
	var top, reads atomic.Int64
	var wg sync.WaitGroup
	over := make(chan struct{})
	for name, read := range readsOfTrapped {
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					least := top.Load()
					text, err := read(t.Context(), c)
					v, parseErr := strconv.ParseInt(text, 10, 64)
					if err = errors.Join(err, parseErr); err != nil || v < least {
						t.Errorf("%s: %d, %v, after a read gave %d", name, v, err, least)
						return
					}
					for old := top.Load(); old < v && !top.CompareAndSwap(old, v); old = top.Load() {
					}
					reads.Add(1)
				}
			})
		}
	}
	for i := 1; i <= 300; i++ {
		by := c
		if i%2 == 0 {
			by = elsewhere
		}
		p.Delay(time.Duration(i%5) * time.Millisecond / 2)
		if err := by.Set(t.Context(), trapped, strconv.Itoa(i)); err != nil {
			t.Errorf("Set: %v", err)
			break
		}
	}
	close(over)
	wg.Wait()
	t.Log(reads.Load(), "reads")
}
