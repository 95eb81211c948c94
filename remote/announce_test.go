package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/internal/topology"
)

// servers are what a lane must be the same on.
var servers = []struct {
	name  string
	start func(t *testing.T) redis.UniversalClient
}{
	{"Redis", func(t *testing.T) redis.UniversalClient {
		rdb := shared.Client(t)
		fresh(t, rdb)
		return rdb
	}},
	{"Valkey", func(t *testing.T) redis.UniversalClient { return redistest.StartValkey(t).Client(t) }},
	{"miniredis", func(t *testing.T) redis.UniversalClient { return redistest.Miniredis(t).Client(t) }},
	{"Cluster", func(t *testing.T) redis.UniversalClient { return onSharedCluster(t) }},
}

func onEachServer(t *testing.T, run func(t *testing.T, s *Store, rdb redis.UniversalClient)) {
	t.Helper()
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			rdb := server.start(t)
			s := newStore(t, rdb, func(o *Options) { o.Lanes = 2 })
			s.stragglerWait = time.Hour // a busy machine has none
			run(t, s, rdb)
		})
	}
}

func oneServer(rdb redis.UniversalClient) bool { return topology.Cluster(rdb) == nil }

// listen hears a lane as instances do: by sharded pub/sub on a Cluster.
func listen(t *testing.T, rdb redis.UniversalClient, index int) <-chan *redis.Message {
	t.Helper()
	name := lane.Of(t.Name(), index).Channel
	ps := rdb.Subscribe(t.Context())
	if oneServer(rdb) {
		must(t, ps.Subscribe(t.Context(), name))
	} else {
		must(t, ps.SSubscribe(t.Context(), name))
	}
	t.Cleanup(func() { _ = ps.Close() })
	_, err := ps.Receive(t.Context())
	must(t, err)
	return ps.Channel()
}

// entry is one message of a lane, as published or as kept.
type entry struct {
	previous, id lane.ID
	text         string
}

func heard(t *testing.T, ch <-chan *redis.Message) entry {
	t.Helper()
	select {
	case m := <-ch:
		b := []byte(m.Payload)
		if len(b) < bodyAt || b[0] != 0xC1 || b[1] != 1 && b[1] != 3 {
			t.Fatalf("published %q", b)
		}
		previous, err := lane.FromWire(b[2:])
		must(t, err)
		id, err := lane.FromWire(b[2+lane.WireSize:])
		must(t, err)
		return entry{previous, id, string(b[bodyAt:])}
	case <-time.After(patience):
		t.Fatal("the channel is silent")
		return entry{}
	}
}

// kept is what a lane holds.
func kept(t testing.TB, rdb redis.UniversalClient, namespace string, index int) []entry {
	t.Helper()
	messages, err := rdb.XRange(context.Background(), lane.Of(namespace, index).Stream, "-", "+").Result()
	must(t, err)
	var out []entry
	var previous lane.ID
	for _, m := range messages {
		id, err := lane.Parse(m.ID)
		must(t, err)
		text, ok := strings.CutPrefix(fmt.Sprint(m.Values["m"]), "\xC1\x01")
		if !ok || len(m.Values) != 1 {
			t.Fatalf("the lane holds %q", m.Values)
		}
		out = append(out, entry{previous, id, text})
		previous = id
	}
	return out
}

// mutation is what can be announced. It needs an entry under key that is a number, or none.
type mutation struct {
	name    string
	present bool
	do      func(ctx context.Context, s *Store, key string, a *Announcement) error
}

var mutations = []mutation{
	{"Set", false, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		return s.Set(ctx, key, number(1), a)
	}},
	{"SetMany", false, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		return s.SetMany(ctx, []Write{{key, number(1), a}})[0]
	}},
	{"SetIfAbsent", false, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		stored, _, err := s.SetIfAbsent(ctx, key, number(1), 0, a)
		if !stored && err == nil {
			return errors.New("not stored")
		}
		return err
	}},
	{"Increment of nothing", false, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		_, err := increment(ctx, s, key, 1, nil, number(0), 0, a)
		return err
	}},
	{"Increment", true, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		_, err := increment(ctx, s, key, 1, nil, number(0), 0, a)
		return err
	}},
	{"Expire", true, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		_, err := setTTL(ctx, s, key, time.Minute, 0, a)
		return err
	}},
	{"Delete", true, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		_, err := s.Delete(ctx, key, 0, a)
		return err
	}},
	{"DeleteMany", true, func(ctx context.Context, s *Store, key string, a *Announcement) error {
		_, errs := s.DeleteMany(ctx, deletions([]string{key}, 0, a))
		return errs[0]
	}},
	{"Announce", false, func(ctx context.Context, s *Store, _ string, a *Announcement) error { return s.Announce(ctx, a) }},
	{"RaiseFloor", false, func(ctx context.Context, s *Store, _ string, a *Announcement) error {
		return s.RaiseFloor(ctx, "cache", a)
	}},
}

// stores tells whether the mutation leaves a record of its own.
func (m mutation) stores() bool {
	return strings.HasPrefix(m.name, "Set") || m.name == "Increment of nothing"
}

// The messages that are published, the entries that the lane keeps and the ids that callers are
// told are one sequence without a gap.
func TestLane_hasAPlaceForEveryChange(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ch := listen(t, rdb, 1)
		other := newStore(t, rdb, func(o *Options) { o.Lanes = 2 })
		var want []entry
		var previous lane.ID
		for round := range 2 {
			for i, m := range mutations {
				key := fmt.Sprint(t.Name(), round, i)
				before := number(1)
				before.Stamp = 77
				if m.present {
					put(t, rdb, key, before)
				}
				a := news(m.name)
				a.Lane = 1
				must(t, m.do(t.Context(), []*Store{s, other}[i%2], key, a))
				want = append(want, entry{previous, lane.ID(a.ID), m.name})
				if a.ID <= uint64(previous) {
					t.Fatalf("%s: id %v after %v", m.name, lane.ID(a.ID), previous)
				}
				previous = lane.ID(a.ID)
				if got := heard(t, ch); got != want[len(want)-1] {
					t.Fatalf("%s: published %v, want %v", m.name, got, want[len(want)-1])
				}
				r, err := s.Get(t.Context(), key)
				switch {
				case m.stores():
					stamp := a.ID
					if !oneServer(rdb) {
						stamp = 0 // the caller's
					}
					if err != nil || r.Stamp != stamp || string(r.Payload) != "1" {
						t.Errorf("%s: the record's stamp is %x, %v, want %x", m.name, r.Stamp, err, stamp)
					}
				case m.name == "Increment" || m.name == "Expire":
					if err != nil || r.Stamp != 77 {
						t.Errorf("%s: the record's stamp is %d, %v", m.name, r.Stamp, err)
					}
				default:
					wantErr(t, err, ErrNotFound)
				}
			}
		}
		if got := kept(t, rdb, t.Name(), 1); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the lane holds %v, want %v", got, want)
		}
		if got := kept(t, rdb, t.Name(), 0); got != nil {
			t.Errorf("another lane holds %v", got)
		}
		// Outside the chain, and in no lane.
		must(t, s.Publish(t.Context(), 1, news("wake").Message))
		if got := heard(t, ch); got != (entry{0, 0, "wake"}) {
			t.Errorf("published %v", got)
		}
		if n := rdb.XLen(t.Context(), lane.Of(t.Name(), 1).Stream).Val(); int(n) != len(want) {
			t.Errorf("the lane holds %d", n)
		}
	})
}

// A batch has a place for each of its keys, and the chain holds when many write at once.
func TestLane_concurrentChangesMakeOneChain(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ch := listen(t, rdb, 0)
		const writers, batches, size = 4, 5, 7
		ids := make(chan string, writers*batches*size)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for b := range batches {
					writes := writesOf(someKeys(fmt.Sprint(t.Name(), w, b), size))
					for i := range writes {
						writes[i].Announcement = news(writes[i].Key)
					}
					for i, err := range s.SetMany(t.Context(), writes) {
						if err != nil {
							t.Error(err)
						}
						ids <- fmt.Sprint(lane.ID(writes[i].Announcement.ID), writes[i].Key)
					}
				}
			})
		}
		wg.Wait()
		close(ids)
		acknowledged := make(map[string]bool)
		for id := range ids {
			acknowledged[id] = true
		}
		all := kept(t, rdb, t.Name(), 0)
		if len(all) != writers*batches*size || len(acknowledged) != len(all) {
			t.Fatalf("the lane holds %d, %d were acknowledged", len(all), len(acknowledged))
		}
		for _, want := range all {
			if got := heard(t, ch); got != want {
				t.Fatalf("published %v, want %v", got, want)
			}
			if !acknowledged[fmt.Sprint(want.id, want.text)] {
				t.Errorf("nobody was told of %v", want)
			}
		}
	})
}

func TestLane_changesThatChangeNothingAreNotAnnounced(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		key := t.Name()
		put(t, rdb, key, number(100))
		rdb.RPush(t.Context(), key+"list", "x")
		a := news("m")
		a.ID = 5
		_, _, err := s.SetIfAbsent(t.Context(), key, number(1), 0, a)
		wantErr(t, err)
		if a.ID != 0 {
			t.Errorf("the id is %d", a.ID)
		}
		_, err = setTTL(t.Context(), s, key+"none", time.Minute, 0, news("m"))
		wantErr(t, err)
		_, err = increment(t.Context(), s, key, 100, &Bounds{0, 150}, number(0), 0, news("m"))
		wantErr(t, err, ErrOverflow)
		_, err = increment(t.Context(), s, key+"list", 1, nil, number(0), 0, news("m"))
		wantErr(t, err, ErrWrongType)
		_, err = setTTL(t.Context(), s, key+"list", time.Minute, 0, news("m"))
		wantErr(t, err, ErrWrongType)
		if got := kept(t, rdb, t.Name(), 0); got != nil {
			t.Errorf("announced %v", got)
		}
	})
}

// trips records what a client sends: the first key of each command, pipelines as one.
type trips struct {
	plainHook
	mu   sync.Mutex
	sent [][]string
	fail func(key string) error
}

func (h *trips) note(cmds ...redis.Cmder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keys []string
	for _, c := range cmds {
		keys = append(keys, fmt.Sprint(c.Args()[3]))
	}
	h.sent = append(h.sent, keys)
}

func (h *trips) take() [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := h.sent
	h.sent = nil
	return sent
}

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name != "evalsha" && name != "eval" {
			return next(ctx, cmd)
		}
		h.note(cmd)
		if h.fail != nil {
			if err := h.fail(fmt.Sprint(cmd.Args()[3])); err != nil {
				cmd.SetErr(err)
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.note(cmds...)
		return next(ctx, cmds)
	}
}

func TestLane_announcedChangeIsOneRoundTripAndTwoOnACluster(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		hook := &trips{}
		rdb.AddHook(hook)
		stream := lane.Of(t.Name(), 0).Stream
		for known := range 2 { // the first time the servers do not know the scripts
			for i, m := range mutations {
				key := fmt.Sprint(t.Name(), known, i)
				if m.present {
					put(t, rdb, key, number(1))
				}
				hook.take()
				must(t, m.do(t.Context(), s, key, news("m")))
				want := [][]string{{key}}
				switch {
				case m.name == "Announce" || m.name == "RaiseFloor":
					want = [][]string{{stream}}
				case !oneServer(rdb):
					want = [][]string{{key}, {stream}} // and never the other way round
				}
				if got := hook.take(); known == 1 && fmt.Sprint(got) != fmt.Sprint(want) {
					// Which node of a Cluster knows a script by now is a matter of chance.
					if oneServer(rdb) || got[0][0] != key || got[len(got)-1][0] != stream {
						t.Errorf("%s: sent %q, want %q", m.name, got, want)
					}
				}
			}
		}
		hook.take()
		writes := writesOf(someKeys(t.Name()+"batch", 20))
		noErrors(t, s.SetMany(t.Context(), writes))
		noErrors(t, s.SetMany(t.Context(), writes))
		sent := hook.take()
		last := sent[len(sent)-1]
		if oneServer(rdb) {
			if len(sent) != 2 || len(last) != 20 || last[0] != writes[0].Key {
				t.Errorf("two batches of 20 were sent as %q", sent)
			}
		} else if len(last) != 20 || last[0] != stream || last[19] != stream {
			t.Errorf("the last that was sent of a batch is %q", last)
		}
	})
}

// On a Cluster the change is made before it is announced.
func TestErrUnknownOutcome_ofAChangeThatCouldNotBeAnnounced(t *testing.T) {
	t.Parallel()
	rdb := onSharedCluster(t)
	s := newStore(t, rdb, never)
	stream := lane.Of(t.Name(), 0).Stream
	hook := &trips{}
	rdb.AddHook(hook)
	for i, m := range mutations {
		hook.fail = nil
		key := fmt.Sprint(t.Name(), i)
		if m.present {
			put(t, rdb, key, number(1))
		}
		before := raw(t, rdb, key)
		a := news("m")
		hook.fail = func(key string) error {
			if key == stream {
				return replyError("WRONGTYPE no stream")
			}
			return nil
		}
		err := m.do(t.Context(), s, key, a)
		hook.fail = nil
		t.Log(m.name)
		if m.name == "Announce" || m.name == "RaiseFloor" {
			wantErr(t, err, ErrWrongType)
			continue
		}
		wantErr(t, err, ErrUnknownOutcome, ErrWrongType)
		if after := raw(t, rdb, key); string(after) == string(before) || a.ID != 0 {
			t.Errorf("nothing has changed, or the id is %d", a.ID)
		}
	}
	must(t, rdb.Del(t.Context(), stream).Err())
	key := t.Name()
	set := func() error { return s.Set(t.Context(), key, value("v"), news("m")) }
	failing := func(which string, err error) func(string) error {
		return func(key string) error {
			if (key == stream) == (which == "lane") {
				return err
			}
			return nil
		}
	}
	denied, full := replyError("NOPERM no"), replyError("OOM no")
	for _, c := range []struct {
		name  string
		fail  func(string) error
		want  []error
		steps int
	}{
		{"nothing fails", nil, nil, 2},
		{"change refused", failing("data", full), []error{ErrRefused}, 1},
		{"change denied", failing("data", denied), []error{ErrDenied}, 1},
		{"change not sent", failing("data", redis.ErrPoolTimeout), []error{ErrUnavailable}, 1},
		{"change lost", failing("data", io.EOF), []error{ErrUnavailable, ErrUnknownOutcome}, 2},
		{"announcement refused", failing("lane", full), []error{ErrRefused, ErrUnknownOutcome}, 2},
		{"announcement denied", failing("lane", denied), []error{ErrDenied, ErrUnknownOutcome}, 2},
		{"announcement not sent", failing("lane", redis.ErrPoolTimeout), []error{ErrUnavailable, ErrUnknownOutcome}, 2},
		{"announcement lost", failing("lane", io.EOF), []error{ErrUnavailable, ErrUnknownOutcome}, 2},
	} {
		hook.fail = nil
		must(t, set()) // the nodes know the scripts
		hook.take()
		hook.fail = c.fail
		t.Log(c.name)
		wantErr(t, set(), c.want...)
		if sent := hook.take(); len(sent) != c.steps {
			t.Errorf("sent %q", sent)
		}
	}
}

// A reply that is not understood does not tell what happened.
func TestErrUnknownOutcome_ofAReplyOfAnotherShape(t *testing.T) {
	for name, reply := range map[string]any{
		"none": nil, "number": int64(1), "empty": []any{}, "short": []any{int64(1)},
		"id that is none": []any{int64(1), "garbage"}, "id of another type": []any{int64(1), int64(5)},
	} {
		out := parseWriteReply(t.Context(), "set", reply, nil)
		if !errors.Is(out.err, ErrUnknownOutcome) || !out.changed || strings.Contains(out.err.Error(), "garbage") {
			t.Errorf("%s: %+v", name, out)
		}
	}
	if _, err := firstPart[int64]("set", []any{"text"}); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("error %v", err)
	}
}

// Where a server does not know sharded pub/sub, its instances listen to classic pub/sub.
func TestLane_isPublishedClassicallyWithoutShardedPubSub(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]*redis.Client{
		"Redis":     redistest.Start(t, redistest.WithArgs("--rename-command", "SPUBLISH", "")).Client(t),
		"miniredis": redistest.Miniredis(t).Client(t),
	} {
		ch := listen(t, rdb, 0)
		names := lane.Of(t.Name(), 0)
		_, err := scriptAnnounce.Run(t.Context(), rdb, []string{names.Stream, names.Floors}, names.Channel, news("m").Message, "1")
		must(t, err)
		if got := heard(t, ch); got.text != "m" || got.id == 0 {
			t.Errorf("%s: published %v", name, got)
		}
	}
}

func TestCheckLanes_refusesAnotherNumber(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		must(t, s.CheckLanes(t.Context()))
		must(t, s.CheckLanes(t.Context()))
		var fault *OptionError
		if err := newStore(t, rdb).CheckLanes(t.Context()); !errors.As(err, &fault) || fault.Field != "Lanes" || !strings.Contains(fault.Reason, `"2"`) {
			t.Errorf("one lane instead of two: %v", err)
		}
		must(t, s.CheckLanes(t.Context()))
	})
	must(t, newStore(t, shared.Client(t), func(o *Options) { o.Namespace = "" }).CheckLanes(t.Context()))
	if _, err := New(shared.Client(t), Options{Namespace: "a{b}"}); !faults(err)["Namespace"] {
		t.Errorf("a namespace with braces: %v", err)
	}
}
