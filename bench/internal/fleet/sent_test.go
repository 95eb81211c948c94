package fleet

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// What is sent counts, and not what a script calls.
func TestSentCommandsAreCounted(t *testing.T) {
	t.Parallel()
	// Pipelines have connections of their own, and what opens one is sent too.
	ping := func(ctx context.Context, node redis.UniversalClient) error {
		_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Ping(ctx).Err() })
		return errors.Join(err, node.Ping(ctx).Err())
	}
	for name, rdb := range map[string]redis.UniversalClient{
		"standalone": redis.NewClient(&redis.Options{Addr: redistest.Start(t).Addr}),
		"cluster":    redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.StartCluster(t, 2).Addrs()}),
	} {
		s := countSent(rdb)
		ctx := t.Context()
		err := ping(ctx, rdb)
		if c, ok := rdb.(*redis.ClusterClient); ok {
			err = errors.Join(err, c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return ping(ctx, node) }))
		}
		if err != nil {
			t.Fatal(err)
		}
		before := s.Load()
		const n = 20
		for i := range n {
			if err := rdb.Set(ctx, fmt.Sprint("k", i), i, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		script := "redis.call('GET', KEYS[1]) return redis.call('GET', KEYS[1])"
		if got, err := rdb.Eval(ctx, script, []string{"k7"}).Text(); got != "7" || err != nil {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
		_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := range n {
				p.Get(ctx, fmt.Sprint("k", i))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Load() - before; got != 2*n+1 {
			t.Errorf("%s: counted %d, want %d", name, got, 2*n+1)
		}
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
	}
}
