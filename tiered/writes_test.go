package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

func TestCoherence_ownChangesAreReadAtOnce(t *testing.T) {
	t.Parallel()
	for _, engine := range []local.EngineKind{local.Ristretto, local.Otter} {
		t.Run(engine.String(), func(t *testing.T) {
			t.Parallel()
			client := coherent(t, shared.Client(t), tiered.Options{Local: local.Options{Engine: engine}})
			c := newCache[int64](t, client, "c", tiered.CacheOptions{})
			ctx := t.Context()
			for i := range int64(200) {
				key := fmt.Sprint(i % 10)
				check(t, c.Set(ctx, key, i))
				wantGet(t, c, key, i)
				sum, err := c.Increment(ctx, key, 1)
				check(t, err)
				wantGet(t, c, key, sum)
				_, err = c.Delete(ctx, key)
				check(t, err)
				wantMissing(t, c, key)
				stored, err := c.SetIfAbsent(ctx, key, -i)
				if err != nil || !stored {
					t.Fatalf("SetIfAbsent = %t, %v", stored, err)
				}
				wantGet(t, c, key, -i)
			}
		})
	}
}

// Of concurrent Sets of one key in one instance the local tier never keeps the loser.
func TestSet_concurrentOnesLeaveBothTiersAlike(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[int64](t, 1, tiered.CacheOptions{})
	c, raw := caches[0], remoteOnly[int64](t, ns, "c")
	for round := range 40 {
		key := fmt.Sprint(round)
		var wg sync.WaitGroup
		for w := range int64(6) {
			wg.Go(func() {
				for n := range int64(5) {
					var err error
					switch v := 10*w + n; n % 3 {
					case 0:
						err = c.Set(t.Context(), key, v)
					case 1:
						_, err = c.SetMany(t.Context(), []tiered.Item[int64]{{Key: key, Value: v}})
					default:
						_, err = c.GetOrSet(t.Context(), key, constant(v))
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want, err := raw.Get(t.Context(), key)
		check(t, err)
		wantGet(t, c, key, want)
	}
}

func TestSetIfAbsent_keepsNoValueOfALoser(t *testing.T) {
	t.Parallel()
	_, _, caches := fleet[string](t, 2, tiered.CacheOptions{})
	check(t, caches[1].Set(t.Context(), "k", "winner"))
	stored, err := caches[0].SetIfAbsent(t.Context(), "k", "loser")
	if err != nil || stored {
		t.Fatalf("SetIfAbsent = %t, %v", stored, err)
	}
	wantGet(t, caches[0], "k", "winner")
	if got, err := caches[0].GetOrSetValue(t.Context(), "k", "loser"); err != nil || got != "winner" {
		t.Errorf("GetOrSetValue = %q, %v", got, err)
	}
}

func TestGetOrSetValue_givesAllCallersTheSame(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[int](t, 3, tiered.CacheOptions{})
	for round := range 20 {
		key := fmt.Sprint(round)
		got := make([]int, 12)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				v, err := caches[i%3].GetOrSetValue(t.Context(), key, i+1)
				if err != nil {
					t.Error(err)
				}
				got[i] = v
			})
		}
		wg.Wait()
		want, err := remoteOnly[int](t, ns, "c").Get(t.Context(), key)
		check(t, err)
		for i, v := range got {
			if v != want {
				t.Errorf("caller %d got %d, the remote tier has %d", i, v, want)
			}
		}
	}
}

// An entry whose life ends between the script's look and the caller's must not become ErrNotFound.
func TestGetOrSetValue_neverSaysNotFound(t *testing.T) {
	t.Parallel()
	_, c := one[int](t, tiered.CacheOptions{TTL: time.Millisecond, LocalTTL: 1, FailSafe: time.Minute})
	deadline := time.Now().Add(300 * time.Millisecond)
	for i := 0; time.Now().Before(deadline); i++ {
		if _, err := c.GetOrSetValue(t.Context(), "k", i); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// behindProxy gives an instance whose every connection goes through a proxy, and a cache of the same namespace that
// reads past it.
func behindProxy(t *testing.T, o tiered.Options) (*redistest.Proxy, *tiered.Client, *tiered.Cache[string], *tiered.Cache[string]) {
	t.Helper()
	p := redistest.NewProxy(t, shared.Addr)
	o.Namespace = namespace(t)
	client := coherent(t, shared.Client(t, func(r *redis.Options) { r.Addr = p.Addr() }), o)
	return p, client, newCache[string](t, client, "c", tiered.CacheOptions{}), remoteOnly[string](t, o.Namespace, "c")
}

func TestErrUnknownOutcome_isReportedAndEndsCoherent(t *testing.T) {
	t.Parallel()
	// A change in doubt may happen for as long as the timeout.
	p, _, c, raw := behindProxy(t, tiered.Options{RemoteTimeout: 2 * time.Second, RetryBackoff: 50 * time.Millisecond})
	ctx := t.Context()
	check(t, c.Set(ctx, "key-of-trap", "old"))
	wantGet(t, c, "key-of-trap", "old")
	for name, change := range map[string]func() error{
		"Set": func() error { return c.Set(ctx, "key-of-trap", "new") },
		"SetMany": func() error {
			_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "key-of-trap", Value: "new"}})
			return err
		},
		"Delete":    func() error { _, err := c.Delete(ctx, "key-of-trap"); return err },
		"IfAbsent":  func() error { _, err := c.SetIfAbsent(ctx, "key-of-trap", "again"); return err },
		"ManyGone":  func() error { _, err := c.DeleteMany(ctx, []string{"key-of-trap"}); return err },
		"Expire":    func() error { _, err := c.Expire(ctx, "key-of-trap", time.Hour); return err },
		"FullClear": func() error { _, err := c.Clear(ctx, "key-of-trap*"); return err },
	} {
		trap := p.SwallowNextReplyTo("key-of-trap")
		err := change()
		await(t, name+": the reply is swallowed", trap.Sprung())
		wantErr(t, err, tiered.ErrRemoteUnavailable)
		if name != "FullClear" { // its first command is a read
			wantErr(t, err, tiered.ErrUnknownOutcome)
		}
		// Until it hears that the change was made, it asks neither tier.
		eventually(t, name+": the instance reads what the remote tier has", func() bool {
			got, err := c.Get(ctx, "key-of-trap")
			want, remoteErr := raw.Get(ctx, "key-of-trap")
			return got == want && errors.Is(err, remoteErr)
		})
	}
}

// A command is sent, given up, and carried out later: a copy that was read in between must not
// stay.
func TestCoherence_changeThatHappensAfterItWasGivenUpIsSeen(t *testing.T) {
	t.Parallel()
	p, client, c, raw := behindProxy(t, tiered.Options{RemoteTimeout: 2 * time.Second})
	check(t, c.Set(t.Context(), "key-of-trap", "old"))
	trap := p.HoldNextCommand("key-of-trap")
	err := c.Set(t.Context(), "key-of-trap", "new")
	await(t, "the command is held", trap.Sprung())
	wantErr(t, err, tiered.ErrUnknownOutcome, tiered.ErrRemoteUnavailable)
	// It may not have happened yet: what the tiers hold is not to be trusted, and what is loaded is kept by neither.
	_, err = c.Get(t.Context(), "key-of-trap")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	if got, err := c.GetOrSet(t.Context(), "key-of-trap", constant("of the source")); got != "of the source" || err != nil {
		t.Errorf("GetOrSet = %q, %v", got, err)
	}
	trap.Release()
	// The change happens, and may be undone by the invalidation that makes up for it.
	eventually(t, "what was there before is gone for good", func() bool {
		got, err := c.Get(t.Context(), "key-of-trap")
		there, remoteErr := raw.Get(t.Context(), "key-of-trap")
		return client.Stats().Pending == 0 && got == there && got != "old" && errors.Is(err, remoteErr)
	})
}

func TestErrUnknownOutcome_mayFollowACancellation(t *testing.T) {
	t.Parallel()
	p, _, c, raw := behindProxy(t, tiered.Options{})
	check(t, c.Set(t.Context(), "key-of-trap", "old"))
	trap := p.HoldNextReplyTo("key-of-trap")
	ctx, cancel := context.WithCancel(t.Context())
	call := async(func() (struct{}, error) { return struct{}{}, c.Set(ctx, "key-of-trap", "new") })
	await(t, "the reply is held", trap.Sprung())
	cancel()
	err := receive(t, "the writer leaves", call).err
	wantErr(t, err, context.Canceled, tiered.ErrUnknownOutcome)
	eventually(t, "the writer reads what the remote tier has", func() bool {
		got, err := c.Get(t.Context(), "key-of-trap")
		want, remoteErr := raw.Get(t.Context(), "key-of-trap")
		return got == want && errors.Is(err, remoteErr) && got != "old"
	})
	trap.Release()
}

// A write that cannot reach Redis leaves no copy that could be taken for the truth.
func TestSet_leavesNoOldLocalCopyWhenItFails(t *testing.T) {
	t.Parallel()
	p, _, c, _ := behindProxy(t, tiered.Options{MaxStaleness: time.Hour, BreakerFailures: 1000})
	check(t, c.Set(t.Context(), "k", "old"))
	wantGet(t, c, "k", "old")
	p.Refuse(true)
	p.CutAll()
	err := c.Set(t.Context(), "k", "new")
	wantErr(t, err, tiered.ErrRemoteUnavailable)
	got, err := c.Get(t.Context(), "k")
	if !errors.Is(err, tiered.ErrRemoteUnavailable) {
		t.Errorf("Get = %q, %v, want ErrRemoteUnavailable", got, err)
	}
	p.Refuse(false)
}

// A read while a change is on its way finds the old value and keeps it; the change's acknowledgement must end that
// copy, though its message, being this instance's own, ends nothing.
func TestCoherence_copyReadDuringAChangeEndsWithIt(t *testing.T) {
	t.Parallel()
	p, client, c, _ := behindProxy(t, tiered.Options{})
	for name, change := range map[string]func() error{
		"Delete":     func() error { _, err := c.Delete(t.Context(), "key-of-trap"); return err },
		"DeleteMany": func() error { _, err := c.DeleteMany(t.Context(), []string{"key-of-trap"}); return err },
		"Tags":       func() error { return c.InvalidateTags(t.Context(), "key-of-trap") },
	} {
		check(t, c.Set(t.Context(), "key-of-trap", "old", tiered.Tags("key-of-trap")))
		trap := p.HoldNextCommand("key-of-trap")
		call := async(func() (struct{}, error) { return struct{}{}, change() })
		await(t, name+" is on its way", trap.Sprung())
		eventually(t, "the old value is local again", func() bool {
			before := client.Stats().LocalHits
			wantGet(t, c, "key-of-trap", "old")
			return client.Stats().LocalHits > before
		})
		trap.Release()
		check(t, receive(t, name, call).err)
		wantMissing(t, c, "key-of-trap")
	}
}

// A Set whose reply comes late must not keep its value locally when another instance's later
// change was heard of meanwhile.
func TestSet_lateReplyDoesNotOverwriteANewerChange(t *testing.T) {
	t.Parallel()
	p, client, c, outside := behindProxy(t, tiered.Options{})
	for name, set := range map[string]func() error{
		"Set": func() error { return c.Set(t.Context(), "key-of-trap", "early") },
		"SetMany": func() error {
			_, err := c.SetMany(t.Context(), []tiered.Item[string]{{Key: "key-of-trap", Value: "early"}})
			return err
		},
		"SetIfAbsent": func() error { _, err := c.SetIfAbsent(t.Context(), "key-of-trap", "early"); return err },
	} {
		before := client.Stats().Invalidations
		gone := func() {
			_, err := c.Delete(t.Context(), "key-of-trap")
			check(t, err)
		}
		gone()
		check(t, set()) // so that the server knows the script: the reply that is held shall be the change's
		gone()
		trap := p.HoldNextReplyTo("key-of-trap")
		call := async(func() (struct{}, error) { return struct{}{}, set() })
		await(t, name+": the reply is held", trap.Sprung())
		heard := func(n uint64) func() bool { return func() bool { return client.Stats().Invalidations >= before+n } }
		eventually(t, "its own messages come back", heard(4))
		check(t, outside.Set(t.Context(), "key-of-trap", "later"))
		eventually(t, "the later change is heard of", heard(5))
		trap.Release()
		check(t, receive(t, name, call).err)
		wantGet(t, c, "key-of-trap", "later")
	}
}
