package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// commandCount counts the reads of a client, and lets them wait.
type commandCount struct {
	gets  atomic.Int64
	trips atomic.Int64 // round trips that have any

	mu   sync.Mutex
	gate chan struct{} // reads wait until it is closed; nil: they do not
	at   chan struct{} // told of each read that waits
}

func (c *commandCount) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCount) note(cmds ...redis.Cmder) (reads bool) {
	for _, cmd := range cmds {
		if strings.EqualFold(cmd.Name(), "get") {
			c.gets.Add(1)
			reads = true
		}
	}
	if reads {
		c.trips.Add(1)
	}
	return reads
}

func (c *commandCount) pass() {
	c.mu.Lock()
	gate, at := c.gate, c.at
	c.mu.Unlock()
	if gate != nil {
		at <- struct{}{}
		<-gate
	}
}

func (c *commandCount) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.note(cmd) {
			c.pass()
		}
		return next(ctx, cmd)
	}
}

func (c *commandCount) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if c.note(cmds...) {
			c.pass()
		}
		return next(ctx, cmds)
	}
}

// hold makes reads wait from now on, and gives what lets them go.
func (c *commandCount) hold() (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gate := make(chan struct{})
	c.gate, c.at = gate, make(chan struct{}, 1<<10)
	return func() {
		c.mu.Lock()
		c.gate = nil
		c.mu.Unlock()
		close(gate)
	}
}

// countedReads is an instance whose commands are counted, and another that fills the remote tier, in a bubble whose time stands still.
func countedReads(t *testing.T) (count *commandCount, client *tiered.Client, c, filler *tiered.Cache[int64]) {
	t.Helper()
	count = &commandCount{}
	r := tieredtest.NewRedis(t)
	behind, plain := r.Client(), r.Client()
	t.Cleanup(func() { _, _ = behind.Close(), plain.Close() })
	behind.AddHook(count)
	o := tiered.Options{Namespace: "ns", RemoteTimeout: time.Minute}
	client = coherent(t, behind, o)
	return count, client, newCache[int64](t, client, "c", tiered.CacheOptions{}), newCache[int64](t, coherent(t, plain, o), "c", tiered.CacheOptions{})
}

func TestGet_sharesRemoteReads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		count, _, c, filler := countedReads(t)
		ctx := t.Context()
		const keys, callers = 20, 3
		for i := range keys {
			check(t, filler.Set(ctx, fmt.Sprint(i), int64(i)))
		}
		release := count.hold()
		var wg sync.WaitGroup
		before, trips := count.gets.Load(), count.trips.Load()
		get := func(i int) {
			wg.Go(func() {
				if v, err := c.Get(ctx, fmt.Sprint(i)); err != nil || v != int64(i) {
					t.Errorf("Get(%d) = %d, %v", i, v, err)
				}
			})
		}
		get(0)
		<-count.at
		get(1)
		<-count.at // two are under way
		for i := range keys {
			for range callers {
				get(i)
			}
		}
		synctest.Wait() // the others wait
		wg.Go(func() {
			if _, err := c.Get(ctx, "missing"); !errors.Is(err, tiered.ErrNotFound) {
				t.Errorf("Get of a key that is missing: %v", err)
			}
		})
		left, leave := context.WithCancel(ctx)
		gone := make(chan error, 1)
		go func() { _, err := c.Get(left, "left"); gone <- err }()
		synctest.Wait() // they wait as well
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, tiered.ErrUnknownOutcome) {
			t.Errorf("who left got %v", err)
		}
		release()
		wg.Wait()
		// Of a key that others wait for, too, there is one GET; the first two had begun before those came. Who left is not asked for.
		if n := count.gets.Load() - before; n != 2+keys+1 {
			t.Errorf("%d GETs, want %d", n, 2+keys+1)
		}
		if n := count.trips.Load() - trips; n != 3 { // two alone, and all others together
			t.Errorf("%d round trips, want 3", n)
		}
	})
}

// A read that hangs holds up no caller that comes after it for long.
func TestGet_doesNotWaitLongForAReadThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		count, _, c, filler := countedReads(t)
		ctx := t.Context()
		check(t, filler.Set(ctx, "k", 7))
		release := count.hold()
		var hanging sync.WaitGroup
		for i := range 2 {
			hanging.Go(func() { _, _ = c.Get(ctx, fmt.Sprint("hangs", i)) })
			<-count.at
		}
		count.mu.Lock()
		count.gate, count.at = nil, nil // from now on nothing is held
		count.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, time.Second) // of the bubble's
		defer cancel()
		if v, err := c.Get(within, "k"); err != nil || v != 7 {
			t.Errorf("Get behind two that hang = %d, %v", v, err)
		}
		release()
		hanging.Wait()
	})
}

// Where most keys are missing, a flight asks for the lease at once: a round trip less. Entries
// that are there are found all the same.
func TestGetOrSet_asksForTheLeaseAtOnceInAColdCache(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		count, client, c, filler := countedReads(t)
		ctx := t.Context()
		load := func(i int) func(context.Context) (int64, error) {
			return func(context.Context) (int64, error) { return int64(i), nil }
		}
		for i := range 8 {
			if v, err := c.GetOrSet(ctx, fmt.Sprint(i), load(i)); err != nil || v != int64(i) {
				t.Fatalf("GetOrSet(%d) = %d, %v", i, v, err)
			}
		}
		before := count.gets.Load()
		for i := 8; i < 16; i++ {
			if v, err := c.GetOrSet(ctx, fmt.Sprint(i), load(i)); err != nil || v != int64(i) {
				t.Fatalf("GetOrSet(%d) = %d, %v", i, v, err)
			}
			wantGet(t, filler, fmt.Sprint(i), int64(i)) // it was stored
		}
		if n := count.gets.Load() - before; n != 0 {
			t.Errorf("%d GETs for 8 keys that are missing like all before", n)
		}
		for i := range 16 {
			check(t, filler.Set(ctx, fmt.Sprint("there", i), int64(i)))
		}
		var answer tiered.Source
		for i := range 16 {
			v, err := c.GetOrSet(tiered.WithSource(ctx, &answer), fmt.Sprint("there", i), load(-1))
			if err != nil || v != int64(i) || answer != tiered.SourceRemote {
				t.Fatalf("GetOrSet of what is there = %d, %v, by %v", v, err, answer)
			}
		}
		if n := count.gets.Load() - before; n < 8 {
			t.Errorf("%d GETs for 16 keys that are there: it takes the cache for cold yet", n)
		}
		if s := client.Stats(); s.RemoteHits != 16 || s.RemoteMisses != 16 {
			t.Errorf("%d remote hits, %d remote misses, want 16 of each", s.RemoteHits, s.RemoteMisses)
		}
	})
}

// One caller of a key looks into the remote tier by itself; those that come meanwhile have a
// flight.
func TestGet_callersOfOneKeyShareAFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		count, client, c, filler := countedReads(t)
		ctx := t.Context()
		check(t, filler.Set(ctx, "k", 7))
		synctest.Wait() // this instance has heard of it: no load from before may be joined afterwards
		before := count.gets.Load()
		release := count.hold()
		var wg sync.WaitGroup
		get := func() {
			wg.Go(func() {
				v, err := c.GetOrSet(ctx, "k", func(context.Context) (int64, error) { return 0, errors.New("loaded") })
				if err != nil || v != 7 {
					t.Errorf("GetOrSet = %d, %v", v, err)
				}
			})
		}
		get()
		<-count.at
		const callers = 100
		for range callers {
			get()
		}
		<-count.at
		synctest.Wait()
		if n := client.Stats().Joined; n != callers-1 {
			t.Errorf("%d have joined the flight that one of them began", n)
		}
		release()
		wg.Wait()
		if n := count.gets.Load() - before; n != 2 {
			t.Errorf("%d GETs, want 2: the first caller's and the flight's", n)
		}
	})
}
