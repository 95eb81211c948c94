package redistest_test

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

func set(t *testing.T, c redis.Cmdable, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatalf("SET %s: %v", key, err)
	}
}

func wantValue(t *testing.T, c redis.Cmdable, key, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), key).Result()
	if err != nil || got != want {
		t.Fatalf("GET %s: %q, %v, want %q", key, got, err, want)
	}
}

func TestShared_answers(t *testing.T) {
	t.Parallel()
	c := shared.Client(t)
	set(t, c, t.Name(), "1")
	wantValue(t, c, t.Name(), "1")
	if shared.PID() == 0 || shared.Version == "" {
		t.Errorf("pid %d, version %q", shared.PID(), shared.Version)
	}
}

func TestServer_keepsItsAddressWhenItRestarts(t *testing.T) {
	t.Parallel()
	for _, end := range []struct {
		name string
		how  func(*redistest.Server)
	}{
		{"stop", (*redistest.Server).Stop},
		{"kill", (*redistest.Server).Kill},
		{"nothing", func(*redistest.Server) {}},
	} {
		t.Run(end.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, redistest.WithArgs("--appendonly", "yes", "--appendfsync", "always"))
			c := s.Client(t)
			set(t, c, "k", "kept")
			pid, addr := s.PID(), s.Addr
			end.how(s)
			if end.name != "nothing" {
				if s.PID() != 0 {
					t.Errorf("PID is %d after the end", s.PID())
				}
				if err := c.Ping(t.Context()).Err(); err == nil {
					t.Error("a server that ended answers")
				}
			}
			s.Restart()
			if s.PID() == pid || s.Addr != addr {
				t.Errorf("pid %d → %d, addr %s → %s", pid, s.PID(), addr, s.Addr)
			}
			wantValue(t, s.Client(t), "k", "kept") // same directory
		})
	}
}

func TestServer_pausesAndResumes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	set(t, c, "k", "v")
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var netErr net.Error
	if err := c.Get(ctx, "k").Err(); !errors.As(err, &netErr) || !netErr.Timeout() {
		t.Errorf("GET from a paused server: %v, want a timeout", err)
	}
	s.Resume()
	wantValue(t, c, "k", "v")
	s.Pause() // Cleanup ends a paused server too
}

func TestWithTLS_isRequired(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithTLS())
	set(t, s.Client(t), "k", "v")
	if err := s.Client(t, func(o *redis.Options) { o.TLSConfig = nil }).Ping(t.Context()).Err(); err == nil {
		t.Error("the server speaks without TLS")
	}
	strict := s.TLSConfig()
	strict.RootCAs = nil
	err := s.Client(t, func(o *redis.Options) { o.TLSConfig = strict }).Ping(t.Context()).Err()
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	if shared.TLSConfig() != nil {
		t.Error("a server without TLS has a TLS configuration")
	}
}

func TestWithPassword_isRequired(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithPassword(`se"cr et\`))
	set(t, s.Client(t), "k", "v")
	err := s.Client(t, func(o *redis.Options) { o.Password = "" }).Ping(t.Context()).Err()
	if err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
	s.Restart()
	set(t, s.Client(t), "k", "v")
}

func TestWithACLUser_isHeldToItsRules(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t,
		redistest.WithACLUser("all", "pw1"),
		redistest.WithACLUser("app", "pw2", "~app:*", "&app:*", "+@all", "-@dangerous"))
	set(t, s.ClientAs(t, "all", "pw1"), "any", "v")
	app := s.ClientAs(t, "app", "pw2")
	set(t, app, "app:k", "v")
	for name, err := range map[string]error{
		"key":     app.Set(t.Context(), "other:k", "v", 0).Err(),
		"command": app.FlushAll(t.Context()).Err(),
		"channel": app.Publish(t.Context(), "other", "v").Err(),
	} {
		if err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s: %v, want NOPERM", name, err)
		}
	}
}

func TestStartValkey_startsServersAndClusters(t *testing.T) {
	t.Parallel()
	if !redistest.ValkeyInstalled() {
		t.Log("valkey-server is not installed: nothing is tested here")
		return
	}
	s := redistest.StartValkey(t)
	set(t, s.Client(t), "k", "v")
	t.Logf("valkey %s", s.Version)
	set(t, redistest.StartCluster(t, 3, redistest.WithValkey()).Client(t), "k", "v")
}

func TestMiniredis_clockRuns(t *testing.T) {
	t.Parallel()
	m := redistest.Miniredis(t)
	c := m.Client(t)
	if err := c.Set(t.Context(), "k", "v", 20*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 5*time.Second, func() error {
		if v, err := c.Get(t.Context(), "k").Result(); !errors.Is(err, redis.Nil) {
			return fmt.Errorf("GET: %q, %w", v, err)
		}
		return nil
	})
}

// recorder is a Host that notes a failure instead of ending the test.
type recorder struct {
	*testing.T
	failure string
}

type fatal struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(fatal{})
}

func failureOf(t *testing.T, f func(redistest.Host)) (failure string) {
	t.Helper()
	r := &recorder{T: t}
	defer func() {
		if p := recover(); p != nil && p != (fatal{}) {
			panic(p)
		}
		failure = r.failure
	}()
	f(r)
	return ""
}

func TestStart_failsWithoutABinary(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, start := range map[string]func(redistest.Host){
		"standalone": func(h redistest.Host) { redistest.Start(h) },
		"valkey":     func(h redistest.Host) { redistest.StartValkey(h) },
		"cluster":    func(h redistest.Host) { redistest.StartCluster(h, 3) },
		"sentinel":   func(h redistest.Host) { redistest.StartSentinel(h) },
	} {
		if got := failureOf(t, start); !strings.Contains(got, "install-servers.sh") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if redistest.ValkeyInstalled() {
		t.Error("valkey is installed nowhere")
	}
}

func TestServer_endIsReportedWithItsLog(t *testing.T) {
	t.Parallel()
	began := time.Now()
	got := failureOf(t, func(h redistest.Host) { redistest.Start(h, redistest.WithArgs("--no-such-directive", "1")) })
	if !strings.Contains(got, "no-such-directive") {
		t.Errorf("failure %q", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("reported after %v", took)
	}
}

func TestEventually_failsWithTheLastError(t *testing.T) {
	t.Parallel()
	got := failureOf(t, func(h redistest.Host) {
		redistest.Eventually(h, 20*time.Millisecond, func() error { return errors.New("still wrong") })
	})
	if !strings.Contains(got, "still wrong") {
		t.Errorf("failure %q", got)
	}
}
