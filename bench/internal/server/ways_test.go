package server

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// set sets a key on each node, most likely: the first error is given.
func set(ctx context.Context, c redis.UniversalClient) error {
	for i := range 10 {
		if err := c.Set(ctx, fmt.Sprint("k", i), 1, 0).Err(); err != nil {
			return err
		}
	}
	return nil
}

func TestInstancesReachNodesByWaysOnly(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Embedded, Cluster} {
		s := open(t, Options{Kind: kind})
		ways, err := s.Ways()
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(s.URL(), func(o *redis.UniversalOptions) {
			o.Dialer = DialThrough(ways.Map())
			o.MaxRetries, o.DialerRetries, o.MaxRedirects, o.ReadTimeout = -1, 1, 1, patience
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := set(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, w := range ways {
			n += w.Open()
		}
		if n < len(s.Addrs()) {
			t.Errorf("%d connections for %d nodes: something goes around the ways", n, len(s.Addrs()))
		}
		if _, err := DialThrough(ways.Map())(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
			t.Error("a node without a way is dialled")
		}
		ways.Close()
		if err := set(t.Context(), c); err == nil {
			t.Error("answered after Close")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWaysPassTLS(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.WithTLS())
	ways, err := (&Server{url: "rediss://" + srv.Addr, addrs: []string{srv.Addr}}).Ways()
	if err != nil {
		t.Fatal(err)
	}
	defer ways.Close()
	c, err := NewClient("rediss://"+srv.Addr, func(o *redis.UniversalOptions) {
		o.TLSConfig = srv.TLSConfig()
		o.TLSConfig.ServerName = ""
		o.Dialer = DialThrough(ways.Map())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := set(t.Context(), c); err != nil {
		t.Error(err)
	}
}
