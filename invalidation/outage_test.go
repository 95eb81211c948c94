package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// slack is what a loaded machine may add to a time that is otherwise bounded.
const slack = 10 * time.Second

func TestGap_followsALostMessage(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	rec := receive(t, rdb, bound(20*time.Second)) // a busy machine is no silence
	rec.live(t)
	announce(t, rdb, keys(1))
	rec.awaitHash(t, 1)
	// Both in one step, so that no echo sees the tail first.
	pipe := rdb.TxPipeline()
	stream, channel := lane.Of(t.Name(), 0).Stream, lane.Of(t.Name(), 0).Channel
	appendScript.Eval(t.Context(), pipe, []string{stream}, channel+":nowhere", mustAppend(t, keys(2)), "0", 1)
	appendScript.Eval(t.Context(), pipe, []string{stream}, channel, mustAppend(t, keys(3)), "0", 1)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec.awaitDrops(t, DropFirstSync, DropGap)
	rec.awaitHash(t, 2) // by replay
	rec.live(t)
	id := announce(t, rdb, keys(4))
	rec.awaitHash(t, 4)
	rec.awaitDrops(t, DropFirstSync, DropGap)
	if w := rec.receiver.Applied(); w != uint64(id) {
		t.Errorf("applied %v, want %v", lane.ID(w), id)
	}
	if lost := rec.all("lost"); len(lost) > 0 {
		t.Errorf("lost: %v", lost[0].err)
	}
}

func TestEcho_noticesALostTail(t *testing.T) {
	t.Parallel()
	const maxStaleness = 2 * time.Second
	rdb := shared.Client(t)
	rec := receive(t, rdb, bound(maxStaleness))
	rec.live(t)
	lose(t, rdb, keys(1))
	acknowledged := time.Now()
	rec.awaitDrops(t, DropFirstSync, DropTailLost)
	noticed := rec.all("dropped")[1].at
	t.Logf("noticed after %v", noticed.Sub(acknowledged))
	for _, e := range rec.all("trusted") {
		if e.sent.After(acknowledged) && e.at.Before(noticed) {
			t.Errorf("an echo that was sent %v after the loss did not tell", e.sent.Sub(acknowledged))
		}
	}
	rec.awaitHash(t, 1)
	rec.live(t)
}

func TestReplay_namesTheChangesOfACut(t *testing.T) {
	for _, c := range []struct{ before, during int }{{0, 3}, {1, 0}, {1, 3}, {5, pageSize - 1}, {5, pageSize}, {5, 2*pageSize + 500}} {
		t.Run(fmt.Sprintf("%d and %d", c.before, c.during), func(t *testing.T) {
			t.Parallel()
			p, rdb := proxied(t, shared)
			rec := receive(t, rdb)
			rec.live(t)
			direct := shared.Client(t)
			var id lane.ID
			var want []uint64
			for range c.before {
				want = append(want, uint64(len(want)))
				id = announce(t, direct, keys(want[len(want)-1]))
			}
			p.Refuse(true)
			p.CutAll()
			rec.await(t, "lost", 1)
			for range c.during {
				want = append(want, uint64(len(want)))
				id = announce(t, direct, keys(want[len(want)-1]))
			}
			p.Refuse(false)
			rec.live(t)
			last := uint64(len(want))
			id = max(id, announce(t, direct, keys(last)))
			rec.awaitHash(t, last)
			rec.awaitDrops(t, DropFirstSync)
			got := slices.Compact(slices.Sorted(slices.Values(rec.received())))
			if !slices.Equal(got, append(want, last)) {
				t.Errorf("received %d messages, want %d", len(got), len(want)+1)
			}
			if w := rec.receiver.Applied(); w != uint64(id) {
				t.Errorf("applied %v, want %v", lane.ID(w), id)
			}
			for _, e := range rec.all("invalidated") {
				if e.msg.ID == 0 || e.msg.Previous >= e.msg.ID {
					t.Fatalf("message %+v", e.msg)
				}
			}
		})
	}
}

func TestReplay_dropsAllWhenTheLaneWasTrimmed(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			s := redistest.Start(t)
			p, rdb := proxied(t, s)
			rec := receive(t, rdb)
			rec.live(t)
			direct := s.Client(t)
			for range before {
				announce(t, direct, keys(1))
				rec.awaitHash(t, 1)
			}
			p.Refuse(true)
			p.CutAll()
			rec.await(t, "lost", 1)
			const batch = 10_000 // scripts that take less than the client's timeout
			for range lane.MaxLen/batch + 1 {
				appendTo(t, direct, "nowhere", string(mustAppend(t, keys(2))), batch)
			}
			p.Refuse(false)
			rec.live(t)
			rec.awaitDrops(t, DropFirstSync, DropTrimmed)
		})
	}
}

func TestLoss_isNoticed(t *testing.T) {
	flush := func(t *testing.T, rdb *redis.Client) {
		if err := rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("noticed by an echo", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		rec := receive(t, s.Client(t))
		rec.live(t)
		direct := s.Client(t)
		announce(t, direct, keys(1))
		rec.awaitHash(t, 1)
		flush(t, direct)
		rec.awaitDrops(t, DropFirstSync, DropHistoryLost)
		announce(t, direct, keys(2))
		rec.awaitHash(t, 2)
		rec.live(t)
		rec.awaitDrops(t, DropFirstSync, DropHistoryLost)
	})
	t.Run("noticed by a message", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		rec := receive(t, s.Client(t), bound(time.Minute)) // no echo but those that are asked for
		rec.live(t)
		direct := s.Client(t)
		before := announce(t, direct, keys(1))
		rec.awaitHash(t, 1)
		flush(t, direct)
		nextMillisecond(t, direct, before) // else the new history begins with the id that the old one ended with
		id := announce(t, direct, keys(2))
		rec.awaitDrops(t, DropFirstSync, DropHistoryLost)
		drops := rec.all("dropped")
		redistest.Eventually(t, patience, func() error {
			if l := rec.all("learned"); l[len(l)-1].last != uint64(id) {
				return fmt.Errorf("learned %v, want %v", lane.ID(l[len(l)-1].last), id)
			}
			// An echo is asked for at once: the next would be too late for this.
			if l := rec.all("trusted"); l[len(l)-1].at.Before(drops[1].at) {
				return errors.New("it is not trusted again")
			}
			return nil
		})
	})
	t.Run("noticed by a replay", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		p, rdb := proxied(t, s)
		rec := receive(t, rdb)
		rec.live(t)
		direct := s.Client(t)
		announce(t, direct, keys(1))
		rec.awaitHash(t, 1)
		p.Refuse(true)
		p.CutAll()
		rec.await(t, "lost", 1)
		flush(t, direct)
		announce(t, direct, keys(2))
		p.Refuse(false)
		rec.live(t)
		rec.awaitDrops(t, DropFirstSync, DropHistoryLost)
	})
	t.Run("an older state came back, and messages were lost", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		rec := receive(t, s.Client(t))
		rec.live(t)
		direct := s.Client(t)
		stream := lane.Of(t.Name(), 0).Stream
		announce(t, direct, keys(1))
		id := announce(t, direct, keys(2))
		rec.awaitHash(t, 2)
		if err := direct.XDel(t.Context(), stream, id.String()).Err(); err != nil {
			t.Fatal(err)
		}
		lose(t, direct, keys(3)) // as a lane looks that went back by one message, and then grew
		redistest.Eventually(t, patience, func() error {
			if !slices.Contains(rec.reasons(), DropHistoryLost) {
				return fmt.Errorf("dropped for %v", rec.reasons())
			}
			return nil
		})
		rec.live(t)
	})
	t.Run("the server came back without its memory", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		rec := receive(t, s.Client(t))
		rec.live(t)
		announce(t, s.Client(t), keys(1))
		rec.awaitHash(t, 1)
		s.Kill()
		rec.await(t, "lost", 1)
		s.Restart()
		rec.live(t)
		rec.awaitDrops(t, DropFirstSync, DropHistoryLost)
	})
}

// A connection can go silent in several ways without an end.
func TestSilence_isNoticedWithinItsBound(t *testing.T) {
	const maxStaleness = 600 * time.Millisecond
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
			rec := receive(t, rdb, bound(maxStaleness))
			rec.live(t)
			began := time.Now()
			c.begin(s, p)
			e := rec.next(t, "lost")
			if took := e.at.Sub(began); took > maxStaleness+slack {
				t.Errorf("lost after %v", took)
			}
			trusted := rec.all("trusted")
			if last := trusted[len(trusted)-1].sent; e.at.Sub(last) > maxStaleness+slack {
				t.Errorf("lost %v after the last echo that came back was sent", e.at.Sub(last))
			}
			if st := rec.receiver.State(); st != StateSuspect {
				t.Errorf("state %v", st)
			}
			c.end(s, p)
			rec.live(t)
			announce(t, s.Client(t), keys(5))
			rec.awaitHash(t, 5)
		})
	}
}

// A server that may not write must not be trusted: it may be a replica, or a master that was
// replaced.
func TestTrust_isNotGivenToAReplica(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rec := receive(t, s.Client(t), bound(400*time.Millisecond))
	rec.live(t)
	direct := s.Client(t)
	if err := direct.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	replica := time.Now()
	redistest.Eventually(t, patience, func() error {
		told := 0
		for _, e := range rec.all("lost") {
			if errors.Is(e.err, errSilent) && strings.Contains(e.err.Error(), "READONLY") {
				told++
			}
		}
		if told < 3 {
			return fmt.Errorf("told %d times of %d that the server is a replica", told, len(rec.all("lost")))
		}
		return nil
	})
	for _, e := range rec.all("trusted") {
		if e.sent.After(replica) {
			t.Error("trusted a replica")
		}
	}
	if err := direct.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	rec.live(t)
	rec.awaitDrops(t, DropFirstSync)
}

// Out of memory, a server still removes; so it must still be trusted.
func TestTrust_isGivenToAServerOutOfMemory(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rec := receive(t, s.Client(t), bound(4*time.Second))
	rec.live(t)
	if err := s.Client(t).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	rec.live(t)
	rec.live(t)
	for _, e := range rec.all("lost") {
		if strings.Contains(e.err.Error(), "OOM") {
			t.Errorf("lost: %v", e.err)
		}
	}
}

func TestReceiver_learnsOfTheLaneWithoutASubscription(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithACLUser("app", "hunter2", "~*", "&nothing", "+@all"))
	direct := s.Client(t)
	id := announce(t, direct, keys(1))
	if err := direct.HSet(t.Context(), lane.Of(t.Name(), 0).Floors, "*", "3-0", "!", "3-0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := direct.Do(t.Context(), "ACL", "SETUSER", "app", "&*echo*").Err(); err != nil {
		t.Fatal(err)
	}
	rec := receive(t, s.ClientAs(t, "app", "hunter2"), bound(200*time.Millisecond))
	e := rec.await(t, "learned", 1)
	if e.last != uint64(id) || e.floors["*"] != 3<<20 {
		t.Errorf("learned %v, %v", lane.ID(e.last), e.floors)
	}
	if st := rec.receiver.State(); st != StateInit {
		t.Errorf("state %v", st)
	}
}

func TestReceiver_waitsForAServerThatComesLater(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client(t)
	s.Stop()
	rec := receive(t, rdb)
	rec.await(t, "lost", 2)
	s.Restart()
	rec.live(t)
}

func TestReceiver_comesBackAfterItWasKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rec := receive(t, s.Client(t))
	rec.live(t)
	announce(t, s.Client(t), keys(1))
	for n := range 3 {
		if err := s.Client(t).Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		announce(t, s.Client(t), keys(uint64(n+2)))
		rec.await(t, "lost", n+1)
		rec.live(t)
	}
	rec.awaitDrops(t, DropFirstSync)
	if got := slices.Compact(slices.Sorted(slices.Values(rec.received()))); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("received %v", got)
	}
}

// OnTrust(sent) promises that every change announced before sent is known, also while replies are
// late, held, connections are cut, and messages lost.
func TestTrust_isNeverLaterThanTheTruth(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	rec := receive(t, rdb, func(o *Options) { o.MaxStaleness = 400 * time.Millisecond; o.Backoff = 20 * time.Millisecond })
	rec.live(t)

	var done []time.Time // when the announcement of each number had returned
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	direct := shared.Client(t)
	names := lane.Of(t.Name(), 0)
	wg.Go(func() {
		lost := time.Now()
		pace := time.NewTicker(time.Millisecond) // with the race detector the receiver takes some thousand a second, and a fast machine makes more
		defer pace.Stop()
		for i := uint64(0); ctx.Err() == nil; i++ {
			<-pace.C
			channel := names.Channel
			if time.Since(lost) > 300*time.Millisecond {
				channel, lost = "nowhere", time.Now()
			}
			m := keys(i)
			data, err := m.Append(nil)
			if err == nil {
				err = appendScript.Run(context.Background(), direct, []string{names.Stream}, channel, data, "0", 1).Err()
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
		rec.next(t, "trusted")
		p.Delay(0)
		p.HoldReplies()
		redistest.Eventually(t, patience, func() error {
			if p.Held() == 0 {
				return errors.New("nothing is held")
			}
			return nil
		})
		p.ReleaseReplies()
		rec.next(t, "trusted")
		p.CutAll()
		rec.next(t, "lost")
		rec.next(t, "trusted")
	}
	stop()
	wg.Wait()
	rec.live(t)

	rec.mu.Lock()
	defer rec.mu.Unlock()
	arrived := make(map[uint64]bool)
	dropped := 0 // the first number that no drop covers
	checked := 0
	for _, e := range rec.events {
		switch e.what {
		case "dropped":
			dropped, _ = slices.BinarySearchFunc(done, e.at, time.Time.Compare)
		case "invalidated":
			arrived[e.msg.Hashes[0]] = true
		case "trusted":
			for i := dropped; i < len(done) && done[i].Before(e.sent); i++ {
				checked++
				if !arrived[uint64(i)] {
					t.Fatalf("trusted since %v before it was told; message %d, announced %v before that, is not known", e.at.Sub(e.sent), i, e.sent.Sub(done[i]))
				}
			}
		}
	}
	t.Logf("%d messages, %d promises checked, %d events", len(done), checked, len(rec.events))
	if checked == 0 {
		t.Error("no promise was checked")
	}
}
