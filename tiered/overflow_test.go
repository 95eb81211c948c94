package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// More undelivered invalidations than there is room for become one of the cache that has most of
// them. Another cache keeps its entries, its copies, and its pending invalidations.
func TestMaxPending_overflowBecomesOneInvalidationOfItsCache(t *testing.T) {
	t.Parallel()
	p, behind, other, a, b := pair(t, tiered.Options{MaxPending: 3, Lanes: 2})
	a2, b2 := newCache[int64](t, behind, "d", tiered.CacheOptions{}), newCache[int64](t, other, "d", tiered.CacheOptions{})
	ctx := t.Context()
	check(t, a2.Set(ctx, "kept", 1))
	check(t, a2.Set(ctx, "deleted", 1))
	wantGet(t, b2, "kept", 1)
	p.Refuse(true)
	p.CutAll()
	eventually(t, "connections that broke are gone, and the local tier is not trusted", func() bool {
		return errors.Is(errorOf(a.TTL(ctx, "nothing")), tiered.ErrRemoteUnavailable) && behind.Stats().Lanes[0].State != tiered.StateLive
	})
	wantErr(t, errorOf(a2.Delete(ctx, "deleted")), tiered.ErrRemoteUnavailable)
	wantErr(t, errorOf(a.DeleteMany(ctx, numbered(3))), tiered.ErrRemoteUnavailable)
	if s := behind.Stats(); s.PendingOverflows != 1 || s.Pending != 3 {
		t.Fatalf("%d overflows, %d pending, want one, and a floor of each lane beside the other cache's key", s.PendingOverflows, s.Pending)
	}
	// What fails now is covered by the floors.
	wantErr(t, errorOf(a.DeleteMany(ctx, numbered(100))), tiered.ErrRemoteUnavailable)
	if s := behind.Stats(); s.PendingOverflows != 1 || s.Pending != 3 {
		t.Fatalf("%d overflows, %d pending, want no more than before", s.PendingOverflows, s.Pending)
	}
	wantErr(t, errorOf(a.Get(ctx, "bystander")), tiered.ErrRemoteUnavailable) // all of its cache is in doubt
	wantGet(t, b, "bystander", 1)
	p.Refuse(false)
	eventually(t, "the other instance drops the cache", func() bool {
		return errors.Is(errorOf(b.Get(ctx, "bystander")), tiered.ErrNotFound) && errors.Is(errorOf(b.Get(ctx, "k")), tiered.ErrNotFound)
	})
	eventually(t, "nothing is pending", func() bool { return behind.Stats().Pending == 0 })
	wantMissing(t, a, "bystander")
	wantMissing(t, remoteOnly[int64](t, tiered.NamespaceOf(a), "c"), "bystander")
	wantMissing(t, a2, "deleted")
	eventually(t, "the other cache's key is deleted elsewhere", func() bool { return errors.Is(errorOf(b2.Get(ctx, "deleted")), tiered.ErrNotFound) })
	before := other.Stats().LocalHits
	wantGet(t, a2, "kept", 1)
	wantGet(t, b2, "kept", 1)
	if other.Stats().LocalHits != before+1 {
		t.Error("the other cache's copy is gone")
	}
	check(t, a.Set(ctx, "k", 5))
	eventually(t, "changes go on", func() bool { got, err := b.Get(ctx, "k"); return err == nil && got == 5 })
}

// A batch whose caller's context had ended is never sent. However large it is, it costs its own
// cache at most, and no reader is turned away for it.
func TestMaxPending_unsentLargeBatchCostsItsCacheAtMost(t *testing.T) {
	t.Parallel()
	keys := make([]string, tiered.DefaultMaxPending+1)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	for name, change := range map[string]func(context.Context, *tiered.Cache[string]) error{
		"SetMany": func(ctx context.Context, c *tiered.Cache[string]) error {
			items := make([]tiered.Item[string], len(keys))
			for i, key := range keys {
				items[i] = tiered.Item[string]{Key: key, Value: "new"}
			}
			return errorOf(c.SetMany(ctx, items))
		},
		"DeleteMany":     func(ctx context.Context, c *tiered.Cache[string]) error { return errorOf(c.DeleteMany(ctx, keys)) },
		"InvalidateTags": func(ctx context.Context, c *tiered.Cache[string]) error { return c.InvalidateTags(ctx, keys...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := coherent(t, shared.Client(t), tiered.Options{Lanes: 3})
			a, b := newCache[string](t, client, "a", tiered.CacheOptions{}), newCache[string](t, client, "b", tiered.CacheOptions{})
			ctx := t.Context()
			check(t, b.Set(ctx, "unrelated", "v"))
			for _, key := range []string{"k0", "k7"} {
				check(t, a.Set(ctx, key, "old", tiered.Tags(key)))
			}
			wantErr(t, change(ended(t), a), context.Canceled)
			hits := client.Stats().LocalHits
			wantGet(t, b, "unrelated", "v")
			if client.Stats().LocalHits != hits+1 {
				t.Error("another cache's copy is gone")
			}
			for _, key := range []string{"k0", "k7"} {
				wantMissing(t, a, key)
			}
			eventually(t, "nothing is pending", func() bool { return client.Stats().Pending == 0 })
			if s := client.Stats(); s.PendingOverflows > 1 {
				t.Errorf("%d overflows", s.PendingOverflows)
			}
			wantGet(t, b, "unrelated", "v")
			check(t, a.Set(ctx, "k0", "later"))
			wantGet(t, a, "k0", "later")
		})
	}
}

// A change of unknown outcome that an overflow has turned into floors may happen after they were raised: then they are
// raised once more.
func TestMaxPending_overflowCoversChangesThatHappenLate(t *testing.T) {
	t.Parallel()
	p, client, c, raw := behindProxy(t, tiered.Options{MaxPending: 1, RemoteTimeout: 3 * time.Second})
	ctx, leave := context.WithCancel(t.Context())
	check(t, c.Set(ctx, "k", "old"))
	check(t, c.Set(ctx, "bystander", "old"))
	wantGet(t, raw, "bystander", "old")
	trap := p.HoldNextCommand("late-value")
	go func() {
		defer leave()
		select {
		case <-trap.Sprung():
		case <-t.Context().Done():
		}
	}()
	wantErr(t, c.Set(ctx, "k", "late-value"), tiered.ErrUnknownOutcome)
	wantErr(t, errorOf(c.Delete(ctx, "other")), context.Canceled)
	if s := client.Stats(); s.PendingOverflows != 1 {
		t.Fatalf("%d overflows", s.PendingOverflows)
	}
	eventually(t, "the floor is raised", func() bool { return errors.Is(errorOf(raw.Get(t.Context(), "bystander")), tiered.ErrNotFound) })
	trap.Release() // and the change is made
	eventually(t, "nothing is pending", func() bool {
		if got, err := c.Get(t.Context(), "k"); err == nil {
			t.Fatalf("it reads %q", got)
		}
		return client.Stats().Pending == 0
	})
	wantMissing(t, c, "k")
	eventually(t, "others do not read it", func() bool { return errors.Is(errorOf(raw.Get(t.Context(), "k")), tiered.ErrNotFound) })
}
