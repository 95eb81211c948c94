package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// work writes and reads n keys of the namespace.
func work(t *testing.T, s *Server, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprint(s.Namespace(), ":", i)
		err := s.Client().Set(t.Context(), key, strings.Repeat("x", 1000), 0).Err()
		if err = errors.Join(err, s.Client().Get(t.Context(), key).Err()); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-ticker.C
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	given := redistest.Start(t, redistest.WithPassword("s3cret"))
	for _, c := range []struct {
		o     Options
		nodes int
		ours  bool
		name  string
	}{
		{Options{Kind: Embedded}, 1, false, "embedded miniredis"},
		{Options{Kind: Given, URL: "redis://:s3cret@" + given.Addr}, 1, false, "Redis " + given.Version + " at " + given.Addr},
		{Options{Kind: Standalone}, 1, true, "standalone Redis " + given.Version},
		{Options{Kind: Cluster}, 3, true, "Redis " + given.Version + ", Cluster of 3"},
	} {
		t.Run(string(c.o.Kind), func(t *testing.T) {
			t.Parallel()
			s := open(t, c.o)
			if len(s.Addrs()) != c.nodes || s.Name() != c.name || s.Kind() != c.o.Kind {
				t.Errorf("%v %q, want %d nodes, %q", s.Addrs(), s.Name(), c.nodes, c.name)
			}
			before, err := s.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const n = 200
			work(t, s, n)
			if c.o.Kind == Embedded {
				if before.HasCPU || before.HasCommands {
					t.Error("an embedded server cannot tell")
				}
				return
			}
			// A processor's time is counted in ticks, which this little work may not fill: work goes on until it shows.
			var d Sample
			rounds := 0
			eventually(t, "processor's time", func() bool {
				now, err := s.Sample(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if d = now.Sub(before); d.Result(1, 1, 1).CPUms > 0 {
					return true
				}
				work(t, s, n)
				rounds++
				return false
			})
			want := float64(n * (rounds + 1))
			if d.Calls["get"] != want || d.Calls["set"] != want || d.BytesIn < 1000*want || d.BytesOut < 1000*want {
				t.Errorf("%+v after %g SET and GET", d, want)
			}
			r := d.Result(int64(2*want), int64(want), 2)
			if r.ByCommand["get"] != 1000 || r.Commands != 2000 || r.CPUShare <= 0 || r.MemoryBytes <= 0 || r.Servers != c.nodes || !r.HasCPU || !r.HasCommands {
				t.Errorf("%+v", r)
			}
			if err := s.Pause(0); errors.Is(err, ErrNotOurs) == c.ours {
				t.Errorf("pause: %v", err)
			} else if c.ours {
				if err := s.Resume(0); err != nil {
					t.Error(err)
				}
			}
			pids := make([]int, s.Nodes())
			for i := range pids {
				pids[i] = s.started[i].PID()
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d: %v, want that it is gone", pid, err)
				}
			}
		})
	}
}

func TestRestartComesBackEmpty(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Standalone, Cluster} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := open(t, Options{Kind: kind})
			work(t, s, 100)
			addrs := s.Addrs()
			before, err := s.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Pause(0); err != nil { // one that does not answer is restarted too
				t.Fatal(err)
			}
			if err := s.Restart(t.Context(), 0, 0); err != nil {
				t.Fatal(err)
			}
			after, err := s.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := after.Sub(before); d.HasCPU || d.HasCommands || !after.Sub(after).HasCommands {
				t.Errorf("a restart is subtracted: %+v", d)
			}
			keys := int64(0)
			err = s.eachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
				if node.Options().Addr != addrs[0] {
					return nil
				}
				n, err := node.DBSize(ctx).Result()
				keys += n
				return err
			})
			if err != nil || keys != 0 {
				t.Errorf("%d keys, %v", keys, err)
			}
			if got := s.Addrs(); strings.Join(got, " ") != strings.Join(addrs, " ") {
				t.Errorf("addresses %v, were %v", got, addrs)
			}
			work(t, s, 10)
			if err := s.FlushAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Client().Get(t.Context(), s.Namespace()+":0").Err(); !errors.Is(err, redis.Nil) {
				t.Errorf("after a flush: %v", err)
			}
			if err := s.Pause(s.Nodes()); err == nil {
				t.Error("a node that there is not is paused")
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if err := s.Restart(ended, 0, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("restart by who gave up: %v", err)
			}
		})
	}
}

func TestGivenKeepsWhatIsNotTheRuns(t *testing.T) {
	t.Parallel()
	other := redistest.Start(t)
	rdb := other.Client(t)
	s := open(t, Options{Kind: Given, URL: "redis://" + other.Addr})
	if err := errors.Join(rdb.Set(t.Context(), "other", 1, 0).Err(), rdb.Set(t.Context(), "{"+s.Namespace()+":0}:lane", 1, 0).Err()); err != nil {
		t.Fatal(err)
	}
	work(t, s, 2500)
	if err := s.FlushAll(t.Context()); !errors.Is(err, ErrNotOurs) {
		t.Errorf("flush: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	keys, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 || keys[0] != "other" {
		t.Errorf("%d keys are left, %v", len(keys), err)
	}
}

func TestEmbeddedExpires(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Kind: Embedded})
	if err := s.Client().Set(t.Context(), "k", 1, 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "expiry", func() bool { return errors.Is(s.Client().Get(t.Context(), "k").Err(), redis.Nil) })
}

func TestOptions(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, o := range []Options{
		{},
		{Kind: "other"},
		{Kind: Given},
		{Kind: Standalone, URL: "redis://:" + secret + "@localhost"},
		{Kind: Given, URL: "http://:" + secret + "@localhost"},
		{Kind: Given, URL: "redis://:" + secret + "%zz@localhost"},
		{Kind: Given, URL: "redis://:" + secret + "/@localhost:port/x"},
		{Kind: Given, URL: "redis://u:" + secret + "@localhost/db"},
		{Kind: Given, URL: "redis://u:" + secret + "@localhost?" + secret + "=1"},
		{Kind: Given, URL: "redis+cluster://u:" + secret + "@,localhost"},
		{Kind: Given, URL: "redis+cluster://u:" + secret + "%zz@localhost:1,localhost:2"},
		{Kind: Given, URL: secret},
	} {
		_, err := Open(t.Context(), o)
		if !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v, want ErrOptions", o, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: a secret is told: %v", o, err)
		}
	}
	_, err := Open(t.Context(), Options{Kind: Given, URL: "redis://:" + secret + "@127.0.0.1:1?max_retries=-1&dial_timeout=1"})
	if err == nil || errors.Is(err, ErrOptions) || strings.Contains(err.Error(), secret) {
		t.Errorf("an absent server: %v", err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url, addrs, user, password string
		db                         int
		cluster, tls               bool
	}{
		{"redis://h", "h:6379", "", "", 0, false, false},
		{"rediss://u:p%2Fw@h:1/3", "h:1", "u", "p/w", 3, false, true},
		{"redis+cluster://h:1", "h:1", "", "", 0, true, false},
		{"rediss+cluster://u:p%40w@h:1,g:2,f/?read_timeout=3", "h:1 g:2 f:6379", "u", "p@w", 0, true, true},
	} {
		o, err := parseURL(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if strings.Join(o.Addrs, " ") != c.addrs || o.Username != c.user || o.Password != c.password || o.DB != c.db ||
			o.IsClusterMode != c.cluster || (o.TLSConfig != nil) != c.tls || !o.ContextTimeoutEnabled {
			t.Errorf("%s: %v %q %q %d cluster %t, TLS %v", c.url, o.Addrs, o.Username, o.Password, o.DB, o.IsClusterMode, o.TLSConfig)
		}
	}
}

func TestGivenCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, redistest.WithPassword("p/w"))
	s := open(t, Options{Kind: Given, URL: "redis+cluster://:" + url.QueryEscape("p/w") + "@" + strings.Join(c.Addrs(), ",")})
	if len(s.Addrs()) != 2 || !strings.Contains(s.Name(), "Cluster of 2") || strings.Contains(s.Name(), "p/w") {
		t.Errorf("%v, %q", s.Addrs(), s.Name())
	}
	work(t, s, 50)
}
