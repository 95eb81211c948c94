package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// slack is what a loaded machine may add to a time that is otherwise bounded.
const slack = 10 * time.Second

// operation is one method of Store.
type operation struct {
	name  string
	write bool
	do    func(ctx context.Context, s *Store, key string) error
}

const secretKey, secretValue = "key-hunter2", "value-hunter2"

// operations are all that ask Redis. Each gives the error of key.
var operations = []operation{
	{"Get", false, func(ctx context.Context, s *Store, key string) error { _, err := s.Get(ctx, key); return err }},
	{"GetMany", false, func(ctx context.Context, s *Store, key string) error { return s.GetMany(ctx, []string{key})[0].Err }},
	{"Exists", false, func(ctx context.Context, s *Store, key string) error { _, err := exists(ctx, s, key, 0); return err }},
	{"ExistsMany", false, func(ctx context.Context, s *Store, key string) error {
		_, errs := existsMany(ctx, s, []string{key}, 0)
		return errs[0]
	}},
	{"TTL", false, func(ctx context.Context, s *Store, key string) error { _, _, err := ttlOf(ctx, s, key, 0); return err }},
	{"Count", false, func(ctx context.Context, s *Store, key string) error {
		_, err := countKeys(ctx, s, key, "", 0)
		return err
	}},
	{"TagVersions, read", false, func(ctx context.Context, s *Store, key string) error {
		_, err := s.TagVersions(ctx, []string{key}, nil)
		return err
	}},
	{"TagVersions, made", false, func(ctx context.Context, s *Store, key string) error {
		life := time.Hour
		_, err := s.TagVersions(ctx, []string{key}, &life)
		return err
	}},
	{"Set", true, func(ctx context.Context, s *Store, key string) error {
		return s.Set(ctx, key, value(secretValue), news("m"))
	}},
	{"SetMany", true, func(ctx context.Context, s *Store, key string) error {
		return s.SetMany(ctx, []Write{{key, value(secretValue), news("m")}})[0]
	}},
	{"SetIfAbsent", true, func(ctx context.Context, s *Store, key string) error {
		_, _, err := s.SetIfAbsent(ctx, key, value(secretValue), 0, nil)
		return err
	}},
	{"Delete", true, func(ctx context.Context, s *Store, key string) error {
		_, err := s.Delete(ctx, key, 0, nil)
		return err
	}},
	{"DeleteMany", true, func(ctx context.Context, s *Store, key string) error {
		_, errs := s.DeleteMany(ctx, deletions([]string{key}, 0))
		return errs[0]
	}},
	{"Expire", true, func(ctx context.Context, s *Store, key string) error {
		_, err := setTTL(ctx, s, key, time.Hour, 0, nil)
		return err
	}},
	{"Increment", true, func(ctx context.Context, s *Store, key string) error {
		_, err := increment(ctx, s, key, 1, nil, number(0), 0, nil)
		return err
	}},
	{"Acquire", true, func(ctx context.Context, s *Store, key string) error {
		_, _, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: NewToken()}, time.Hour)
		return err
	}},
	{"AcquireMany", true, func(ctx context.Context, s *Store, key string) error {
		return s.AcquireMany(ctx, []LeaseRequest{{Key: key, Token: NewToken()}}, time.Hour)[0].Err
	}},
	{"Fill", true, func(ctx context.Context, s *Store, key string) error {
		_, err := s.Fill(ctx, key, []byte("0123456789abcdef"), value(secretValue))
		return err
	}},
	{"FillMany", true, func(ctx context.Context, s *Store, key string) error {
		_, errs := s.FillMany(ctx, []FillRequest{{key, []byte("0123456789abcdef"), value(secretValue)}})
		return errs[0]
	}},
	{"TagVersions, extended", false, func(ctx context.Context, s *Store, key string) error {
		return s.ExtendTags(ctx, []string{key}, time.Hour)
	}},
	{"Sweep", true, func(ctx context.Context, s *Store, key string) error { _, err := s.DeleteIfEmpty(ctx, key); return err }},
	{"Release", false, func(ctx context.Context, s *Store, key string) error {
		_, err := s.Release(ctx, key, []byte("0123456789abcdef"))
		return err
	}},
	{"Publish", true, func(ctx context.Context, s *Store, _ string) error { return s.Publish(ctx, 0, []byte(secretValue)) }},
	{"Announce", true, func(ctx context.Context, s *Store, _ string) error { return s.Announce(ctx, news(secretValue)) }},
	{"RaiseFloor", true, func(ctx context.Context, s *Store, _ string) error {
		return s.RaiseFloor(ctx, secretValue, news("m"))
	}},
	{"Floors", false, func(ctx context.Context, s *Store, _ string) error { _, err := s.Floors(ctx, 0); return err }},
	// What it notes is noted again by the next.
	{"CheckLanes", false, func(ctx context.Context, s *Store, _ string) error { return s.CheckLanes(ctx) }},
}

// each runs every operation and checks its error: want, and also for mutations. No message may hold
// what is secret.
func each(t *testing.T, s *Store, want []error, also ...error) {
	t.Helper()
	ctx := t.Context()
	for _, op := range operations {
		err := op.do(ctx, s, secretKey)
		t.Log(op.name)
		if op.write {
			wantErr(t, err, append(want[:len(want):len(want)], also...)...)
		} else {
			wantErr(t, err, want...)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the message holds a secret: %v", op.name, err)
		}
	}
}

// greeted makes a connection in each pool of the client.
func greeted(rdb *redis.Client) error {
	ctx := context.Background()
	pipe := rdb.Pipeline()
	pipe.Ping(ctx)
	_, err := pipe.Exec(ctx)
	return errors.Join(err, rdb.Ping(ctx).Err())
}

func never(o *Options) { o.BreakerFailures = 1 << 30 }

func TestOutage_refusedConnectionHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"default": 0, "none": -1} {
		t.Run(name, func(t *testing.T) {
			p, rdb := proxied(t, shared, func(o *redis.Options) {
				o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = retries, -1, -1
				o.Password = "hunter2"
			})
			p.Refuse(true)
			each(t, newStore(t, rdb, never), []error{ErrUnavailable})
		})
	}
}

func TestOutage_unknownHostHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t, func(o *redis.Options) {
		o.Dialer = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
		}
	})
	each(t, newStore(t, rdb, never), []error{ErrUnavailable})
}

func TestOutage_closedClientHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	must(t, rdb.Close())
	each(t, newStore(t, rdb, never), []error{ErrUnavailable})
}

func TestErrUnknownOutcome_ofAChangeWhoseReplyWasLost(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(*redistest.Proxy, *redis.Options){
		"connection ends": func(*redistest.Proxy, *redis.Options) {},
		"no reply":        func(_ *redistest.Proxy, o *redis.Options) { o.ReadTimeout = 20 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := redistest.NewProxy(t, shared.Addr)
			rdb := shared.Client(t, func(o *redis.Options) { o.Addr = p.Addr(); setup(p, o) })
			key := t.Name()
			for _, op := range operations {
				// A store of its own: what one gives back in the background must not meet what is
				// set for the next.
				s := newStore(t, rdb, never)
				// A connection first: what is lost must be the reply, not the greeting.
				redistest.Eventually(t, patience, func() error { return greeted(rdb) })
				if name == "no reply" {
					p.SwallowReplies(true)
				} else {
					p.SwallowNextReplyTo("\r\n")
				}
				want := []error{ErrUnavailable}
				if op.write {
					want = append(want, ErrUnknownOutcome)
				}
				t.Log(op.name)
				wantErr(t, op.do(t.Context(), s, key), want...)
				p.SwallowReplies(false)
				must(t, s.Close(t.Context()))
			}
		})
	}
}

func TestContext_thatEndedBeforehandChangesNothing(t *testing.T) {
	t.Parallel()
	s, rdb := onShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, op := range operations {
		t.Log(op.name)
		wantErr(t, op.do(ctx, s, t.Name()), context.Canceled)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, op := range operations {
		t.Log(op.name)
		wantErr(t, op.do(late, s, t.Name()), context.DeadlineExceeded)
	}
	if raw(t, rdb, t.Name()) != nil {
		t.Error("something was written")
	}
}

// go-redis would wait for the reply. The caller does not; and that says nothing about the server.
func TestContext_thatEndsInFlightReturnsAtOnce(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = time.Minute })
	for _, end := range []struct {
		name string
		err  error
		ctx  func() (context.Context, context.CancelFunc)
	}{
		{"canceled", context.Canceled, func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) }},
		{"deadline", context.DeadlineExceeded, func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 2*time.Second) // it must have been sent by then
		}},
	} {
		for i, op := range operations {
			if end.name == "deadline" && i%6 != 0 {
				continue // some of each kind: each takes as long as its deadline
			}
			// A store of its own: a connection on which the last one gives something back is none
			// for this one.
			s := newStore(t, rdb, func(o *Options) { o.BreakerFailures = 1; o.Timeout = time.Minute })
			must(t, rdb.Ping(t.Context()).Err())
			redistest.Eventually(t, patience, func() error { // what the call before it left
				if n := p.Held(); n > 0 {
					return fmt.Errorf("%d connections are held still", n)
				}
				return nil
			})
			p.HoldReplies()
			ctx, cancel := end.ctx()
			result := make(chan error, 1)
			began := time.Now()
			go func() { result <- op.do(ctx, s, t.Name()) }()
			redistest.Eventually(t, patience, func() error {
				if p.Held() == 0 {
					return errors.New("nothing is under way")
				}
				return nil
			})
			if end.name == "canceled" {
				began = time.Now()
				cancel()
			}
			err := <-result
			if took := time.Since(began); took > slack {
				t.Errorf("%s: returned after %v", op.name, took)
			}
			want := []error{end.err}
			if op.write {
				want = append(want, ErrUnknownOutcome)
			}
			t.Log(end.name, op.name)
			wantErr(t, err, want...)
			if s.BreakerOpen() {
				t.Fatal("a caller's end opened the breaker")
			}
			cancel()
			p.ReleaseReplies()
			must(t, s.Close(t.Context()))
		}
	}
}

func TestOutage_timeout(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = 5 * time.Second })
		must(t, greeted(rdb)) // what waits for a greeting was not sent
		p.HoldReplies()
		s := newStore(t, rdb, func(o *Options) { o.Timeout = 50 * time.Millisecond; o.BreakerFailures = 1 })
		want := []error{ErrUnavailable}
		if op.write {
			want = append(want, ErrUnknownOutcome)
		}
		t.Log(op.name)
		wantErr(t, op.do(t.Context(), s, t.Name()), want...)
		if !s.BreakerOpen() {
			t.Errorf("%s: the breaker did not hear of it", op.name)
		}
		p.ReleaseReplies()
	}
}

func TestOutage_poolTimeoutHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t, func(o *redis.Options) { o.PoolSize, o.PoolTimeout, o.MaxActiveConns = 1, time.Millisecond, 1 })
	conn := rdb.Conn()
	must(t, conn.Ping(t.Context()).Err()) // keeps the only connection
	defer func() { must(t, conn.Close()) }()
	s := newStore(t, rdb, never)
	for _, op := range operations {
		if strings.Contains(op.name, "Many") && op.name != "GetMany" || strings.HasPrefix(op.name, "TagVersions") {
			continue // pipelines have a pool of their own
		}
		t.Log(op.name)
		wantErr(t, op.do(t.Context(), s, t.Name()), ErrUnavailable)
	}
}

func TestErrAccessDenied_forAWrongPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithPassword("hunter2"))
	for name, password := range map[string]string{"none": "", "wrong": "hunter2-not"} {
		for _, op := range operations {
			// The server ends the connection of a stranger who sends many arguments, so each
			// operation has its own.
			rdb := server.Client(t, func(o *redis.Options) { o.Password = password })
			err := op.do(t.Context(), newStore(t, rdb), secretKey)
			t.Log(name, op.name)
			wantErr(t, err, ErrDenied)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message holds a secret: %v", err)
			}
		}
	}
}

func TestErrAccessDenied_forAForbiddenCommandThatChangesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t,
		redistest.WithACLUser("keys", "pw", "~other:*", "&*", "+@all"),
		redistest.WithACLUser("commands", "pw", "~*", "&*", "+ping", "+hello"),
		redistest.WithACLUser("channel", "pw", "~*", "resetchannels", "+@all"),
		redistest.WithACLUser("xadd", "pw", "~*", "&*", "+@all", "-xadd"),
		redistest.WithACLUser("lane", "pw", "~[^{]*", "&*", "+@all"),
		redistest.WithACLUser("incrby", "pw", "~*", "&*", "+@all", "-incrby"))
	admin := server.Client(t)
	for _, user := range []string{"keys", "commands"} {
		s := newStore(t, server.ClientAs(t, user, "pw"))
		for _, op := range operations {
			t.Log(user, op.name)
			if user == "keys" && (op.name == "Count" || op.name == "Publish") {
				continue // SCAN is not limited by keys
			}
			wantErr(t, op.do(t.Context(), s, secretKey), ErrDenied)
		}
	}
	// A change that cannot be announced is not made.
	for _, user := range []string{"channel", "xadd", "lane"} {
		s := newStore(t, server.ClientAs(t, user, "pw"))
		for _, m := range mutations {
			t.Log(user, m.name)
			key := user + m.name
			var before []byte
			if m.present {
				before = put(t, admin, key, number(41))
			}
			wantErr(t, m.do(t.Context(), s, key, news("m")), ErrDenied)
			wantRaw(t, admin, key, before)
			if left := admin.PTTL(t.Context(), key).Val(); m.present && left < 59*time.Minute {
				t.Errorf("it ends in %v", left)
			}
		}
		if floors, err := newStore(t, admin).Floors(t.Context(), 0); len(floors) > 0 || err != nil {
			t.Errorf("floors %v, %v", floors, err)
		}
	}
	s := newStore(t, server.ClientAs(t, "incrby", "pw"))
	before := put(t, admin, "n", number(41))
	_, err := increment(t.Context(), s, "n", 1, nil, number(0), 0, nil)
	wantErr(t, err, ErrDenied)
	wantRaw(t, admin, "n", before)
}

func TestErrWriteRefused_byAFullServerForWritesOnly(t *testing.T) {
	t.Parallel()
	for _, start := range []func(redistest.Host, ...redistest.Option) *redistest.Server{redistest.Start, redistest.StartValkey} {
		server := start(t)
		rdb := server.Client(t)
		s := newStore(t, rdb)
		held := NewToken()
		must(t, s.Set(t.Context(), "k", number(1), nil))
		for i, m := range mutations {
			if m.present {
				must(t, s.Set(t.Context(), fmt.Sprint("full", i), number(1), nil))
			}
		}
		_, _, err := s.Acquire(t.Context(), LeaseRequest{Key: "lease", Token: held}, time.Minute)
		must(t, err)
		must(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
		must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
		for _, op := range operations {
			key := "k"
			t.Log(op.name)
			switch op.name {
			case "Set", "SetMany", "Increment":
				wantErr(t, op.do(t.Context(), s, key), ErrRefused)
			case "SetIfAbsent", "Acquire", "AcquireMany", "TagVersions, made":
				wantErr(t, op.do(t.Context(), s, "absent"), ErrRefused)
			case "Get", "Exists", "Count", "GetMany", "ExistsMany", "TTL", "Publish", "Release", "Fill", "FillMany", "Floors":
				wantErr(t, op.do(t.Context(), s, key))
			}
		}
		if r, err := s.Get(t.Context(), "k"); err != nil || string(r.Payload) != "1" {
			t.Errorf("%q, %v", r.Payload, err)
		}
		// What needs memory is refused with its announcement; what takes something away is done,
		// and announced.
		for i, m := range mutations {
			key := fmt.Sprint("full", i)
			before, lane := raw(t, rdb, key), len(kept(t, rdb, t.Name(), 0))
			err := m.do(t.Context(), s, key, news("m"))
			t.Log(m.name)
			if m.stores() || m.name == "Increment" {
				wantErr(t, err, ErrRefused)
				wantRaw(t, rdb, key, before)
			} else {
				wantErr(t, err)
				lane++
			}
			if n := len(kept(t, rdb, t.Name(), 0)); n != lane {
				t.Errorf("the lane holds %d, want %d", n, lane)
			}
		}
		// A lease that cannot be marked is found all the same.
		won, found, err := s.Acquire(t.Context(), LeaseRequest{Key: "lease", Token: NewToken()}, time.Minute)
		if won || err != nil || found.Token != held {
			t.Errorf("the lease: won %v, %+v, %v", won, found, err)
		}
		if existed, err := s.Delete(t.Context(), "k", 0, news("m")); !existed || err != nil {
			t.Errorf("Delete: %v, %v", existed, err)
		}
		if s.BreakerOpen() {
			t.Error("a refusal opened the breaker")
		}
	}
}

func TestOutage_replicaIsUnavailableForWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	s := newStore(t, rdb, never)
	must(t, s.Set(t.Context(), "k", value("v"), nil))
	host, port, err := net.SplitHostPort(redistest.Start(t).Addr)
	must(t, err)
	must(t, rdb.ReplicaOf(t.Context(), host, port).Err())
	redistest.Eventually(t, patience, func() error {
		if err := s.Set(t.Context(), "k", value("v"), nil); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) || !strings.Contains(fmt.Sprint(err), "READONLY") {
			return fmt.Errorf("error %w", err)
		}
		return nil
	})
}

func TestOutage_busyServerIsUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithArgs("--lua-time-limit", "10"))
	rdb := server.Client(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = rdb.Eval(context.Background(), "while true do end", nil).Err() // ends when it is killed
	}()
	s := newStore(t, server.Client(t), never)
	redistest.Eventually(t, patience, func() error {
		if err := s.Set(t.Context(), "k", value("v"), nil); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "BUSY") {
			return fmt.Errorf("error %w", err)
		}
		return nil
	})
	each(t, s, []error{ErrUnavailable})
	must(t, server.Client(t).ScriptKill(t.Context()).Err())
	<-done
}
