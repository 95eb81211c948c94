package tiered_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// The retry of an earlier change deletes no entry that a later change has stored: the later one
// waits for a retry that is under way.
func TestPending_retryDeletesNoLaterEntry(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(context.Context, *tiered.Cache[string]) error{
		"Set": func(ctx context.Context, c *tiered.Cache[string]) error { return c.Set(ctx, "key-of-trap", "new") },
		"SetMany": func(ctx context.Context, c *tiered.Cache[string]) error {
			_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "other", Value: "new"}, {Key: "key-of-trap", Value: "new"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client, c, raw := behindProxy(t, tiered.Options{})
			check(t, c.Set(t.Context(), "key-of-trap", "old"))
			trap := p.HoldNextCommand("key-of-trap")
			_, err := c.Delete(ended(t), "key-of-trap")
			wantErr(t, err, context.Canceled)
			await(t, "the retry is under way", trap.Sprung())
			short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := set(short, c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("beside a retry that hangs: %v", err)
			}
			stored := async(func() (struct{}, error) { return struct{}{}, set(t.Context(), c) })
			trap.Release()
			check(t, receive(t, "the change", stored).err)
			eventually(t, "nothing is pending", func() bool { return client.Stats().Pending == 0 })
			wantGet(t, c, "key-of-trap", "new")
			wantGet(t, raw, "key-of-trap", "new")
		})
	}
}
