package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

func noSuchThing(context.Context) (string, error) { return "", tiered.ErrNotFound }

func noSuchThings(context.Context, []string) (map[string]string, error) { return nil, nil }

// The entry that a loader contradicts is gone: a later load that fails has nothing to fall back
// on, here or elsewhere.
func TestErrNotFound_retiresTheEntryThatItContradicts(t *testing.T) {
	for _, many := range []bool{false, true} {
		t.Run(fmt.Sprintf("many=%t", many), func(t *testing.T) {
			o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
			bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
				other := newCache[string](t, r.Instance(t, rarely), "c", o)
				check(t, c.Set(t.Context(), "k", "old"))
				synctest.Wait()
				wantGet(t, other, "k", "old")
				time.Sleep(2 * time.Minute)
				if many {
					if m, err := c.GetOrSetMany(t.Context(), []string{"k"}, noSuchThings); len(m) > 0 || err != nil {
						t.Fatalf("GetOrSetMany = %v, %v", m, err)
					}
				} else if v, err := c.GetOrSet(t.Context(), "k", noSuchThing); !errors.Is(err, tiered.ErrNotFound) {
					t.Fatalf("GetOrSet = %q, %v", v, err)
				}
				synctest.Wait() // the removal is heard of
				for name, c := range map[string]*tiered.Cache[string]{"the same instance": c, "another": other} {
					if v, err := c.GetOrSet(t.Context(), "k", failing); !errors.Is(err, errBoom) {
						t.Errorf("%s: GetOrSet = %q, %v: the source had said that there is no such thing", name, v, err)
					}
				}
				if n := len(r.Server.Keys()); n != keysOfLanes(r) {
					t.Errorf("Redis still holds something: %v", r.Server.Keys())
				}
			})
		})
	}
}

// A local copy whose record is gone is contradicted as well, and nothing in Redis tells of it.
func TestErrNotFound_endsALocalCopyWithoutARecord(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
	bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		r.Server.Del("doppio:c:k") // evicted
		_, err := c.GetOrSet(t.Context(), "k", noSuchThing)
		wantErr(t, err, tiered.ErrNotFound)
		if v, err := c.GetOrSet(t.Context(), "k", failing); !errors.Is(err, errBoom) {
			t.Errorf("GetOrSet = %q, %v: the source had said that there is no such thing", v, err)
		}
	})
}

// keysOfLanes counts the keys of the library's own, which begin with a brace.
func keysOfLanes(r *tieredtest.Redis) (n int) {
	for _, k := range r.Server.Keys() {
		if k[0] == '{' {
			n++
		}
	}
	return n
}

// A refresh whose loader says that there is no such thing ends the value, in every instance.
func TestRefreshAhead_endsTheValueWhenItFindsNothing(t *testing.T) {
	for _, negative := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("NegativeTTL=%v", negative), func(t *testing.T) {
			o := tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second, NegativeTTL: negative}
			bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
				other := newCache[string](t, r.Instance(t, rarely), "c", o)
				check(t, c.Set(t.Context(), "k", "old"))
				synctest.Wait()
				wantGet(t, other, "k", "old")
				time.Sleep(55 * time.Second)
				if v, err := c.GetOrSet(t.Context(), "k", noSuchThing); err != nil || v != "old" {
					t.Fatalf("GetOrSet = %q, %v, want the value that is refreshed meanwhile", v, err)
				}
				synctest.Wait()
				wantMissing(t, c, "k")
				if negative == 0 {
					wantMissing(t, other, "k")
				}
				if v, err := c.GetOrSet(t.Context(), "k", noSuchThing); !errors.Is(err, tiered.ErrNotFound) {
					t.Errorf("GetOrSet = %q, %v", v, err)
				}
			})
		})
	}
}

// An entry that was stored while the loader looked is not contradicted by it.
func TestErrNotFound_leavesAnEntryStoredMeanwhile(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
	bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		other := newCache[string](t, r.Instance(t, rarely), "c", o)
		check(t, c.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		_, err := c.GetOrSet(t.Context(), "k", func(ctx context.Context) (string, error) {
			check(t, other.Set(ctx, "k", "new"))
			return "", tiered.ErrNotFound
		})
		wantErr(t, err, tiered.ErrNotFound)
		synctest.Wait()
		wantGet(t, c, "k", "new")
		wantGet(t, other, "k", "new")
	})
}

// absentError says by itself that it means ErrNotFound, and has a cause.
type absentError struct{ cause error }

func (e absentError) Error() string        { return "absent: " + e.cause.Error() }
func (e absentError) Unwrap() error        { return e.cause }
func (e absentError) Is(target error) bool { return target == tiered.ErrNotFound }

func TestErrNotFound_isMatchedOnlyIfNothingElseFailed(t *testing.T) {
	errTimeout := errors.New("i/o timeout")
	for name, c := range map[string]struct {
		err      error
		notFound bool
	}{
		"itself":                         {tiered.ErrNotFound, true},
		"wrapped":                        {fmt.Errorf("user 7: %w", tiered.ErrNotFound), true},
		"wrapped twice":                  {fmt.Errorf("db: %w", fmt.Errorf("user 7: %w", tiered.ErrNotFound)), true},
		"by its own Is":                  {absentError{errTimeout}, true},
		"joined, all of them":            {errors.Join(tiered.ErrNotFound, fmt.Errorf("replica 2: %w", tiered.ErrNotFound)), true},
		"joined with a failure":          {errors.Join(fmt.Errorf("replica 1: %w", tiered.ErrNotFound), errTimeout), false},
		"a failure first":                {errors.Join(errTimeout, tiered.ErrNotFound), false},
		"joined, and wrapped":            {fmt.Errorf("db: %w", errors.Join(tiered.ErrNotFound, errTimeout)), false},
		"joined deep below":              {errors.Join(tiered.ErrNotFound, fmt.Errorf("b: %w", errors.Join(tiered.ErrNotFound, errTimeout))), false},
		"two verbs":                      {fmt.Errorf("%w, for %w", tiered.ErrNotFound, errTimeout), false},
		"a failure that wraps a failure": {fmt.Errorf("db: %w", errTimeout), false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tiered.CacheOptions{NegativeTTL: time.Hour}, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, cache *tiered.Cache[string]) {
				_, err := cache.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { return "", c.err })
				var failed *tiered.LoadError
				if c.notFound != errors.Is(err, tiered.ErrNotFound) || c.notFound == errors.As(err, &failed) {
					t.Errorf("GetOrSet gave %v, matches ErrNotFound: %t", err, errors.Is(err, tiered.ErrNotFound))
				}
				if !c.notFound && !errors.Is(err, errTimeout) {
					t.Errorf("GetOrSet gave %v, which does not match what failed", err)
				}
				m, err := cache.GetOrSetMany(t.Context(), []string{"m"}, func(context.Context, []string) (map[string]string, error) { return nil, c.err })
				if len(m) > 0 || c.notFound != (err == nil) {
					t.Errorf("GetOrSetMany gave %v, %v", m, err)
				}
				for _, key := range []string{"k", "m"} { // only the absence of a thing is kept
					v, err := cache.GetOrSet(t.Context(), key, constant("v"))
					if c.notFound != errors.Is(err, tiered.ErrNotFound) {
						t.Errorf("then %q: %q, %v", key, v, err)
					}
				}
			})
		})
	}
}

func TestErrNotFound_isNotTakenFromAPanic(t *testing.T) {
	bubble(t, tiered.CacheOptions{NegativeTTL: time.Hour}, func(t *testing.T, _ *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		_, err := c.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { panic(tiered.ErrNotFound) })
		var panicked *tiered.PanicError
		if errors.Is(err, tiered.ErrNotFound) || !errors.As(err, &panicked) {
			t.Errorf("GetOrSet gave %v", err)
		}
		if v, err := c.GetOrSet(t.Context(), "k", constant("v")); v != "v" || err != nil {
			t.Errorf("then %q, %v", v, err)
		}
	})
}

// The caller may read its Token as soon as its call has returned, whatever goes on in the background.
func TestWithToken_isNotWrittenAfterItsCall(t *testing.T) {
	bubble(t, tiered.CacheOptions{TTL: time.Minute, RefreshAhead: 20 * time.Second}, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
		var token tiered.Token
		ctx := tiered.WithToken(t.Context(), &token)
		running, done := make(chan struct{}), make(chan struct{})
		load := func(ctx context.Context) (string, error) {
			check(t, c.Set(ctx, "derived", "x"))
			return "v", nil
		}
		_, err := c.GetOrSet(ctx, "k", load)
		check(t, err)
		if token.IsZero() {
			t.Error("the call has returned, and its token lacks what its loader changed")
		}
		other := newCache[string](t, r.Instance(t, rarely), "c", tiered.CacheOptions{})
		wantGet(t, other.After(token), "derived", "x")
		time.Sleep(55 * time.Second)
		before := token.String()
		_, err = c.GetOrSet(ctx, "k", func(ctx context.Context) (string, error) { // a refresh
			close(running)
			defer close(done)
			return load(ctx)
		})
		check(t, err)
		<-running
		for range 100 {
			_ = token.String() // -race: the refresh is under way
		}
		<-done
		synctest.Wait()
		if got := token.String(); got != before {
			t.Errorf("a refresh in the background changed the token from %s to %s", before, got)
		}
		// Whoever leaves has its token for itself, and what was changed until then.
		left, cancel := context.WithCancel(ctx)
		b := newBlocked(t, "v")
		got := async(func() (string, error) {
			return c.GetOrSet(left, "slow", func(ctx context.Context) (string, error) {
				check(t, c.Set(ctx, "early", "x"))
				v, err := b.load(context.WithoutCancel(ctx))
				check(t, c.Set(context.WithoutCancel(ctx), "late", "x"))
				return v, err
			})
		})
		<-b.running
		cancel()
		wantErr(t, receive(t, "the call", got).err, context.Canceled)
		before = token.String()
		b.letGo()
		synctest.Wait()
		if token.String() != before {
			t.Error("the token changed after its call had returned")
		}
	})
}
