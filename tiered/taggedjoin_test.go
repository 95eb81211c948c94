package tiered_test

import (
	"fmt"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// A caller that comes after InvalidateTags does not get a value that was tagged before, be it from
// a load that has read it, or its tags' versions, already.
func TestInvalidateTags_lateCallerDoesNotJoinAnOlderLoad(t *testing.T) {
	t.Parallel()
	for trip := int64(1); trip <= 2; trip++ {
		for where, other := range map[string]bool{"same instance": false, "other instance": true} {
			t.Run(fmt.Sprintf("round trip %d/%s", trip, where), func(t *testing.T) {
				t.Parallel()
				ns := namespace(t)
				w, client := watched(t, tiered.Options{Namespace: ns}, trip)
				c := newCache[string](t, client, "c", tiered.CacheOptions{LocalTTL: 1})
				invalidator := c
				if other {
					invalidator = newCache[string](t, coherent(t, shared.Client(t), tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
				}
				ctx := t.Context()
				check(t, c.Set(ctx, "k", "old", tiered.Tags("tag")))
				eventually(t, "the instance hears of its own Set", func() bool { return client.Stats().Invalidations > 0 })
				early := async(func() (string, error) { return c.GetOrSet(w.mark(ctx), "k", constant("new")) })
				await(t, "the first caller's flight has its reply", w.held)
				before := client.Stats().Invalidations
				check(t, invalidator.InvalidateTags(ctx, "tag"))
				if other {
					eventually(t, "the instance hears of it", func() bool { return client.Stats().Invalidations > before })
				}
				late := async(func() (string, error) { return c.GetOrSet(ctx, "k", constant("new")) })
				eventually(t, "the late caller joins the flight, or has an answer of its own", func() bool { return client.Stats().Joined > 0 || len(late) > 0 })
				w.release()
				if r := receive(t, "the late caller", late); r.err != nil || r.v != "new" {
					t.Errorf("the late caller got %q, %v", r.v, r.err)
				}
				if r := receive(t, "the first caller", early); r.err != nil {
					t.Errorf("the first caller got %q, %v", r.v, r.err)
				}
				if got, err := c.Get(ctx, "k"); got == "old" {
					t.Errorf("afterwards Get gives %q, %v", got, err)
				}
			})
		}
	}
}

// An entry that a tag has invalidated is no entry to any method.
func TestInvalidateTags_leavesNoEntryToAnyMethod(t *testing.T) {
	t.Parallel()
	for where, writer := range map[string]int{"same instance": 0, "other instance": 1} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			ns, clients, caches := fleet[int64](t, 2, tiered.CacheOptions{})
			ctx, c := t.Context(), caches[0]
			check(t, c.Set(ctx, "n", 5, tiered.Tags("tag")))
			wantGet(t, c, "n", 5)
			eventually(t, "the instance hears of its own Set", func() bool { return clients[0].Stats().Invalidations > 0 })
			before := clients[0].Stats().Invalidations
			check(t, caches[writer].InvalidateTags(ctx, "tag"))
			if writer != 0 {
				eventually(t, "the instance hears of the invalidation", func() bool { return clients[0].Stats().Invalidations > before })
			}
			wantMissing(t, c, "n")
			if found, err := c.Exists(ctx, "n"); found || err != nil {
				t.Errorf("Exists = %t, %v", found, err)
			}
			if found, err := c.ExistsMany(ctx, []string{"n", "m"}); found["n"] || found["m"] || err != nil {
				t.Errorf("ExistsMany = %v, %v", found, err)
			}
			_, err := c.TTL(ctx, "n")
			wantErr(t, err, tiered.ErrNotFound)
			if found, err := c.Expire(ctx, "n", tiered.NoExpiration); found || err != nil {
				t.Errorf("Expire = %t, %v", found, err)
			}
			wantMissing(t, c, "n")
			if sum, err := c.Increment(ctx, "n", 1); sum != 1 || err != nil {
				t.Errorf("Increment = %d, %v, want 1", sum, err)
			}
			for _, c := range append(caches, remoteOnly[int64](t, ns, "c")) {
				wantGet(t, c, "n", 1)
			}
		})
	}
}

func TestIncrement_keepsTags(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[int64](t, 1, tiered.CacheOptions{})
	ctx, c, raw := t.Context(), caches[0], remoteOnly[int64](t, ns, "c")
	check(t, c.Set(ctx, "n", 5, tiered.Tags("tag", "other")))
	for want := int64(6); want < 8; want++ {
		if sum, err := c.Increment(ctx, "n", 1); sum != want || err != nil {
			t.Fatalf("Increment = %d, %v, want %d", sum, err, want)
		}
		wantGet(t, c, "n", want)
		wantGet(t, raw, "n", want)
	}
	check(t, c.InvalidateTags(ctx, "other"))
	wantMissing(t, c, "n")
	wantMissing(t, raw, "n")
}
