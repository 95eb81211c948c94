package invalidation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// slack is what a loaded machine may add to a time that is otherwise bounded.
const slack = 2 * time.Second

func TestCutConnectionIsLostAndMadeAgain(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	rec := receive(t, rdb)
	direct := shared.Client(t)
	for n := range 3 {
		rec.await(t, "subscribed", n+1)
		if got := len(rec.all("lost")); got != n {
			t.Fatalf("lost %d times before cut %d", got, n+1)
		}
		awaitArrival(t, direct, rec, uint64(n))
		p.CutAll()
		rec.await(t, "lost", n+1)
	}
	rec.await(t, "subscribed", 4)
}

func TestWhatIsPublishedInAGapIsLostAndSubscribedTells(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	rec := receive(t, rdb)
	rec.await(t, "subscribed", 1)
	p.Refuse(true)
	p.CutAll()
	rec.await(t, "lost", 1)
	direct := shared.Client(t)
	publish(t, direct, keys(7))
	gap := time.Now()
	p.Refuse(false)
	if e := rec.await(t, "subscribed", 2); e.sent.Before(gap) {
		t.Error("the new subscription claims to be older than the gap")
	}
	awaitArrival(t, direct, rec, 8)
	if slices.Contains(received(rec), 7) {
		t.Error("the message of the gap arrived: then this test shows nothing")
	}
}

// The ways a connection can go silent without an end.
func TestSilenceIsLostWithinItsBound(t *testing.T) {
	const maxSilence = 600 * time.Millisecond
	for _, c := range []struct {
		name  string
		begin func(*redistest.Server, *redistest.Proxy)
		end   func(*redistest.Server, *redistest.Proxy)
	}{
		{"both ways", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole(true) }, func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole(false) }},
		{"replies", func(_ *redistest.Server, p *redistest.Proxy) { p.SwallowReplies(true) }, func(_ *redistest.Server, p *redistest.Proxy) { p.SwallowReplies(false) }},
		{"replies held", func(_ *redistest.Server, p *redistest.Proxy) { p.HoldReplies() }, func(_ *redistest.Server, p *redistest.Proxy) { p.ReleaseReplies() }},
		{"server stopped", func(s *redistest.Server, _ *redistest.Proxy) { s.Pause() }, func(s *redistest.Server, _ *redistest.Proxy) { s.Resume() }},
		{"cut, and new connections hang", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole(true); p.CutAll() }, func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole(false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p, rdb := proxied(t, s)
			rec := receive(t, rdb, func(o *Options) { o.MaxSilence = maxSilence })
			rec.await(t, "alive", 1)
			began := time.Now()
			c.begin(s, p)
			e := rec.next(t, "lost")
			if took := e.at.Sub(began); took > maxSilence*5/4+slack {
				t.Errorf("lost after %v", took)
			}
			if alive := rec.all("alive"); alive[len(alive)-1].sent.After(e.at) {
				t.Error("alive after the silence began")
			}
			subscribed := len(rec.all("subscribed"))
			c.end(s, p)
			rec.await(t, "subscribed", subscribed+1)
			awaitArrival(t, s.Client(t), rec, 5)
		})
	}
}

func TestServerThatComesLater(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client(t)
	s.Stop()
	rec := receive(t, rdb)
	rec.await(t, "lost", 2)
	if len(rec.all("subscribed")) > 0 {
		t.Error("subscribed to a server that is not there")
	}
	s.Restart()
	rec.await(t, "subscribed", 1)
	s.Kill()
	rec.next(t, "lost")
	s.Restart()
	rec.await(t, "subscribed", 2)
	awaitArrival(t, s.Client(t), rec, 1)
}

func TestKilledSubscriberComesBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rec := receive(t, s.Client(t))
	rec.await(t, "subscribed", 1)
	if err := s.Client(t).Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	rec.await(t, "lost", 1)
	rec.await(t, "subscribed", 2)
}

// Alive(sent) promises that what was published before sent has arrived, also while replies are late, held, and
// connections are cut. What the promise begins with is the last Subscribed.
func TestAliveIsNeverLaterThanTheTruth(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	rec := receive(t, rdb, func(o *Options) { o.MaxSilence = 400 * time.Millisecond; o.Backoff = 20 * time.Millisecond })
	rec.await(t, "alive", 1)

	var done []time.Time // when the PUBLISH of each number had returned
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	direct := shared.Client(t)
	wg.Go(func() {
		for i := uint64(0); ctx.Err() == nil; i++ {
			data, err := (&Message{Type: Keys, Hashes: []uint64{i}}).Append(nil)
			if err == nil {
				err = direct.Publish(context.Background(), t.Name(), data).Err()
			}
			if err != nil {
				t.Error(err)
				return
			}
			done = append(done, time.Now())
		}
	})
	for range 3 {
		p.Delay(30 * time.Millisecond)
		rec.next(t, "alive")
		p.Delay(0)
		p.HoldReplies()
		redistest.Eventually(t, patience, func() error {
			if p.Held() == 0 {
				return errors.New("nothing is held")
			}
			return nil
		})
		p.ReleaseReplies()
		rec.next(t, "alive")
		p.CutAll()
		rec.next(t, "subscribed")
	}
	rec.next(t, "alive")
	stop()
	wg.Wait()

	rec.mu.Lock()
	defer rec.mu.Unlock()
	arrived := make(map[uint64]bool)
	first := 0 // the first number that the subscription promises
	checked := 0
	for _, e := range rec.events {
		switch e.what {
		case "subscribed":
			// What was published until the confirmation may be lost.
			first, _ = slices.BinarySearchFunc(done, e.at, time.Time.Compare)
			first++ // the one under way then may have been before
		case "invalidated":
			arrived[e.msg.Hashes[0]] = true
		case "alive":
			for i := first; i < len(done) && done[i].Before(e.sent); i++ {
				checked++
				if !arrived[uint64(i)] {
					t.Fatalf("alive since %v before it was told; message %d, published %v before that, has not arrived", e.at.Sub(e.sent), i, e.sent.Sub(done[i]))
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no promise was checked")
	}
}

func TestCloseIsPromptAtAnyMoment(t *testing.T) {
	const readTimeout = time.Second // of the client: what go-redis waits for the greeting
	up := func(t *testing.T, rec *recorder) { rec.await(t, "alive", 1) }
	down := func(t *testing.T, rec *recorder) { rec.await(t, "lost", 2) }
	for _, c := range []struct {
		name   string
		before func(*redistest.Proxy)
		until  func(*testing.T, *recorder)
		then   func(*redistest.Proxy)
		bound  time.Duration
	}{
		{name: "at once"},
		{name: "while receiving", until: up},
		{name: "in a black hole", until: up, then: func(p *redistest.Proxy) { p.BlackHole(true) }},
		{name: "after a cut", until: up, then: func(p *redistest.Proxy) { p.CutAll() }},
		{name: "between attempts", before: func(p *redistest.Proxy) { p.Refuse(true) }, until: down},
		{name: "before the confirmation", before: func(p *redistest.Proxy) { p.HoldNextReplyTo("subscribe") }},
		{name: "during the greeting", before: func(p *redistest.Proxy) { p.BlackHole(true) }, bound: readTimeout},
		{name: "cut, then a greeting without answer", until: up, then: func(p *redistest.Proxy) { p.BlackHole(true); p.CutAll() }, bound: readTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := redistest.NewProxy(t, shared.Addr)
			if c.before != nil {
				c.before(p)
			}
			rdb := shared.Client(t, func(o *redis.Options) { o.Addr = p.Addr(); o.ReadTimeout = readTimeout })
			rec := &recorder{}
			r := Start(rdb, Options{Channel: t.Name(), MaxSilence: time.Second, Backoff: 10 * time.Second, Handler: rec})
			switch {
			case c.until != nil:
				c.until(t, rec)
			case c.name != "at once":
				redistest.Eventually(t, patience, func() error {
					if p.Accepted() == 0 {
						return errors.New("no attempt yet")
					}
					return nil
				})
			}
			if c.then != nil {
				c.then(p)
			}
			began := time.Now()
			r.Close()
			if took := time.Since(began); took > c.bound+slack {
				t.Errorf("closed after %v", took)
			}
			rec.mu.Lock()
			told := len(rec.events)
			rec.mu.Unlock()
			p.CutAll()
			r.Close() // again, which does nothing
			rec.mu.Lock()
			defer rec.mu.Unlock()
			if len(rec.events) != told {
				t.Errorf("told after Close: %+v", rec.events[told:])
			}
		})
	}
}

// A dial that hangs is interrupted.
func TestCloseInterruptsADial(t *testing.T) {
	t.Parallel()
	dialing := make(chan struct{}, 1)
	rdb := shared.Client(t, func(o *redis.Options) {
		o.DialTimeout = time.Minute
		o.Dialer = redisDialer(dialing)
	})
	r := Start(rdb, Options{Channel: t.Name(), MaxSilence: time.Minute, Handler: &recorder{}})
	<-dialing
	began := time.Now()
	r.Close()
	if took := time.Since(began); took > slack {
		t.Errorf("closed after %v", took)
	}
}
