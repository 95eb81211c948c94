package invalidation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/push"

	"github.com/doppio-cache/doppio/internal/redistest"
)

const (
	trackingPatience = time.Minute      // for what must happen
	trackingSlack    = 10 * time.Second // what a loaded machine may add to a time that is otherwise bounded
	trackingPrefix   = "ns:"
	trackingBackoff  = 200 * time.Millisecond
)

// trackingNote is one call of the TrackingHandler.
type trackingNote struct {
	what string // its method
	at   time.Time
	keys []string
	err  error
}

type trackingNotes struct {
	telling atomic.Bool
	mu      sync.Mutex
	all     []trackingNote
}

func (n *trackingNotes) note(e trackingNote) {
	if !n.telling.CompareAndSwap(false, true) {
		panic("the handler is told two things at a time")
	}
	defer n.telling.Store(false)
	n.mu.Lock()
	defer n.mu.Unlock()
	e.at = time.Now()
	n.all = append(n.all, e)
}

func (n *trackingNotes) OnTrackedKeys(keys []string) {
	n.note(trackingNote{what: "tracked", keys: keys})
}
func (n *trackingNotes) OnTrackingLost(err error) { n.note(trackingNote{what: "lost", err: err}) }
func (n *trackingNotes) OnTracking()              { n.note(trackingNote{what: "tracking"}) }

func (n *trackingNotes) only(match func(trackingNote) bool) []trackingNote {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.all), func(e trackingNote) bool { return !match(e) })
}

// await waits until count calls match, and gives the last of them.
func (n *trackingNotes) await(t *testing.T, count int, match func(trackingNote) bool) trackingNote {
	t.Helper()
	redistest.Eventually(t, trackingPatience, func() error {
		if got := len(n.only(match)); got < count {
			return fmt.Errorf("told %d times, want %d: %+v", got, count, n.last(5))
		}
		return nil
	})
	return n.only(match)[count-1]
}

// last gives the newest calls, for messages.
func (n *trackingNotes) last(count int) []trackingNote {
	all := n.only(func(trackingNote) bool { return true })
	return all[max(0, len(all)-count):]
}

func noteOf(what string) func(trackingNote) bool {
	return func(e trackingNote) bool { return e.what == what }
}

func noteOfKey(key string) func(trackingNote) bool {
	return func(e trackingNote) bool { return slices.Contains(e.keys, key) }
}

func noteOfAll(e trackingNote) bool { return e.what == "tracked" && e.keys == nil }

// startTrackingOf tracks until the end of the test. The silence is one that tests can wait for.
func startTrackingOf(t *testing.T, rdb redis.UniversalClient, silence time.Duration) (*Tracker, *trackingNotes) {
	t.Helper()
	notes := &trackingNotes{}
	tr, err := startTracking(rdb, TrackingOptions{Prefix: trackingPrefix, Backoff: trackingBackoff, Handler: notes}, silence)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr, notes
}

func trackingDo(t *testing.T, rdb redis.UniversalClient, args ...any) {
	t.Helper()
	if err := rdb.Do(context.Background(), args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
}

// outsideSet writes a key as another program would.
func outsideSet(t *testing.T, rdb redis.UniversalClient, key string) {
	t.Helper()
	trackingDo(t, rdb, "SET", key, "v")
}

func TestTracking_tellsOfEveryWriter(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(redistest.Host, ...redistest.Option) *redistest.Server{
		"redis": redistest.Start, "valkey": redistest.StartValkey,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			out := s.Client(t)
			_, notes := startTrackingOf(t, s.Client(t), TrackingSilence)
			notes.await(t, 1, noteOf("tracking"))
			for i, c := range []struct {
				key     string
				command []any
			}{
				{"ns:a", []any{"SET", "ns:a", "1"}},
				{"ns:a", []any{"EXPIRE", "ns:a", "1000"}},
				{"ns:a", []any{"PERSIST", "ns:a"}},
				{"ns:a", []any{"INCR", "ns:a"}},
				{"ns:a", []any{"EVAL", "redis.call('del',KEYS[1])", "1", "ns:a"}},
				{"ns:h", []any{"HSET", "ns:h", "f", "v"}},
				{"ns:h", []any{"RENAME", "ns:h", "elsewhere"}},
				{"ns:h", []any{"RENAME", "elsewhere", "ns:h"}},
				{"ns:h", []any{"UNLINK", "ns:h"}},
			} {
				before := len(notes.only(noteOfKey(c.key)))
				began := time.Now()
				trackingDo(t, out, c.command...)
				e := notes.await(t, before+1, noteOfKey(c.key))
				t.Logf("%d %s: told after %v", i, c.command, e.at.Sub(began))
			}

			began := time.Now()
			trackingDo(t, out, "SET", "ns:short", "v", "PX", "100")
			notes.await(t, 1, noteOfKey("ns:short"))
			if e := notes.await(t, 2, noteOfKey("ns:short")); e.at.Sub(began) < 90*time.Millisecond {
				t.Errorf("told of the expiry after %v", e.at.Sub(began))
			} else {
				t.Logf("told of the expiry %v late", e.at.Sub(began)-100*time.Millisecond)
			}

			trackingDo(t, out, "SET", "other:a", "1")
			trackingDo(t, out, "SET", "ns", "1")
			trackingDo(t, out, "SET", "ns:last", "1")
			notes.await(t, 1, noteOfKey("ns:last"))
			for _, e := range notes.only(noteOf("tracked")) {
				for _, k := range e.keys {
					if !strings.HasPrefix(k, trackingPrefix) {
						t.Errorf("told of %q", k)
					}
				}
			}

			trackingDo(t, out, "FLUSHALL")
			notes.await(t, 1, noteOfAll)
			trackingDo(t, out, "FLUSHDB", "ASYNC")
			notes.await(t, 2, noteOfAll)
			outsideSet(t, out, "ns:after")
			notes.await(t, 1, noteOfKey("ns:after"))
			if lost := notes.only(noteOf("lost")); len(lost) > 0 {
				t.Errorf("lost: %v", lost[0].err)
			}
		})
	}
}

func TestTracking_tellsOfEvictions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithArgs("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"))
	out := s.Client(t)
	_, notes := startTrackingOf(t, s.Client(t), TrackingSilence)
	notes.await(t, 1, noteOf("tracking"))
	outsideSet(t, out, "ns:old")
	notes.await(t, 1, noteOfKey("ns:old"))
	value := strings.Repeat("v", 1000)
	redistest.Eventually(t, trackingPatience, func() error {
		for i := range 1000 {
			if err := out.Set(context.Background(), fmt.Sprint("other:", i, time.Now().UnixNano()), value, 0).Err(); err != nil {
				return err
			}
		}
		n, err := out.Exists(context.Background(), "ns:old").Result() // does not count as a use
		if err == nil && n > 0 {
			err = errors.New("not evicted yet")
		}
		return err
	})
	notes.await(t, 2, noteOfKey("ns:old"))
}

// Many keys at once come as one push.
func TestTracking_tellsOfManyKeysAtOnce(t *testing.T) {
	t.Parallel()
	const n = 200_000
	s := redistest.Start(t)
	out := s.Client(t, func(o *redis.Options) { o.ReadTimeout = trackingPatience })
	_, notes := startTrackingOf(t, s.Client(t), trackingPatience)
	notes.await(t, 1, noteOf("tracking"))
	began := time.Now()
	trackingDo(t, out, "EVAL", "for i = 1, ARGV[1] do redis.call('set', 'ns:key-with-a-longer-name:' .. i, 1) end", 0, n)
	wrote := time.Now()
	seen := make(map[string]bool)
	most := 0
	redistest.Eventually(t, trackingPatience, func() error {
		for _, e := range notes.only(noteOf("tracked")) {
			most = max(most, len(e.keys))
			for _, k := range e.keys {
				seen[k] = true
			}
		}
		if len(seen) < n {
			return fmt.Errorf("%d of %d keys", len(seen), n)
		}
		return nil
	})
	e := notes.last(1)[0]
	t.Logf("%d keys written in %v, told %v later; most at once %d", n, wrote.Sub(began), e.at.Sub(wrote), most)
	if most < n/10 {
		t.Errorf("at most %d keys at once: then this test shows little", most)
	}
	if lost := notes.only(noteOf("lost")); len(lost) > 0 {
		t.Errorf("lost: %v", lost[0].err)
	}
}

func TestTracking_comesBackAfterItWasKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	out := s.Client(t)
	_, notes := startTrackingOf(t, s.Client(t), TrackingSilence)
	for i := range 3 {
		notes.await(t, i+1, noteOf("tracking"))
		key := fmt.Sprint("ns:", i)
		outsideSet(t, out, ""+key+"")
		notes.await(t, 1, noteOfKey(key))
		if got := len(notes.only(noteOf("lost"))); got != i {
			t.Fatalf("lost %d times before kill %d", got, i)
		}
		began := time.Now()
		trackingDo(t, out, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		e := notes.await(t, i+1, noteOf("lost"))
		if took := e.at.Sub(began); took > trackingSlack {
			t.Errorf("lost after %v", took)
		}
	}
	notes.await(t, 4, noteOf("tracking"))
	all := notes.only(func(e trackingNote) bool { return e.what != "tracked" })
	for i, e := range all {
		if want := []string{"tracking", "lost"}[i%2]; e.what != want {
			t.Errorf("call %d is %s, want %s (%v)", i, e.what, want, e.err)
		}
	}
}

func TestTracking_noticesSilence(t *testing.T) {
	t.Parallel()
	const silence = 600 * time.Millisecond
	type proxy = redistest.Proxy
	for _, c := range []struct {
		name       string
		begin, end func(*redistest.Server, *proxy)
	}{
		{
			"both ways",
			func(_ *redistest.Server, p *proxy) { p.BlackHole(true) },
			func(_ *redistest.Server, p *proxy) { p.BlackHole(false) },
		},
		{
			"replies",
			func(_ *redistest.Server, p *proxy) { p.SwallowReplies(true) },
			func(_ *redistest.Server, p *proxy) { p.SwallowReplies(false) },
		},
		{
			"replies held",
			func(_ *redistest.Server, p *proxy) { p.HoldReplies() },
			func(_ *redistest.Server, p *proxy) { p.ReleaseReplies() },
		},
		{
			"server stopped",
			func(s *redistest.Server, _ *proxy) { s.Pause() },
			func(s *redistest.Server, _ *proxy) { s.Resume() },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p := redistest.NewProxy(t, s.Addr)
			_, notes := startTrackingOf(t, s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() }), silence)
			notes.await(t, 1, noteOf("tracking"))
			began := time.Now()
			c.begin(s, p)
			e := notes.await(t, 1, noteOf("lost"))
			took := e.at.Sub(began)
			t.Logf("lost after %v: %v", took, e.err)
			if took > silence*3/2+trackingSlack {
				t.Errorf("lost after %v", took)
			}
			notes.await(t, 2, noteOf("lost")) // so is the next attempt
			c.end(s, p)
			out := s.Client(t)
			redistest.Eventually(t, trackingPatience, func() error {
				outsideSet(t, out, "ns:after")
				if len(notes.only(noteOfKey("ns:after"))) == 0 {
					return errors.New("not told")
				}
				return nil
			})
			if len(notes.only(noteOf("tracking"))) < 2 {
				t.Error("told of a key without Tracking")
			}
		})
	}
}

// A connection that ends is lost at once, whatever a new one would take.
func TestTracking_noticesAnEndAtOnce(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	_, notes := startTrackingOf(t, s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() }), time.Minute)
	notes.await(t, 1, noteOf("tracking"))
	p.BlackHole(true)
	began := time.Now()
	p.CutAll()
	if took := notes.await(t, 1, noteOf("lost")).at.Sub(began); took > trackingSlack {
		t.Errorf("lost after %v", took)
	}
}

func TestTracking_readsInvalidations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		push    []any
		tracked [][]string
		broken  bool
	}{
		{"keys", []any{"invalidate", []any{"a", "b"}}, [][]string{{"a", "b"}}, false},
		{"flush", []any{"invalidate", nil}, [][]string{nil}, false},
		{"no keys", []any{"invalidate", []any{}}, nil, false},
		{"no list", []any{"invalidate", "a"}, nil, true},
		{"no key", []any{"invalidate", []any{"a", int64(1)}}, nil, true},
		{"short", []any{"invalidate"}, nil, true},
		{"long", []any{"invalidate", nil, nil}, nil, true},
	} {
		notes := &trackingNotes{}
		ctx, cancel := context.WithCancelCause(t.Context())
		conn := &trackingConn{Tracker: &Tracker{opts: TrackingOptions{Handler: notes}}, cancel: cancel}
		if err := conn.HandlePushNotification(ctx, push.NotificationHandlerContext{}, c.push); err != nil {
			t.Errorf("%s, before Tracking: %v", c.name, err)
		}
		conn.enabled = true
		err := conn.HandlePushNotification(ctx, push.NotificationHandlerContext{}, c.push)
		if broken := errors.Is(err, errTrackingPush); broken != c.broken || broken != errors.Is(context.Cause(ctx), errTrackingPush) {
			t.Errorf("%s: %v, and the connection ends with %v", c.name, err, context.Cause(ctx))
		}
		var got [][]string
		for _, e := range notes.only(noteOf("tracked")) {
			got = append(got, e.keys)
		}
		if !reflect.DeepEqual(got, c.tracked) {
			t.Errorf("%s: told of %v, want %v", c.name, got, c.tracked)
		}
		cancel(nil)
	}
}

// The words with which Redis refused reach the handler each time, and attempts get rarer.
func TestTracking_reportsARefusalEachTime(t *testing.T) {
	t.Parallel()
	old := redistest.Start(t, redistest.WithArgs("--rename-command", "HELLO", "no-such-command"))
	denied := redistest.Start(t, redistest.WithACLUser("notracking", "pw", "~*", "&*", "+@all", "-client|tracking"))
	down := redistest.Start(t)
	down.Stop()
	for _, c := range []struct {
		name string
		rdb  *redis.Client
		want string
	}{
		{"miniredis", redistest.Miniredis(t).Client(t), "TRACKING"},
		{"RESP2 only", old.Client(t), "HELLO 3: ERR unknown command"},
		{"permission", denied.ClientAs(t, "notracking", "pw"), "CLIENT TRACKING: NOPERM"},
		{"no server", down.Client(t), "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, notes := startTrackingOf(t, c.rdb, TrackingSilence)
			const attempts = 9
			notes.await(t, attempts, noteOf("lost"))
			lost := notes.only(noteOf("lost"))
			for _, e := range lost {
				if !strings.Contains(e.err.Error(), c.want) {
					t.Errorf("lost: %v", e.err)
				}
			}
			t.Log(lost[0].err)
			// 4, 8, 16, 32, 64, 128, 200, 200 ms, each at least by half.
			if took := lost[attempts-1].at.Sub(lost[0].at); took < 326*time.Millisecond {
				t.Errorf("%d attempts in %v", attempts, took)
			}
			if n := len(notes.only(noteOf("tracking"))); n > 0 {
				t.Errorf("tracking was told %d times", n)
			}
		})
	}
}

// The connection is derived whatever the client is.
func TestTracking_ofAnyClient(t *testing.T) {
	t.Parallel()
	plain := redistest.Start(t)
	safe := redistest.Start(t, redistest.WithTLS(), redistest.WithPassword("pw"))
	var greeted atomic.Int64
	for _, c := range []struct {
		name string
		s    *redistest.Server
		opts func(*redis.Options)
	}{
		{"RESP2", plain, func(o *redis.Options) { o.Protocol = 2 }},
		{"client-side cache", plain, func(o *redis.Options) { o.Protocol = 3; o.ClientSideCacheConfig = &redis.ClientSideCacheConfig{} }},
		{"another database", plain, func(o *redis.Options) { o.DB = 3 }},
		{"idle connections", plain, func(o *redis.Options) { o.MinIdleConns = 2; o.PoolSize = 3 }},
		{"OnConnect", plain, func(o *redis.Options) {
			o.OnConnect = func(context.Context, *redis.Conn) error { greeted.Add(1); return nil }
		}},
		{"TLS and password", safe, func(*redis.Options) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rdb := c.s.Client(t, c.opts)
			_, notes := startTrackingOf(t, rdb, TrackingSilence)
			notes.await(t, 1, noteOf("tracking"))
			key := "ns:" + strings.ReplaceAll(c.name, " ", "-")
			outsideSet(t, c.s.Client(t), ""+key+"")
			notes.await(t, 1, noteOfKey(key))
			if lost := notes.only(noteOf("lost")); len(lost) > 0 {
				t.Errorf("lost: %v", lost[0].err)
			}
			if c.name == "OnConnect" && greeted.Load() == 0 {
				t.Error("the client's OnConnect was not called")
			}
		})
	}
}

func TestTracking_followsSentinel(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	_, notes := startTrackingOf(t, s.Client(t), TrackingSilence)
	notes.await(t, 1, noteOf("tracking"))
	outsideSet(t, s.Master().Client(t), "ns:before")
	notes.await(t, 1, noteOfKey("ns:before"))
	s.Failover(t)
	notes.await(t, 1, noteOf("lost"))
	notes.await(t, 2, noteOf("tracking"))
	outsideSet(t, s.Master().Client(t), "ns:after")
	notes.await(t, 1, noteOfKey("ns:after"))
}

func TestTracking_refusesClientsThatCannotTrack(t *testing.T) {
	t.Parallel()
	one := redis.NewClient(&redis.Options{})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	for _, rdb := range []redis.UniversalClient{one, cluster, ring} {
		t.Cleanup(func() { _ = rdb.Close() })
	}
	good := TrackingOptions{Prefix: "ns:", Handler: &trackingNotes{}}
	for _, c := range []struct {
		name string
		rdb  redis.UniversalClient
		opts TrackingOptions
		want string
	}{
		{"cluster", cluster, good, "*redis.ClusterClient"},
		{"ring", ring, good, "*redis.Ring"},
		{"nil", nil, good, "<nil>"},
		{"prefix", one, TrackingOptions{Handler: good.Handler}, "Prefix"},
		{"handler", one, TrackingOptions{Prefix: "ns:"}, "Handler"},
	} {
		tr, err := StartTracking(c.rdb, c.opts)
		if tr != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, tr, err)
		}
	}
}

// Close is prompt in any state; goleak looks for goroutines that it leaves.
func TestTracking_closesPromptlyInAnyState(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	up := func(t *testing.T, n *trackingNotes) { n.await(t, 1, noteOf("tracking")) }
	down := func(t *testing.T, n *trackingNotes) { n.await(t, 2, noteOf("lost")) }
	for _, c := range []struct {
		name   string
		before func(*redistest.Proxy)
		until  func(*testing.T, *trackingNotes)
		then   func(*redistest.Proxy)
	}{
		{name: "at once"},
		{name: "while tracking", until: up},
		{name: "in a black hole", until: up, then: func(p *redistest.Proxy) { p.BlackHole(true) }},
		{name: "after a cut", until: up, then: func(p *redistest.Proxy) { p.CutAll() }},
		{name: "between attempts", before: func(p *redistest.Proxy) { p.Refuse(true) }, until: down},
		{name: "before the confirmation", before: func(p *redistest.Proxy) { p.HoldNextReplyTo("BCAST") }},
		{name: "during the greeting", before: func(p *redistest.Proxy) { p.BlackHole(true) }},
		{name: "cut, then a greeting without answer", until: up, then: func(p *redistest.Proxy) { p.BlackHole(true); p.CutAll() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := redistest.NewProxy(t, s.Addr)
			if c.before != nil {
				c.before(p)
			}
			notes := &trackingNotes{}
			tr, err := startTracking(s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() }),
				TrackingOptions{Prefix: trackingPrefix, Handler: notes}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.until != nil:
				c.until(t, notes)
			case c.name != "at once":
				redistest.Eventually(t, trackingPatience, func() error {
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
			tr.Close()
			if took := time.Since(began); took > trackingSlack {
				t.Errorf("closed after %v", took)
			}
			count := len(notes.last(1000))
			tr.Close() // again, which does nothing
			p.CutAll()
			if now := len(notes.last(1000)); now != count {
				t.Errorf("told after Close: %+v", notes.last(now-count))
			}
		})
	}
}

func TestTracking_closeInterruptsADial(t *testing.T) {
	t.Parallel()
	dialing := make(chan struct{}, 1)
	rdb := redis.NewClient(&redis.Options{DialTimeout: time.Minute, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialing <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	tr, _ := startTrackingOf(t, rdb, time.Minute)
	<-dialing
	began := time.Now()
	tr.Close()
	if took := time.Since(began); took > trackingSlack {
		t.Errorf("closed after %v", took)
	}
}
