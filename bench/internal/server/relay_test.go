package server

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// behind gives a relay, and a client that knows the server only through it.
func behind(t *testing.T, s *Server) (*Relay, redis.UniversalClient) {
	t.Helper()
	r, err := s.Relay()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(s.URL(), func(o *redis.UniversalOptions) {
		o.Dialer = DialThrough(r.Map())
		o.MaxRetries, o.DialerRetries, o.MaxRedirects = -1, 1, 1
		o.ReadTimeout = patience
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, c
}

// set sets a key on each node, most likely: the first error is given.
func set(ctx context.Context, c redis.UniversalClient) error {
	for i := range 10 {
		if err := c.Set(ctx, fmt.Sprint("k", i), 1, 0).Err(); err != nil {
			return err
		}
	}
	return nil
}

func briefly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRelay(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Embedded, Standalone, Cluster} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := open(t, Options{Kind: kind})
			r, c := behind(t, s)
			works := func() bool { return set(t.Context(), c) == nil }
			if err := set(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if n := r.Connections(); n < len(s.Addrs()) {
				t.Errorf("%d connections for %d nodes: something goes around the relay", n, len(s.Addrs()))
			}
			if err := r.Refuse(true); err != nil {
				t.Fatal(err)
			}
			r.CutAll()
			eventually(t, "refused", func() bool { return errors.Is(c.Set(t.Context(), "k0", 1, 0).Err(), syscall.ECONNREFUSED) })
			if err := r.Refuse(false); err != nil {
				t.Fatal(err)
			}
			eventually(t, "after a cut", works)

			r.BlackHole(true)
			if err := set(briefly(t), c); err == nil {
				t.Error("answered through a black hole")
			}
			r.BlackHole(false)
			eventually(t, "after a black hole", works)

			r.SwallowReplies(true)
			if err := c.Set(briefly(t), "swallowed", 1, 0).Err(); err == nil {
				t.Error("the reply was not swallowed")
			}
			eventually(t, "the command itself", func() bool { return s.Client().Get(t.Context(), "swallowed").Err() == nil })
			r.SwallowReplies(false)
			eventually(t, "after lost replies", works)

			const delay = 30 * time.Millisecond
			r.Delay(delay)
			began := time.Now()
			if err := c.Get(t.Context(), "k0").Err(); err != nil || time.Since(began) < delay {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			r.Delay(0)

			if _, err := DialThrough(r.Map())(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
				t.Error("a node without a relay is dialled")
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			if err := set(t.Context(), c); err == nil {
				t.Error("answered after Close")
			}
		})
	}
}

func TestRelayPassesTLS(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.WithTLS())
	p := redistest.NewProxy(t, srv.Addr)
	c, err := NewClient("rediss://"+srv.Addr, func(o *redis.UniversalOptions) {
		o.TLSConfig = srv.TLSConfig()
		o.TLSConfig.ServerName = ""
		o.Dialer = DialThrough(map[string]string{srv.Addr: p.Addr()})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := set(t.Context(), c); err != nil {
		t.Error(err)
	}
}
