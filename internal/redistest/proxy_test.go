package redistest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

const patience = time.Minute

// behind returns a proxy in front of the shared server, a client through it, and one that goes around it.
func behind(t *testing.T) (p *redistest.Proxy, through, around *redis.Client) {
	t.Helper()
	p = redistest.NewProxy(t, shared.Addr)
	through = shared.Client(t, func(o *redis.Options) {
		o.Addr = p.Addr()
		o.ContextTimeoutEnabled = true
	})
	around = shared.Client(t)
	if err := around.Del(t.Context(), t.Name()).Err(); err != nil { // of an earlier run with -count
		t.Fatal(err)
	}
	return p, through, around
}

// briefly is a context for a command that must not be answered.
func briefly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func wantTimeout(t *testing.T, err error) {
	t.Helper()
	var netErr net.Error
	if !errors.Is(err, context.DeadlineExceeded) && (!errors.As(err, &netErr) || !netErr.Timeout()) {
		t.Errorf("%v, want a timeout", err)
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// awaitValue waits for what a command without a reply has done.
func awaitValue(t *testing.T, c *redis.Client, key, want string) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got, err := c.Get(t.Context(), key).Result(); err != nil || got != want {
			return fmt.Errorf("GET %s: %q, %w", key, got, err)
		}
		return nil
	})
}

func TestProxy_passes(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	big := strings.Repeat("x", 1<<20)
	set(t, through, t.Name(), big)
	wantValue(t, through, t.Name(), big)
	wantValue(t, around, t.Name(), big)
	if p.Connections() != 1 || p.Accepted() != 1 {
		t.Errorf("%d connections, %d accepted", p.Connections(), p.Accepted())
	}
	if err := through.Close(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, func() error {
		if n := p.Connections(); n != 0 {
			return fmt.Errorf("%d connections after the client closed", n)
		}
		return nil
	})
}

func TestProxy_swallowsReplies(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	set(t, through, t.Name(), "before")
	p.SwallowReplies(true)
	wantTimeout(t, through.Set(briefly(t), t.Name(), "during", 0).Err())
	awaitValue(t, around, t.Name(), "during") // it took effect all the same
	p.SwallowReplies(false)
	wantValue(t, through, t.Name(), "during")
}

// A reply that comes after the loss must not be taken for that of the command whose reply was lost.
func TestProxy_closesAConnectionThatLostBytes(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*redistest.Proxy, bool){
		"replies":   (*redistest.Proxy).SwallowReplies,
		"everybyte": (*redistest.Proxy).BlackHole,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := redistest.NewProxy(t, shared.Addr)
			conn, err := net.Dial("tcp4", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			send := func(s string) {
				if _, err := io.WriteString(conn, s); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 64)
			send("ECHO one\r\n")
			if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "$3\r\none\r\n" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			lose(p, true)
			send("ECHO two\r\n")
			redistest.Eventually(t, patience, func() error {
				if p.Lossy() != 1 {
					return errors.New("nothing is lost yet")
				}
				return nil
			})
			lose(p, false)
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(buf); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%q, %v, want a reset", buf[:n], err)
			}
		})
	}
}

func TestProxy_blackHole(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	set(t, through, t.Name(), "before")
	p.BlackHole(true)
	wantTimeout(t, through.Set(briefly(t), t.Name(), "during", 0).Err())
	fresh := shared.Client(t, func(o *redis.Options) {
		o.Addr = p.Addr()
		o.ContextTimeoutEnabled = true
	})
	wantTimeout(t, fresh.Ping(briefly(t)).Err()) // accepted, never answered
	p.BlackHole(false)
	wantValue(t, through, t.Name(), "before")
	wantValue(t, around, t.Name(), "before")
}

// A black hole hides even the server's death.
func TestProxy_blackHoleHidesTheEnd(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	conn, err := net.Dial("tcp4", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 16)
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	p.BlackHole(true)
	s.Kill()
	redistest.Eventually(t, patience, func() error {
		if p.Lossy() != 1 {
			return errors.New("the end has not arrived yet")
		}
		return nil
	})
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(buf)
	wantTimeout(t, err)
	p.BlackHole(false)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(buf); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

func TestProxy_holdsReplies(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	set(t, through, t.Name(), "before")
	p.HoldReplies()
	got := make(chan error, 1)
	go func() { got <- through.Set(context.Background(), t.Name(), "held", 0).Err() }()
	redistest.Eventually(t, patience, func() error {
		if p.Held() != 1 {
			return fmt.Errorf("%d held", p.Held())
		}
		return nil
	})
	wantValue(t, around, t.Name(), "held")
	select {
	case err := <-got:
		t.Fatalf("answered while held: %v", err)
	default:
	}
	p.ReleaseReplies()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if p.Held() != 0 || p.Accepted() != 1 {
		t.Errorf("%d held, %d accepted", p.Held(), p.Accepted())
	}
}

func TestProxy_cutsAll(t *testing.T) {
	t.Parallel()
	p, through, _ := behind(t)
	sub := through.Subscribe(t.Context(), t.Name())
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, through, t.Name(), "v")
	if n := p.CutAll(); n != 2 {
		t.Errorf("cut %d connections, want 2", n)
	}
	if _, err := sub.ReceiveTimeout(t.Context(), patience); err == nil {
		t.Error("the subscription survived")
	}
	redistest.Eventually(t, patience, func() error { return through.Get(t.Context(), t.Name()).Err() })
}

func TestProxy_refuses(t *testing.T) {
	t.Parallel()
	p, through, _ := behind(t)
	set(t, through, t.Name(), "v")
	p.Refuse(true)
	p.Refuse(true)                       // again changes nothing
	wantValue(t, through, t.Name(), "v") // on the connection it has
	p.CutAll()
	redistest.Eventually(t, patience, func() error {
		if err := through.Ping(t.Context()).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("PING: %w, want refused", err)
		}
		return nil
	})
	p.Refuse(false)
	p.Refuse(false)
	wantValue(t, through, t.Name(), "v")
}

func TestProxy_resetsWithoutAServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	c := s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() })
	s.Stop()
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("answered without a server")
	}
	s.Restart()
	set(t, c, "k", "v")
}

func TestProxy_swallowsOneReply(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	set(t, through, t.Name(), "before")
	trap := p.SwallowNextReplyTo(t.Name() + "\r\n$5\r\ntaken")
	set(t, through, t.Name(), "other") // does not match
	if err := through.Set(t.Context(), t.Name(), "taken", 0).Err(); err == nil {
		t.Error("the reply arrived")
	}
	await(t, "swallow", trap.Sprung())
	wantValue(t, around, t.Name(), "taken") // executed, no waiting: the server has answered
	set(t, through, t.Name(), "taken")      // once only
}

func TestProxy_holdsOneReply(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	trap := p.HoldNextReplyTo(t.Name())
	got := make(chan error, 1)
	go func() { got <- through.Set(context.Background(), t.Name(), "v", 0).Err() }()
	await(t, "hold", trap.Sprung())
	wantValue(t, around, t.Name(), "v")
	set(t, through, t.Name()+"2", "v") // others pass on another connection
	select {
	case err := <-got:
		t.Fatalf("answered while held: %v", err)
	default:
	}
	trap.Release()
	trap.Release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestProxy_holdsOneCommand(t *testing.T) {
	t.Parallel()
	p, through, around := behind(t)
	trap := p.HoldNextCommand(t.Name())
	got := make(chan error, 1)
	go func() { got <- through.Set(context.Background(), t.Name(), "v", 0).Err() }()
	await(t, "hold", trap.Sprung())
	if err := around.Get(t.Context(), t.Name()).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the command took effect while held: %v", err)
	}
	trap.Release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	wantValue(t, around, t.Name(), "v")
}

// A trap's text may arrive in pieces.
func TestProxy_trapMayArriveInPieces(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, shared.Addr)
	trap := p.HoldNextCommand("needle")
	conn, err := net.Dial("tcp4", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, piece := range []string{"PING\r\n", "PING\r\n", "ECHO ne", "ed", "le\r\n"} {
		if _, err := io.WriteString(conn, piece); err != nil {
			t.Fatal(err)
		}
		if piece == "PING\r\n" { // its answer shows that the proxy has read it alone
			if _, err := conn.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "hold", trap.Sprung())
}

func TestProxy_delays(t *testing.T) {
	t.Parallel()
	p, through, _ := behind(t)
	set(t, through, t.Name(), "v")
	const delay = 50 * time.Millisecond
	p.Delay(delay)
	began := time.Now()
	wantValue(t, through, t.Name(), "v")
	if took := time.Since(began); took < delay {
		t.Errorf("answered after %v", took)
	}
	p.Delay(time.Hour)
	got := make(chan error, 1)
	go func() { got <- through.Get(context.Background(), t.Name()).Err() }()
	p.Delay(0) // a delay that ends lets go what it kept
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestProxy_closeEndsHeldReplies(t *testing.T) {
	t.Parallel()
	p, through, _ := behind(t)
	p.HoldReplies()
	p.HoldNextCommand("PING")
	var wg sync.WaitGroup
	wg.Go(func() { _ = through.Set(context.Background(), t.Name(), "v", 0).Err() })
	wg.Go(func() { _ = through.Ping(context.Background()).Err() })
	redistest.Eventually(t, patience, func() error {
		if p.Connections() != 2 {
			return fmt.Errorf("%d connections", p.Connections())
		}
		return nil
	})
	p.Close()
	p.Close()
	wg.Wait()
	if n := p.Connections(); n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}

func TestProxy_refusesABadTrap(t *testing.T) {
	t.Parallel()
	for _, match := range []string{"", strings.Repeat("x", 257)} {
		got := failureOf(t, func(h redistest.Host) {
			redistest.NewProxy(h, shared.Addr).SwallowNextReplyTo(match)
		})
		if got == "" {
			t.Errorf("a trap of %d bytes is accepted", len(match))
		}
	}
}
