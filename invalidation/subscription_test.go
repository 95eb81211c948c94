package invalidation

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// quiet is a receiver without goroutines, with a session that is in step at id 10.
func quiet(t testing.TB, handler Handler) (*Receiver, *subscription) {
	t.Helper()
	r := &Receiver{
		opts:  Options{Namespace: "n", Handler: handler}.withDefaults(),
		names: lane.Of("n", 0), probeNowCh: make(chan struct{}, 1), newestFloor: "0-0",
	}
	s := &subscription{number: 7, cancel: func() {}, probedAt: time.Now()}
	r.sub = s
	r.seq.startSync()
	for _, c := range []string{"a", "b"} {
		if _, err := r.confirm(s, &redis.Subscription{Kind: "subscribe", Channel: c}); err != nil {
			t.Fatal(err)
		}
	}
	r.onPage(s, 0, replayPage{newest: 10, why: DropFirstSync})
	return r, s
}

// asked is an echo that was sent at a time, as it comes back.
func asked(r *Receiver, session uint64, sent time.Time, last lane.ID, floor string) string {
	return probeNonce(session, r.probes.add(sent, time.Minute, 0)) + " " + last.String() + " " + floor
}

func TestEcho_belongsToItsProbe(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	begin := time.Now().Add(-300 * time.Millisecond)
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * 100 * time.Millisecond) }
	first := asked(r, 7, at(0), 10, "0-0")
	second := asked(r, 7, at(1), 10, "0-0")
	third := asked(r, 7, at(2), 10, "0-0")
	for _, echo := range []string{
		second,                                                              // the first is late
		first,                                                               // and older than what is known
		second,                                                              // twice
		"", "hello", "7-1", "7-99 0-10 0-0", "zz-1 0-10 0-0", "7-3 0-x 0-0", // not ours
		probeNonce(8, 3) + " 0-10 0-0", // another session's
		third,
	} {
		r.onEcho(s, echo)
	}
	var sent []time.Time
	for _, e := range rec.all("trusted") {
		sent = append(sent, e.sent)
	}
	if !slices.EqualFunc(sent, []time.Time{at(1), at(2)}, time.Time.Equal) {
		t.Errorf("trusted since %v", sent)
	}
	if r.State() != StateLive {
		t.Errorf("state %v", r.State())
	}
}

func TestEcho_fromBeforeTheReplayJudgesNothing(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	old := asked(r, 7, time.Now(), 8, "0-0")
	r.seq.startSync()
	s.firstProbe = 0
	r.onPage(s, 10, replayPage{newest: 10})
	r.onEcho(s, old) // with what was the last id before the replay's
	if len(rec.all("trusted")) > 0 || len(rec.reasons()) != 1 {
		t.Errorf("told: %+v", rec.events)
	}
	r.onEcho(s, asked(r, 7, time.Now(), 10, "0-0"))
	if len(rec.all("trusted")) != 1 {
		t.Errorf("told: %+v", rec.events)
	}
}

func TestTrust_waitsForFloors(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	r.onEcho(s, asked(r, 7, time.Now(), 10, "0-5"))
	if len(rec.all("trusted")) > 0 {
		t.Fatal("trusted without the floors")
	}
	floors := map[string]uint64{"*": 5, "!": 5}
	r.onProbeReply(probeRequest{subscription: 7, number: 1}, probeReply{lanes: "1", newest: 10, newestFloor: "0-4", floors: map[string]uint64{"!": 4}}, nil)
	if len(rec.all("trusted")) > 0 {
		t.Fatal("trusted with older floors")
	}
	r.onProbeReply(probeRequest{subscription: 7, number: r.probes.add(time.Now(), time.Minute, 0)}, probeReply{lanes: "1", newest: 10, newestFloor: "0-5", floors: floors}, nil)
	if len(rec.all("trusted")) != 1 || r.State() != StateLive {
		t.Errorf("told: %+v", rec.events)
	}
}

func TestEcho_lateAnswersTellNothingOld(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	number := r.probes.add(time.Now(), time.Minute, 0)
	later := r.probes.add(time.Now(), time.Minute, 0)
	r.onProbeReply(probeRequest{subscription: 7, number: later}, probeReply{lanes: "1", newest: 12, newestFloor: "0-0"}, nil)
	r.onProbeReply(probeRequest{subscription: 7, number: number}, probeReply{lanes: "1", newest: 9, newestFloor: "0-0"}, nil)
	if learned := rec.all("learned"); len(learned) != 1 || learned[0].last != 12 {
		t.Errorf("learned: %+v", learned)
	}
	// What was asked before the history was lost tells nothing of the lane that there is now.
	number = r.probes.add(time.Now(), time.Minute, 0)
	r.onEcho(s, asked(r, 7, time.Now(), 3, "0-0"))
	r.onProbeReply(probeRequest{subscription: 7, number: number}, probeReply{lanes: "1", newest: 12, newestFloor: "0-0"}, nil)
	learned := rec.all("learned")
	if last := learned[len(learned)-1].last; last != 3 {
		t.Errorf("learned %d", last)
	}
	if r.newestFloor != "" {
		t.Error("floors of before count")
	}
}

func TestSilence_isCountedFromTheAnsweredEcho(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	sent := time.Now()
	r.onEcho(s, asked(r, 7, sent, 10, "0-0"))
	r.checkSilence(sent.Add(DefaultMaxStaleness - time.Millisecond))
	if len(rec.all("lost")) > 0 {
		t.Error("lost too early")
	}
	r.probes.lastErr = errors.New("why")
	r.checkSilence(sent.Add(DefaultMaxStaleness))
	if lost := rec.all("lost"); len(lost) != 1 || !errors.Is(lost[0].err, errSilent) || !errors.Is(lost[0].err, r.probes.lastErr) {
		t.Errorf("lost: %+v", lost)
	}
}

// go-redis connects again by itself where a command cannot be written: messages that were
// published in between are lost.
func TestSubscription_endsWithASecondConfirmation(t *testing.T) {
	r, s := quiet(t, &recorder{})
	if _, err := r.confirm(s, &redis.Subscription{Kind: "subscribe", Channel: "a"}); !errors.Is(err, errResubscribed) {
		t.Errorf("error %v", err)
	}
	for _, kind := range []string{"unsubscribe", "sunsubscribe"} {
		if _, err := r.confirm(s, &redis.Subscription{Kind: kind, Channel: "a"}); !errors.Is(err, errUnsubscribed) {
			t.Errorf("error %v", err)
		}
	}
}

func TestSubscription_tellsNothingAfterLost(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	echo := asked(r, 7, time.Now(), 10, "0-0")
	r.onEcho(s, asked(r, 7, time.Now(), 10, "0-5")) // waits for floors
	first, second := errors.New("first"), errors.New("second")
	if err := r.end(s, first); !errors.Is(err, first) {
		t.Errorf("end: %v", err)
	}
	if err := r.end(s, second); !errors.Is(err, first) {
		t.Errorf("end again: %v", err)
	}
	told := len(rec.events)
	r.onEcho(s, echo)
	r.onPublished(s, "garbage")
	r.onPublished(s, string(mustAppend(t, keys(1))))
	r.onPage(s, 10, replayPage{newest: 11, why: DropTrimmed})
	r.checkSilence(time.Now().Add(time.Hour))
	if _, err := r.confirm(s, &redis.Subscription{Kind: "subscribe", Channel: "c"}); !errors.Is(err, first) {
		t.Errorf("confirm: %v", err)
	}
	if len(rec.events) != told || rec.events[told-1].change.To != StateSuspect {
		t.Errorf("told: %+v", rec.events)
	}
	// But what the lane has is still learned, also from an echo of that session.
	r.onProbeReply(probeRequest{subscription: 7, number: 1}, probeReply{lanes: "1", newest: 12, newestFloor: "0-5", floors: map[string]uint64{"!": 5}}, nil)
	if len(rec.all("learned")) != 1 || len(rec.all("trusted")) != 0 {
		t.Errorf("told: %+v", rec.events)
	}
}

func TestReplay_ofUnreadableEntries(t *testing.T) {
	rec := &recorder{}
	r, s := quiet(t, rec)
	r.seq.startSync()
	stored := mustAppend(t, keys(5))
	good := string(stored[:offPrevious]) + string(stored[offPub:])
	r.onPage(s, 10, replayPage{newest: 13, entries: []replayEntry{{11, "?"}, {12, good}, {13, good[:9]}}})
	if !slices.Equal(rec.reasons(), []DropReason{DropFirstSync, DropUnreadable, DropUnreadable}) {
		t.Errorf("dropped for %v", rec.reasons())
	}
	got := rec.all("invalidated")
	if len(got) != 1 || got[0].msg.Previous != 11 || got[0].msg.ID != 12 || got[0].msg.Hashes[0] != 5 {
		t.Errorf("invalidated: %+v", got)
	}
	if r.Applied() != 13 {
		t.Errorf("applied %d", r.Applied())
	}
}

func TestReplay_ofRepliesThatAreNotUnderstood(t *testing.T) {
	list := []any{"1-1"}
	for _, reply := range [][]any{
		{}, {int64(1)}, {"1", "0-1"}, {"1", "x", "0-0"}, {"1", "0-1", "0-0", "x"}, {"1", "0-1", "0-0", list},
	} {
		if a, err := parseProbeReply(reply); err == nil {
			t.Errorf("%v is the answer %+v", reply, a)
		}
	}
	// A floor that cannot be read is counted: what is wrong with one name is no reason to trust
	// nothing.
	if a, err := parseProbeReply([]any{"1", "0-1", "0-0", []any{"!", "x"}}); err != nil || a.unreadable != 1 || len(a.floors) != 0 {
		t.Errorf("an unreadable floor: %+v, %v", a, err)
	}
	for _, reply := range [][]any{
		{}, {int64(1)}, {"x"}, {"0-1", int64(1)}, {"0-1", "found"}, {"0-1", "found", "x"}, {"0-1", "found", list}, {"0-1", "found", []any{"x", ""}},
	} {
		if p, err := parseReplayPage(reply, 0); err == nil {
			t.Errorf("%v is the page %+v", reply, p)
		}
	}
}

// redisDialer dials until its context ends, or the test: go-redis does not interrupt a dial of its
// pool for a caller that has left, and lets it go on to the client's DialTimeout.
func redisDialer(test context.Context, dialing chan<- struct{}) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case dialing <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
		case <-test.Done():
		}
		return nil, context.Canceled
	}
}

func TestClose_isPromptAtAnyMoment(t *testing.T) {
	const readTimeout = time.Second // of the client: what go-redis waits for a greeting, or a reply
	up := func(t *testing.T, rec *recorder) { rec.live(t) }
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
		{name: "in a black hole", until: up, then: func(p *redistest.Proxy) { p.BlackHole(true) }, bound: readTimeout},
		{name: "after a cut", until: up, then: func(p *redistest.Proxy) { p.CutAll() }},
		{name: "between attempts", before: func(p *redistest.Proxy) { p.Refuse(true) }, until: down},
		{name: "before the confirmation", before: func(p *redistest.Proxy) { p.HoldNextReplyTo("subscribe") }},
		{name: "before the replay", before: func(p *redistest.Proxy) { p.HoldNextReplyTo(scriptReplay.Hash()) }, bound: readTimeout},
		{name: "during an echo", before: func(p *redistest.Proxy) { p.HoldNextReplyTo(scriptProbe.Hash()) }, bound: readTimeout},
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
			rec := receive(t, rdb, func(o *Options) { o.MaxStaleness = time.Second; o.Backoff = 10 * time.Second })
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
			rec.receiver.Close()
			if took := time.Since(began); took > c.bound+slack {
				t.Errorf("closed after %v", took)
			}
			told := len(rec.all("trusted")) + len(rec.all("lost"))
			p.CutAll()
			rec.receiver.Close() // again, which does nothing
			if got := len(rec.all("trusted")) + len(rec.all("lost")); got != told {
				t.Errorf("told %d times after Close", got-told)
			}
		})
	}
}

// A dial that hangs is interrupted.
func TestClose_interruptsADial(t *testing.T) {
	t.Parallel()
	dialing := make(chan struct{}, 1)
	rdb := shared.Client(t, func(o *redis.Options) {
		o.DialTimeout = time.Minute
		o.Dialer = redisDialer(t.Context(), dialing)
	})
	rec := receive(t, rdb, bound(time.Minute))
	<-dialing
	began := time.Now()
	rec.receiver.Close()
	if took := time.Since(began); took > slack {
		t.Errorf("closed after %v", took)
	}
}

// raiser is the least that a handler does.
type raiser struct{ table *Table }

func (r raiser) OnMessage(_ int, m Message)            { r.table.Raise(m.Hashes...) }
func (raiser) OnDrop(int, DropReason, uint64)          {}
func (raiser) OnFloors(int, uint64, map[string]uint64) {}
func (raiser) OnTrust(int, time.Time)                  {}
func (raiser) OnLost(int, error)                       {}
func (raiser) OnState(StateChange)                     {}

func BenchmarkMessage(b *testing.B) {
	r, s := quiet(b, raiser{NewTable()})
	payload := mustAppend(b, keys(0x9E3779B97F4A7C15))
	id := lane.ID(10)
	b.ReportAllocs()
	for b.Loop() {
		places := (id + 1).AppendWire(id.AppendWire(payload[:offPrevious]))
		copy(payload, places)
		id++
		r.onPublished(s, string(payload))
	}
	if r.Applied() != uint64(id) {
		b.Errorf("applied %d of %d", r.Applied(), id)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
