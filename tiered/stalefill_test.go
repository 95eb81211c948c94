package tiered_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// Each case is a change that is acknowledged while a load that began before it is under way; want is what the remote tier
// has for the key afterwards, 0 for nothing.
var changes = map[string]struct {
	make func(ctx context.Context, c *tiered.Cache[int64]) error
	want int64
}{
	"Set": {func(ctx context.Context, c *tiered.Cache[int64]) error { return c.Set(ctx, "k", 2) }, 2},
	"SetMany": {func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: "k", Value: 2}})
		return err
	}, 2},
	"SetIfAbsent": {func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.SetIfAbsent(ctx, "k", 2)
		return err
	}, 2},
	"GetOrSetValue": {func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.GetOrSetValue(ctx, "k", 2)
		return err
	}, 2},
	"Increment": {func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.Increment(ctx, "k", 2)
		return err
	}, 2},
	"Delete": {func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Delete(ctx, "k"); return err }, 0},
	"DeleteMany": {func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.DeleteMany(ctx, []string{"k"})
		return err
	}, 0},
	"Clear":          {func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Clear(ctx, ""); return err }, 0},
	"Clear pattern":  {func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Clear(ctx, "[k]*"); return err }, 0},
	"InvalidateTags": {func(ctx context.Context, c *tiered.Cache[int64]) error { return c.InvalidateTags(ctx, "tag") }, 0},
}

// A load that began before a change never shows in either tier after the change was acknowledged,
// on whichever instance it was made, and no caller that comes after it joins that load.
func TestStaleFill_loadBegunBeforeAChangeIsNotSeenAfterIt(t *testing.T) {
	t.Parallel()
	// begin starts a load of 1 on an instance, by one of the two ways to load.
	begin := map[string]func(ctx context.Context, c *tiered.Cache[int64], b *blocked[int64]) (int64, error){
		"single": func(ctx context.Context, c *tiered.Cache[int64], b *blocked[int64]) (int64, error) {
			return c.GetOrSet(ctx, "k", b.load, tiered.Tags("tag"))
		},
		"batch": func(ctx context.Context, c *tiered.Cache[int64], b *blocked[int64]) (int64, error) {
			m, err := c.GetOrSetMany(ctx, []string{"k"}, func(ctx context.Context, _ []string) (map[string]int64, error) {
				v, err := b.load(ctx)
				return map[string]int64{"k": v}, err
			}, tiered.Tags("tag"))
			return m["k"], err
		},
	}
	for how, load := range begin {
		for name, change := range changes {
			for where, writer := range map[string]int{"same instance": 0, "other instance": 1} {
				t.Run(how+"/"+name+"/"+where, func(t *testing.T) {
					t.Parallel()
					ns, clients, caches := fleet[int64](t, 2, tiered.CacheOptions{})
					raw := remoteOnly[int64](t, ns, "c")
					ctx := t.Context()
					b := newBlocked(t, int64(1))
					old := async(func() (int64, error) { return load(ctx, caches[0], b) })
					await(t, "the load runs", b.running)
					check(t, change.make(ctx, caches[writer]))
					if writer != 0 {
						eventually(t, "the loading instance hears of the change", func() bool { return clients[0].Stats().Invalidations > 0 })
					}

					// A caller who comes now, without the tag, gets what is there now, or loads.
					late := async(func() (int64, error) { return caches[0].GetOrSet(ctx, "k", constant(int64(2))) })
					if r := receive(t, "a caller who comes after the change does not wait for the old load", late); r.err != nil || r.v != 2 {
						t.Fatalf("it got %d, %v, want 2", r.v, r.err)
					}
					b.letGo()
					if r := receive(t, "the old load's caller", old); r.err != nil || r.v != 1 {
						t.Fatalf("the old load's caller got %d, %v", r.v, r.err)
					}
					for i, c := range []*tiered.Cache[int64]{raw, caches[0], caches[1]} {
						if got, err := c.Get(ctx, "k"); got == 1 {
							t.Errorf("reader %d gets %d, %v: the value from before the change", i, got, err)
						}
					}
				})
			}
		}
	}
}

// The same, with no other load filling the key: after the old load's end the key has what the
// change left.
func TestStaleFill_isRefusedAfterAChange(t *testing.T) {
	t.Parallel()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns, clients, caches := fleet[int64](t, 2, tiered.CacheOptions{})
			b := newBlocked(t, int64(1))
			old := async(func() (int64, error) { return caches[0].GetOrSet(t.Context(), "k", b.load, tiered.Tags("tag")) })
			await(t, "the load runs", b.running)
			check(t, change.make(t.Context(), caches[1]))
			eventually(t, "the loading instance hears of the change", func() bool { return clients[0].Stats().Invalidations > 0 })
			b.letGo()
			receive(t, "the old load's caller", old)
			for _, c := range []*tiered.Cache[int64]{remoteOnly[int64](t, ns, "c"), caches[0], caches[1]} {
				if change.want == 0 {
					wantMissing(t, c, "k")
				} else {
					wantGet(t, c, "k", change.want)
				}
			}
			if s := clients[0].Stats(); name != "InvalidateTags" && (s.FillsRefused != 1 || s.Fills != 0) {
				t.Errorf("stats: %d fills refused, %d done, want 1 and 0", s.FillsRefused, s.Fills)
			}
		})
	}
}

// Of two loads without a change between them, the first has lost its lease: only the one that
// holds the lease may fill.
func TestLease_takenByAnotherLoadRefusesTheFill(t *testing.T) {
	t.Parallel()
	ns, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
	rdb := shared.Client(t)
	first, second := newBlocked(t, "first"), newBlocked(t, "second")
	one := async(func() (string, error) { return caches[0].GetOrSet(t.Context(), "k", first.load) })
	await(t, "the first load runs", first.running)
	if n := rdb.Del(t.Context(), ns+":c:k").Val(); n != 1 {
		t.Fatalf("%d leases under the key, want 1", n)
	}
	two := async(func() (string, error) { return caches[1].GetOrSet(t.Context(), "k", second.load) })
	await(t, "the second load runs", second.running)
	first.letGo()
	receive(t, "the first caller", one)
	wantMissing(t, remoteOnly[string](t, ns, "c"), "k")
	if s := clients[0].Stats(); s.Fills != 0 || s.FillsRefused != 1 {
		t.Errorf("first: %d fills, %d refused, want 0 and 1", s.Fills, s.FillsRefused)
	}
	second.letGo()
	receive(t, "the second caller", two)
	wantGet(t, remoteOnly[string](t, ns, "c"), "k", "second")
}

func TestLease_whenLostRefusesTheFill(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[string](t, 1, tiered.CacheOptions{})
	b := newBlocked(t, "v")
	call := async(func() (string, error) { return caches[0].GetOrSet(t.Context(), "k", b.load) })
	await(t, "the load runs", b.running)
	check(t, shared.Client(t).Del(t.Context(), ns+":c:k").Err()) // as a server that lost its memory would
	b.letGo()
	receive(t, "the caller", call)
	wantMissing(t, remoteOnly[string](t, ns, "c"), "k")
}

// Another instance's lease is respected: a caller that has waited long enough loads and is served,
// and the remote tier is the other's to fill.
func TestLease_ofAnotherInstanceKeepsItsRightToFill(t *testing.T) {
	t.Parallel()
	ns, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
	b := newBlocked(t, "holder")
	holder := async(func() (string, error) { return caches[0].GetOrSet(t.Context(), "k", b.load) })
	await(t, "the holder's load runs", b.running)
	if got, err := caches[1].GetOrSet(t.Context(), "k", constant("guest"), tiered.HardTimeout(time.Second)); err != nil || got != "guest" {
		t.Fatalf("guest: %q, %v", got, err)
	}
	wantMissing(t, remoteOnly[string](t, ns, "c"), "k")
	if s := clients[1].Stats(); s.FillsSkipped != 1 {
		t.Errorf("%d fills skipped, want 1", s.FillsSkipped)
	}
	b.letGo()
	receive(t, "the holder", holder)
	wantGet(t, remoteOnly[string](t, ns, "c"), "k", "holder")
}

// A refresh of a live entry under way must not bring the old life back.
func TestExpire_winsAgainstARefreshUnderWay(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second}, func(t *testing.T, r *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
		check(t, c.Set(t.Context(), "k", "v"))
		time.Sleep(55 * time.Second)
		b := newBlocked(t, "refreshed")
		_, err := c.GetOrSet(t.Context(), "k", b.load)
		check(t, err)
		await(t, "the refresh runs", b.running)
		found, err := other.Expire(t.Context(), "k", time.Hour)
		if err != nil || !found {
			t.Fatalf("Expire = %t, %v", found, err)
		}
		b.letGo()
		synctest.Wait()
		if s := client.Stats(); s.FillsRefused != 1 {
			t.Errorf("%d fills refused, want the refresh's", s.FillsRefused)
		}
		if left, err := other.TTL(t.Context(), "k"); err != nil || left < 50*time.Minute {
			t.Errorf("TTL = %v, %v, want the hour that Expire gave", left, err)
		}
		wantGet(t, other, "k", "v")
		wantGet(t, c, "k", "v")
	})
}

// A negative entry, which says that there is no such thing, is tagged like a value would be.
func TestInvalidateTags_endsNegativeEntries(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[string](t, 1, tiered.CacheOptions{NegativeTTL: time.Minute})
	c := caches[0]
	missing := func(context.Context) (string, error) { return "", tiered.ErrNotFound }
	for range 2 {
		_, err := c.GetOrSet(t.Context(), "k", missing, tiered.Tags("tag"))
		wantErr(t, err, tiered.ErrNotFound)
		check(t, c.InvalidateTags(t.Context(), "tag"))
	}
	if got, err := remoteOnly[string](t, ns, "c").GetOrSet(t.Context(), "k", constant("v")); err != nil || got != "v" {
		t.Errorf("through the remote tier: %q, %v", got, err)
	}
	if got, err := c.GetOrSet(t.Context(), "k", constant("v"), tiered.Tags("tag")); err != nil || got != "v" {
		t.Errorf("through the local tier: %q, %v", got, err)
	}
}

// An entry that a tag invalidated is no entry: it makes room for SetIfAbsent, and GetOrSetValue does not call it missing.
func TestSetIfAbsent_replacesAnEntryThatATagInvalidated(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[string](t, 1, tiered.CacheOptions{})
	c := caches[0]
	for i, set := range []func() error{
		func() error {
			stored, err := c.SetIfAbsent(t.Context(), "0", "new", tiered.Tags("tag"))
			if err == nil && !stored {
				t.Error("SetIfAbsent found an entry that Get does not")
			}
			return err
		},
		func() error { _, err := c.GetOrSetValue(t.Context(), "1", "new", tiered.Tags("tag")); return err },
	} {
		key := numbered(2)[i]
		check(t, c.Set(t.Context(), key, "old", tiered.Tags("tag")))
		check(t, c.InvalidateTags(t.Context(), "tag"))
		wantMissing(t, c, key)
		check(t, set())
		wantGet(t, c, key, "new")
		wantGet(t, remoteOnly[string](t, ns, "c"), key, "new")
	}
}
