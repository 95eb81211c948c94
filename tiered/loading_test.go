package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

func TestGetOrSet_loadsOnceForAThousandCallers(t *testing.T) {
	t.Parallel()
	client, c := one[user](t, tiered.CacheOptions{})
	b := newBlocked(t, ada)
	const callers = 1000
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for range callers {
		wg.Go(func() {
			if got, err := c.GetOrSet(t.Context(), "k", b.load); err != nil || got != ada {
				wrong.Add(1)
			}
		})
	}
	eventually(t, "not all callers joined", func() bool { return client.Stats().Joined == callers-1 })
	b.letGo()
	wg.Wait()
	if n := b.calls.Load(); n != 1 || wrong.Load() != 0 {
		t.Errorf("%d loads, %d callers with something else, want 1 and 0", n, wrong.Load())
	}
	if s := client.Stats(); s.Loads != 1 || s.Fills != 1 {
		t.Errorf("stats: %d loads, %d fills, want 1 of each", s.Loads, s.Fills)
	}
}

func TestGetOrSet_firstCallersCancellationReachesNoOther(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{})
	b := newBlocked(t, "v")
	ctx, cancel := context.WithCancel(t.Context())
	first := async(func() (string, error) { return c.GetOrSet(ctx, "k", b.load) })
	await(t, "the loader runs", b.running)
	second := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", forbidden[string](t)) })
	eventually(t, "the second caller joins", func() bool { return client.Stats().Joined == 1 })
	cancel()
	wantErr(t, receive(t, "the first caller leaves while the load goes on", first).err, context.Canceled)
	b.letGo()
	if r := receive(t, "the second caller", second); r.err != nil || r.v != "v" {
		t.Errorf("second caller got %q, %v", r.v, r.err)
	}
}

func TestGetOrSet_eachCallerLeavesAtItsOwnDeadline(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	b := newBlocked(t, "v")
	b.deaf = true
	stays := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the loader runs", b.running)
	for _, d := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		leaves := async(func() (string, error) { return c.GetOrSet(ctx, "k", b.load) })
		wantErr(t, receive(t, "a caller with a deadline leaves", leaves).err, context.DeadlineExceeded)
		cancel()
	}
	b.letGo()
	if r := receive(t, "the patient caller", stays); r.err != nil || b.calls.Load() != 1 {
		t.Errorf("patient caller: %v after %d loads", r.err, b.calls.Load())
	}
}

func TestGetOrSet_loadWithoutCallersIsCancelledAndNeverJoined(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{})
	b := newBlocked(t, "old")
	ctx, cancel := context.WithCancel(t.Context())
	first := async(func() (string, error) { return c.GetOrSet(ctx, "k", b.load) })
	await(t, "the loader runs", b.running)
	second := async(func() (string, error) { return c.GetOrSet(ctx, "k", b.load) })
	eventually(t, "the second caller joins", func() bool { return client.Stats().Joined == 1 })
	cancel()
	receive(t, "the first caller", first)
	receive(t, "the second caller", second)
	await(t, "the loader's context ends with its last caller", b.ended)
	if got, err := c.GetOrSet(t.Context(), "k", constant("new")); err != nil || got != "new" {
		t.Errorf("the next caller got %q, %v, want a load of its own", got, err)
	}
}

// A loader that does not hear of its cancellation ends after the next caller's load: it must not
// overwrite the value that the other has stored.
func TestGetOrSet_abandonedDeafLoadChangesNothing(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[string](t, 1, tiered.CacheOptions{})
	c := caches[0]
	b := newBlocked(t, "old")
	b.deaf = true
	ctx, cancel := context.WithCancel(t.Context())
	first := async(func() (string, error) { return c.GetOrSet(ctx, "k", b.load) })
	await(t, "the loader runs", b.running)
	cancel()
	receive(t, "the first caller", first)
	if got, err := c.GetOrSet(t.Context(), "k", constant("new")); err != nil || got != "new" {
		t.Fatalf("the next caller got %q, %v", got, err)
	}
	check(t, c.Set(t.Context(), "k", "set"))
	b.letGo()
	wantGet(t, c, "k", "set")
	wantGet(t, remoteOnly[string](t, ns, "c"), "k", "set")
}

func TestGetOrSet_loadsNothingAfterItsContextEnded(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.GetOrSet(ctx, "k", forbidden[string](t))
	wantErr(t, err, context.Canceled)
	_, err = c.GetOrSetMany(ctx, []string{"k"}, func(context.Context, []string) (map[string]string, error) {
		t.Error("the loader ran")
		return nil, nil
	})
	wantErr(t, err, context.Canceled)
}

func TestGetOrSet_loaderThatPanicsOrExitsIsAnError(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		end   func()
		check func(error) bool
	}{
		"error":  {func() { panic(boom) }, func(err error) bool { return isPanic(err) && errors.Is(err, boom) }},
		"value":  {func() { panic(7) }, isPanic},
		"nil":    {func() { panic(nil) }, isPanic}, //nolint:govet // that is the point
		"goexit": {runtime.Goexit, func(err error) bool { return !isPanic(err) && errors.Is(err, tiered.ErrLoaderExited) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, c := one[string](t, tiered.CacheOptions{})
			b := newBlocked(t, "")
			load := func(ctx context.Context) (string, error) {
				_, _ = b.load(ctx)
				tc.end()
				return "never", nil
			}
			const callers = 5
			var waiters []<-chan result[string]
			for range callers {
				waiters = append(waiters, async(func() (string, error) { return c.GetOrSet(t.Context(), "k", load) }))
			}
			eventually(t, "all callers wait", func() bool { return client.Stats().Joined == callers-1 })
			b.letGo()
			for _, w := range waiters {
				err := receive(t, "a waiter", w).err
				var load *tiered.LoadError
				if !errors.As(err, &load) || load.Key != "k" || !tc.check(err) {
					t.Errorf("a waiter got %v", err)
				}
			}
			if got, err := c.GetOrSet(t.Context(), "k", constant("after")); err != nil || got != "after" {
				t.Errorf("afterwards: %q, %v: the lease was not given back or the flight not ended", got, err)
			}
			if s := client.Stats(); s.LoadErrors != 1 || s.Fills != 1 {
				t.Errorf("stats: %d load errors and %d fills, want 1 and 1: the failed load gives its lease back", s.LoadErrors, s.Fills)
			}
		})
	}
}

func isPanic(err error) bool {
	var p *tiered.PanicError
	return errors.As(err, &p) && len(p.Stack) > 0
}

func TestHardTimeout_leavesADeafLoader(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{HardTimeout: time.Second})
	b := newBlocked(t, "late")
	b.deaf = true
	call := async(func() (string, error) { return c.GetOrSet(t.Context(), "k", b.load) })
	err := receive(t, "the caller of a loader that is too slow", call).err
	var load *tiered.LoadError
	if !errors.As(err, &load) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a *LoadError that wraps DeadlineExceeded", err)
	}
	b.letGo()
	if got, err := c.GetOrSet(t.Context(), "k", constant("next"), tiered.HardTimeout(patience)); err != nil || got != "next" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestNegativeTTL_keepsALoadersErrNotFound(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"plain": tiered.ErrNotFound, "wrapped": fmt.Errorf("user 42: %w", tiered.ErrNotFound)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
			loads := 0
			load := func(context.Context) (string, error) { loads++; return "", err }
			for want := 1; want <= 2; want++ {
				_, err := caches[0].GetOrSet(t.Context(), "k", load)
				wantErr(t, err, tiered.ErrNotFound)
				if load := (*tiered.LoadError)(nil); errors.As(err, &load) || loads != want {
					t.Fatalf("%v after %d loads: without NegativeTTL it is not kept, and is no failure", err, loads)
				}
			}
			for range 2 {
				_, err := caches[0].GetOrSet(t.Context(), "n", load, tiered.NegativeTTL(time.Minute))
				wantErr(t, err, tiered.ErrNotFound)
			}
			if loads != 3 {
				t.Errorf("%d loads, want 3: the local tier keeps the loader's word", loads)
			}
			_, err := caches[1].GetOrSet(t.Context(), "n", forbidden[string](t))
			wantErr(t, err, tiered.ErrNotFound)
			wantMissing(t, caches[1], "n")
			if s := clients[1].Stats(); s.RemoteHits == 0 {
				t.Errorf("remote hits: %d: the remote tier keeps the loader's word, too", s.RemoteHits)
			}
			found, err := caches[1].Exists(t.Context(), "n")
			if err != nil || found {
				t.Errorf("Exists = %t, %v", found, err)
			}
			stored, err := caches[0].SetIfAbsent(t.Context(), "n", "here")
			if err != nil || !stored {
				t.Fatalf("SetIfAbsent = %t, %v: a negative is no entry", stored, err)
			}
			wantGet(t, caches[0], "n", "here")
			eventually(t, "the other instance forgets the negative", func() bool {
				got, _ := caches[1].Get(t.Context(), "n")
				return got == "here"
			})
		})
	}
}

type ctxKey struct{}

func TestGetOrSet_loaderSeesTheValuesOfItsCallersContext(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	load := func(ctx context.Context) (string, error) {
		v, _ := ctx.Value(ctxKey{}).(string)
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the loader's context has no deadline")
		}
		return v, nil
	}
	if got, err := c.GetOrSet(ctx, "k", load); err != nil || got != "value" {
		t.Errorf("the loader saw %q, %v", got, err)
	}
}

func TestGetOrSet_refusesANilLoader(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	_, single := c.GetOrSet(t.Context(), "k", nil)
	_, many := c.GetOrSetMany(t.Context(), []string{"k"}, nil)
	for _, err := range []error{single, many} {
		var option *tiered.OptionError
		if !errors.As(err, &option) || option.Field != "load" || !errors.Is(err, tiered.ErrInvalidOptions) {
			t.Errorf("got %v, want an OptionError about load", err)
		}
	}
}

func TestGetOrSet_loaderMayLoadAnotherKey(t *testing.T) {
	t.Parallel()
	_, c := one[int](t, tiered.CacheOptions{})
	var sum func(n int) func(context.Context) (int, error)
	sum = func(n int) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			if n == 0 {
				return 0, nil
			}
			rest, err := c.GetOrSet(ctx, fmt.Sprint(n-1), sum(n-1))
			return n + rest, err
		}
	}
	if got, err := c.GetOrSet(t.Context(), "10", sum(10)); err != nil || got != 55 {
		t.Errorf("got %d, %v", got, err)
	}
	wantGet(t, c, "4", 10)
}

// The answer is its caller's variable: the reads of a loader must not write to it, least of all after
// the caller left.
func TestWithAnswer_isNotWrittenByALoader(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "inner", "v"))
	b := newBlocked(t, "")
	b.deaf = true
	inner := make(chan struct{})
	var answer tiered.Source
	ctx, cancel := context.WithCancel(tiered.WithSource(t.Context(), &answer))
	call := async(func() (string, error) {
		return c.GetOrSet(ctx, "outer", func(ctx context.Context) (string, error) {
			_, _ = b.load(ctx)
			defer close(inner)
			return c.GetOrSetValue(context.WithoutCancel(ctx), "inner2", "x")
		})
	})
	await(t, "the loader runs", b.running)
	cancel()
	receive(t, "the caller leaves", call)
	b.letGo()
	answer = tiered.SourceStale // -race tells if the loader touches it
	await(t, "the loader's own read", inner)
	if answer != tiered.SourceStale {
		t.Errorf("the loader's read changed its caller's answer to %v", answer)
	}
}

func TestWithAnswer_tellsWhichTierAnswered(t *testing.T) {
	t.Parallel()
	_, _, caches := fleet[string](t, 2, tiered.CacheOptions{})
	for _, step := range []struct {
		cache *tiered.Cache[string]
		want  tiered.Source
	}{{caches[0], tiered.SourceLoader}, {caches[0], tiered.SourceLocal}, {caches[1], tiered.SourceRemote}, {caches[1], tiered.SourceLocal}} {
		var a tiered.Source
		got, err := step.cache.GetOrSet(tiered.WithSource(t.Context(), &a), "k", constant("v"))
		if err != nil || got != "v" || a != step.want {
			t.Errorf("%q, %v answered by %v, want %v", got, err, a, step.want)
		}
	}
}
