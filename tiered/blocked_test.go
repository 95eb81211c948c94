package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// ended gives a context that has ended.
func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A change is never sent if its caller's context had ended, and its caller is told so. The
// invalidation that it leaves turns no other reader away: each waits for the first retry, and then
// reads the entry that the retry has left.
func TestPending_unsentChangeTurnsNoReaderAway(t *testing.T) {
	t.Parallel()
	readers := map[string]func(ctx context.Context, c *tiered.Cache[int64]) error{
		"Get": func(ctx context.Context, c *tiered.Cache[int64]) error { return gone(c.Get(ctx, "k")) },
		"GetMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
			m, err := c.GetMany(ctx, []string{"k"})
			if len(m) > 0 {
				return fmt.Errorf("it reads %v", m)
			}
			return err
		},
		"Exists": func(ctx context.Context, c *tiered.Cache[int64]) error {
			there, err := c.Exists(ctx, "k")
			if there {
				return errors.New("it exists")
			}
			return err
		},
		"ExistsMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
			m, err := c.ExistsMany(ctx, []string{"k"})
			if m["k"] {
				return errors.New("it exists")
			}
			return err
		},
		"TTL": func(ctx context.Context, c *tiered.Cache[int64]) error {
			_, err := c.TTL(ctx, "k")
			return gone(int64(0), err)
		},
		"GetOrSet": func(ctx context.Context, c *tiered.Cache[int64]) error {
			v, err := c.GetOrSet(ctx, "k", constant(int64(7)))
			if err == nil && v != 7 {
				return fmt.Errorf("it reads %d", v)
			}
			// The load had the right to fill: the value is in Redis.
			if there, err := c.TTL(ctx, "k"); err != nil || there <= 0 {
				return fmt.Errorf("what was loaded is not stored: %v, %w", there, err)
			}
			return err
		},
		"GetOrSetMany": func(ctx context.Context, c *tiered.Cache[int64]) error {
			m, err := c.GetOrSetMany(ctx, []string{"k"}, func(context.Context, []string) (map[string]int64, error) {
				return map[string]int64{"k": 7}, nil
			})
			if err == nil && m["k"] != 7 {
				return fmt.Errorf("it reads %v", m)
			}
			if there, err := c.TTL(ctx, "k"); err != nil || there <= 0 {
				return fmt.Errorf("what was loaded is not stored: %v, %w", there, err)
			}
			return err
		},
		"SetIfAbsent": func(ctx context.Context, c *tiered.Cache[int64]) error {
			won, err := c.SetIfAbsent(ctx, "k", 7)
			if err == nil && !won {
				return errors.New("there was an entry")
			}
			return err
		},
		"Increment": func(ctx context.Context, c *tiered.Cache[int64]) error {
			sum, err := c.Increment(ctx, "k", 7)
			if err == nil && sum != 7 {
				return fmt.Errorf("the sum is %d", sum)
			}
			return err
		},
	}
	for name, change := range undelivered {
		for reader, read := range readers {
			t.Run(name+"/"+reader, func(t *testing.T) {
				t.Parallel()
				client, c := one[int64](t, tiered.CacheOptions{})
				check(t, c.Set(t.Context(), "k", 1, tiered.Tags("tag")))
				err := change(ended(t), c)
				wantErr(t, err, context.Canceled)
				if errors.Is(err, tiered.ErrUnknownOutcome) || errors.Is(err, tiered.ErrRemoteUnavailable) {
					t.Errorf("%s says %v of what was never sent", name, err)
				}
				check(t, read(t.Context(), c))
				eventually(t, "nothing is pending", func() bool { return client.Stats().Pending == 0 })
			})
		}
	}
}

func gone(v int64, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("it reads %d", v)
	case errors.Is(err, tiered.ErrNotFound):
		return nil
	}
	return err
}
