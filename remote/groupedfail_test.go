package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// Changes that need memory are refused whole, and not announced; removals are made, and announced.
func TestTogether_onAFullServer(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(redistest.Host, ...redistest.Option) *redistest.Server{"Redis": redistest.Start, "Valkey": redistest.StartValkey} {
		t.Run(name, func(t *testing.T) {
			rdb := start(t).Client(t)
			s := newStore(t, rdb)
			writes := group(someKeys("k", 3), news("before"))
			noErrors(t, s.SetMany(t.Context(), writes))
			must(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
			must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
			refused := news("refused")
			for _, err := range s.SetMany(t.Context(), group(someKeys("k", 5), refused)) {
				wantErr(t, err, ErrRefused)
			}
			if refused.ID != 0 {
				t.Errorf("what was refused has the id %d", refused.ID)
			}
			wantStored(t, s, rdb, writes, writes[0].Announcement.ID)
			wantLane(t, rdb, 0, "before")
			existed, errs := s.DeleteMany(t.Context(), groupOf(someKeys("k", 5), news("gone")))
			noErrors(t, errs)
			if fmt.Sprint(existed) != "[true true true false false]" {
				t.Errorf("existed %v", existed)
			}
			wantLane(t, rdb, 0, "before", "gone")
			if n := rdb.Exists(t.Context(), someKeys("k", 5)...).Val(); n != 0 {
				t.Errorf("%d are still there", n)
			}
			if s.BreakerOpen() {
				t.Error("a refusal opened the breaker")
			}
		})
	}
}

// Changes that may not be announced are not made, no part of them.
func TestTogether_makesNoChangeThatMayNotBeAnnounced(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t,
		redistest.WithACLUser("channel", "pw", "~*", "resetchannels", "+@all"),
		redistest.WithACLUser("xadd", "pw", "~*", "&*", "+@all", "-xadd"),
		redistest.WithACLUser("lane", "pw", "~[^{]*", "&*", "+@all"),
		redistest.WithACLUser("key", "pw", "~{*", "~k0", "~k1", "&*", "+@all"))
	admin := server.Client(t)
	for _, user := range []string{"channel", "xadd", "lane", "key"} {
		s := newStore(t, server.ClientAs(t, user, "pw"))
		before := put(t, admin, "k1", value("before"))
		a := news("m")
		t.Log(user)
		for _, err := range s.SetMany(t.Context(), group(someKeys("k", 3), a)) {
			wantErr(t, err, ErrDenied)
		}
		existed, errs := s.DeleteMany(t.Context(), groupOf(someKeys("k", 3), a))
		for i, err := range errs {
			wantErr(t, err, ErrDenied)
			if existed[i] {
				t.Errorf("%d existed", i)
			}
		}
		wantRaw(t, admin, "k1", before)
		if n := admin.Exists(t.Context(), "k0", "k2").Val(); n != 0 || a.ID != 0 {
			t.Errorf("%d were stored, the id is %d", n, a.ID)
		}
	}
	stream := lane.Of(t.Name(), 0).Stream
	must(t, admin.Del(t.Context(), stream).Err())
	must(t, admin.Set(t.Context(), stream, "no stream", 0).Err())
	s := newStore(t, admin)
	_, errs := s.DeleteMany(t.Context(), groupOf(someKeys("k", 3), news("m")))
	for _, err := range slices.Concat(errs, s.SetMany(t.Context(), group(someKeys("k", 3), news("m")))) {
		wantErr(t, err) // what is no lane is replaced by one
	}
	wantLane(t, admin, 0, "m", "m")
}

// A wrong idea of the server's time costs one more round trip, and no more than one.
func TestTogether_triesOnceMoreWhenTooLate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	s := newStore(t, rdb)
	noErrors(t, s.SetMany(t.Context(), group(someKeys("k", 3), news("before"))))
	s.clock.set(time.Now().Add(-time.Hour).UnixMilli())
	before := calls(t, rdb, "evalsha")
	a := news("late")
	writes := group(someKeys("k", 3), a)
	noErrors(t, s.SetMany(t.Context(), writes))
	if n := calls(t, rdb, "evalsha") - before; n != 2 {
		t.Errorf("%d scripts ran, want 2", n)
	}
	wantStored(t, s, rdb, writes, a.ID)
	wantLane(t, rdb, 0, "before", "late")

	// A server that refuses once more is not asked for ever.
	late := &answering{reply: func(*redis.Cmd) error { return replyError("DOPPIO-LATE 5") }}
	rdb.AddHook(late)
	for _, err := range s.SetMany(t.Context(), group(someKeys("k", 3), news("never"))) {
		if !errors.Is(err, errLate) {
			t.Errorf("error %v", err)
		}
		wantErr(t, err, ErrUnavailable) // and it is known that nothing was changed
	}
	if late.asked != 2 {
		t.Errorf("asked %d times", late.asked)
	}
}

// Changes that were held up until they were given up, and others have followed, are not stored.
func TestTogether_makesNoChangeThatComesTooLate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p, rdb := proxied(t, server)
	direct := newStore(t, server.Client(t))
	s := newStore(t, rdb, func(o *Options) { o.Timeout = 2 * time.Second }) // the command is sent within it
	keys := someKeys("held", 3)
	noErrors(t, s.SetMany(t.Context(), group(keys, news("old")))) // from which it knows the server's time
	trap := p.HoldNextCommand("held2")
	for _, err := range s.SetMany(t.Context(), group(keys, news("late"))) {
		wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
	}
	<-trap.Sprung()
	a := news("newer")
	newer := group(keys, a)
	noErrors(t, direct.SetMany(t.Context(), newer))
	before := scriptsRun(t, server)
	trap.Release()
	redistest.Eventually(t, patience, func() error {
		if scriptsRun(t, server) == before {
			return errors.New("the server has not met the late command yet")
		}
		return nil
	})
	wantStored(t, direct, server.Client(t), newer, a.ID)
	wantLane(t, server.Client(t), 0, "old", "newer")
}

// A client that retries must not repeat changes.
func TestTogether_repeatsNoChangeWhoseReplyWasLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	direct := server.Client(t)
	p, rdb := proxied(t, server, func(o *redis.Options) { o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 3, -1, -1 })
	s := newStore(t, rdb, never)
	keys := someKeys("k-", 5)
	for _, sc := range []luascript.Script{scriptSetAll, scriptDeleteAll} {
		must(t, direct.ScriptLoad(t.Context(), sc.Source()).Err())
	}
	for name, change := range map[string]func(a *Announcement) []error{
		"SetMany": func(a *Announcement) []error { return s.SetMany(t.Context(), group(keys, a)) },
		"DeleteMany": func(a *Announcement) []error {
			existed, errs := s.DeleteMany(t.Context(), groupOf(keys, a))
			if slices.Contains(existed, true) {
				t.Errorf("existed %v", existed)
			}
			return errs
		},
	} {
		must(t, greeted(rdb))
		before, long := calls(t, direct, "evalsha"), len(kept(t, direct, t.Name(), 0))
		a := news("m")
		p.SwallowNextReplyTo("k-4")
		t.Log(name)
		for _, err := range change(a) {
			wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
		}
		if n := calls(t, direct, "evalsha") - before; n != 1 {
			t.Errorf("%d scripts ran, want one", n)
		}
		if n := len(kept(t, direct, t.Name(), 0)) - long; n != 1 || a.ID != 0 {
			t.Errorf("announced %d times, the id is %d", n, a.ID)
		}
	}
}

// However many changes met an outage together, it was one.
func TestTogether_countsAsOneOutageForTheBreaker(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	s := newStore(t, rdb, func(o *Options) { o.BreakerFailures, o.BreakerPause = 2, time.Hour })
	p.Refuse(true)
	keys := someKeys(t.Name(), 5)
	for _, err := range s.SetMany(t.Context(), group(keys, news("m"))) {
		wantErr(t, err, ErrUnavailable)
	}
	if s.BreakerOpen() {
		t.Fatal("open after one outage")
	}
	_, errs := s.DeleteMany(t.Context(), groupOf(keys, news("m")))
	for _, err := range errs {
		wantErr(t, err, ErrUnavailable)
	}
	if !s.BreakerOpen() {
		t.Fatal("not open after two")
	}
	p.Refuse(false)
	for _, err := range s.SetMany(t.Context(), group(keys, news("m"))) {
		wantErr(t, err, ErrUnavailable)
	}
}

// A caller that leaves does not know what becomes of any of them.
func TestTogether_isOfUnknownOutcomeToACallerThatLeaves(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = time.Minute })
	s := newStore(t, rdb)
	must(t, rdb.Ping(t.Context()).Err())
	keys := someKeys(t.Name(), 3)
	hold := p.HoldNextReplyTo(keys[2])
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan []error, 1)
	a := news("m")
	go func() { left <- s.SetMany(ctx, group(keys, a)) }()
	<-hold.Sprung()
	leave()
	for _, err := range <-left {
		wantErr(t, err, context.Canceled, ErrUnknownOutcome)
	}
	hold.Release()
	for _, err := range s.SetMany(ctx, group(keys, a)) { // nor is anything sent
		wantErr(t, err, context.Canceled)
	}
	if a.ID != 0 {
		t.Errorf("the id is %d", a.ID)
	}
}

// answering has an answer of its own to a script, without asking, or to what the server has
// answered.
type answering struct {
	plainHook
	reply func(cmd *redis.Cmd) error
	after bool
	asked int
}

func (h *answering) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		once, ok := cmd.(luascript.Cmd)
		if !ok {
			return next(ctx, cmd)
		}
		h.asked++
		if h.after {
			if err := next(ctx, cmd); err != nil {
				return err
			}
		}
		err := h.reply(once.Cmd)
		once.SetErr(err)
		return err
	}
}

// A reply that is not understood does not tell what happened, to any of the changes.
func TestTogether_isOfUnknownOutcomeAfterAReplyOfAnotherShape(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	fresh(t, rdb)
	s := newStore(t, rdb)
	keys := someKeys(t.Name(), 3)
	noErrors(t, s.SetMany(t.Context(), group(keys, news("m"))))
	_, errs := s.DeleteMany(t.Context(), groupOf(keys, news("m")))
	noErrors(t, errs)
	hook := &answering{after: true}
	rdb.AddHook(hook)
	for name, of := range map[string]func(id any) any{
		"none": func(any) any { return nil }, "number": func(any) any { return int64(1) }, "short": func(any) any { return []any{int64(1)} },
		"id that is none": func(any) any { return []any{int64(1), "garbage", int64(1), int64(1), int64(1)} },
		"one too few":     func(id any) any { return []any{int64(1), id, int64(1), int64(1)} },
		"one too many":    func(id any) any { return []any{int64(1), id, int64(1), int64(1), int64(1), int64(1)} },
		"of another type": func(id any) any { return []any{int64(1), id, "1", "1", "1"} },
	} {
		hook.reply = func(cmd *redis.Cmd) error { cmd.SetVal(of(cmd.Val().([]any)[1])); return nil }
		existed, errs := s.DeleteMany(t.Context(), groupOf(keys, news("m")))
		t.Log(name)
		for i, err := range errs {
			if !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("error %v", err)
			}
			if existed[i] || strings.Contains(err.Error(), "garbage") {
				t.Errorf("existed %v, %v", existed[i], err)
			}
		}
		switch name {
		case "of another type": // nobody reads it
		default:
			for _, err := range s.SetMany(t.Context(), group(keys, news("m"))) {
				if !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("error %v", err)
				}
			}
		}
	}
}

// partly fails commands of a pipeline by their key, and lets the others pass.
type partly struct {
	trips
	fails func(key string) error
}

func (h *partly) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.note(cmds...)
		var pass []redis.Cmder
		var first error
		for _, cmd := range cmds {
			err := h.fails(fmt.Sprint(cmd.Args()[3]))
			if err == nil {
				pass = append(pass, cmd)
				continue
			}
			cmd.SetErr(err)
			if first == nil {
				first = err
			}
		}
		if len(pass) > 0 {
			if err := next(ctx, pass); err != nil {
				return err
			}
		}
		return first
	}
}

// On a Cluster each change is made, or not, by itself. There is one announcement if any was made,
// or may have been; a change that was made and is not announced is of unknown outcome.
func TestTogether_onAClusterEachHasItsOwnOutcome(t *testing.T) {
	t.Parallel()
	rdb := onSharedCluster(t)
	s := newStore(t, rdb, never)
	s.stragglerWait = time.Hour // a busy machine has none
	stream := lane.Of(t.Name(), 0).Stream
	keys := someKeys(t.Name(), 4)
	hook := &partly{fails: func(string) error { return nil }}
	rdb.AddHook(hook)
	set := func(a *Announcement) []error { return s.SetMany(t.Context(), group(keys, a)) }
	remove := func(a *Announcement) []error { _, errs := s.DeleteMany(t.Context(), groupOf(keys, a)); return errs }
	full, denied := replyError("OOM no"), replyError("NOPERM no")
	for _, c := range []struct {
		name string
		data [4]error
		lane error
		want [4][]error
		told bool
	}{
		{"nothing fails", [4]error{}, nil, [4][]error{}, true},
		{"one is refused", [4]error{1: full}, nil, [4][]error{1: {ErrRefused}}, true},
		{"one was not sent", [4]error{3: redis.ErrPoolTimeout}, nil, [4][]error{3: {ErrUnavailable}}, true},
		{"the reply of one is lost", [4]error{0: io.EOF}, nil, [4][]error{{ErrUnavailable, ErrUnknownOutcome}}, true},
		{"all are refused", [4]error{full, full, full, full}, nil, [4][]error{{ErrRefused}, {ErrRefused}, {ErrRefused}, {ErrRefused}}, false},
		{"none was sent", [4]error{redis.ErrPoolTimeout, redis.ErrPoolTimeout, redis.ErrPoolTimeout, redis.ErrPoolTimeout}, nil, [4][]error{{ErrUnavailable}, {ErrUnavailable}, {ErrUnavailable}, {ErrUnavailable}}, false},
		{"one may have been made", [4]error{full, io.EOF, full, full}, nil, [4][]error{{ErrRefused}, {ErrUnavailable, ErrUnknownOutcome}, {ErrRefused}, {ErrRefused}}, true},
		{"it is not announced", [4]error{1: full, 2: io.EOF}, denied, [4][]error{{ErrDenied, ErrUnknownOutcome}, {ErrRefused}, {ErrUnavailable, ErrUnknownOutcome}, {ErrDenied, ErrUnknownOutcome}}, false},
	} {
		for name, change := range map[string]func(*Announcement) []error{"SetMany": set, "DeleteMany": remove} {
			t.Log(c.name, name)
			hook.fails, hook.fail = func(string) error { return nil }, nil
			noErrors(t, change(news("before"))) // the nodes know the scripts
			hook.take()
			before := len(kept(t, rdb, t.Name(), 0))
			hook.fails = func(key string) error {
				if i := slices.Index(keys, key); i >= 0 {
					return c.data[i]
				}
				return nil
			}
			hook.fail = func(key string) error {
				if key == stream {
					return c.lane
				}
				return nil
			}
			a := news("m")
			for i, err := range change(a) {
				wantErr(t, err, c.want[i]...)
			}
			told := len(kept(t, rdb, t.Name(), 0)) - before
			if c.told != (told == 1) || !c.told && told != 0 || (a.ID != 0) != (c.told && slices.ContainsFunc(c.want[:], func(w []error) bool { return w == nil })) {
				t.Errorf("announced %d times, the id is %d", told, a.ID)
			}
		}
	}
}
