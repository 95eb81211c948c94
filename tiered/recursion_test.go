package tiered_test

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// A loader that asks for its own key is told so at once, by whichever method it asks, and through whichever loads.
func TestErrRecursiveLoad_tellsALoaderThatAsksForItsOwnKey(t *testing.T) {
	t.Parallel()
	type call = func(ctx context.Context, c *tiered.Cache[string], key string, load func(context.Context) (string, error)) (string, error)
	calls := map[string]call{
		"single": func(ctx context.Context, c *tiered.Cache[string], key string, load func(context.Context) (string, error)) (string, error) {
			return c.GetOrSet(ctx, key, load)
		},
		"batch": func(ctx context.Context, c *tiered.Cache[string], key string, load func(context.Context) (string, error)) (string, error) {
			m, err := c.GetOrSetMany(ctx, []string{key, "beside " + key}, func(ctx context.Context, keys []string) (map[string]string, error) {
				v, err := load(ctx)
				return map[string]string{key: v}, err
			})
			return m[key], err
		},
		"batch of one": func(ctx context.Context, c *tiered.Cache[string], key string, load func(context.Context) (string, error)) (string, error) {
			m, err := c.GetOrSetMany(ctx, []string{key}, func(ctx context.Context, keys []string) (map[string]string, error) {
				v, err := load(ctx)
				return map[string]string{key: v}, err
			})
			return m[key], err
		},
	}
	for outer, callOuter := range calls {
		for inner, callInner := range calls {
			if inner == "batch" {
				continue // the loader would be asked for the key beside it
			}
			t.Run(inner+" in "+outer, func(t *testing.T) {
				t.Parallel()
				_, c := one[string](t, tiered.CacheOptions{HardTimeout: time.Hour})
				for name, between := range map[string]call{"at once": nil, "through another load": callOuter} {
					var told error
					again := func(ctx context.Context) (string, error) {
						_, err := callInner(ctx, c, name, forbidden[string](t))
						told = err
						return "", errors.New("the source is down")
					}
					load := again
					if between != nil {
						load = func(ctx context.Context) (string, error) { return between(ctx, c, "another", again) }
					}
					got := async(func() (string, error) { return callOuter(t.Context(), c, name, load) })
					receive(t, name, got)
					if !errors.Is(told, tiered.ErrRecursiveLoad) {
						t.Errorf("%s: %v, want ErrRecursiveLoad", name, told)
					}
				}
				// Other keys, keys that are there, and what asks when the load is over, are no concern of it.
				var later context.Context
				nested := func(ctx context.Context) (string, error) {
					later = ctx //nolint:fatcontext // that is what is tested
					if v, err := callInner(ctx, c, "there", constant("there")); err != nil || v != "there" {
						return "", err
					}
					return callInner(ctx, c, "there", forbidden[string](t))
				}
				if v, err := callOuter(t.Context(), c, "nested", nested); err != nil || v != "there" {
					t.Errorf("nested loads of different keys: %q, %v", v, err)
				}
				_, err := c.Delete(t.Context(), "nested")
				check(t, err)
				if v, err := callInner(context.WithoutCancel(later), c, "nested", constant("again")); err != nil || v != "again" {
					t.Errorf("with the context of a load that is over: %q, %v", v, err)
				}
			})
		}
	}
}

// No caller waits for a refresh that a loader sets off: its own loader may ask for the key that
// the first one loads.
func TestErrRecursiveLoad_leavesOutRefreshesWithinALoad(t *testing.T) {
	o := tiered.CacheOptions{TTL: time.Hour, RefreshAhead: 20 * time.Minute, HardTimeout: time.Hour}
	bubble(t, o, func(t *testing.T, _ *tieredtest.Redis, client *tiered.Client, c *tiered.Cache[string]) {
		check(t, c.Set(t.Context(), "aging", "old"))
		time.Sleep(55 * time.Minute)
		for name, get := range map[string]func(context.Context, func(context.Context) (string, error)) (string, error){
			"single": func(ctx context.Context, load func(context.Context) (string, error)) (string, error) {
				return c.GetOrSet(ctx, "aging", load)
			},
			"batch": func(ctx context.Context, load func(context.Context) (string, error)) (string, error) {
				m, err := c.GetOrSetMany(ctx, []string{"aging"}, func(ctx context.Context, _ []string) (map[string]string, error) {
					v, err := load(ctx)
					return map[string]string{"aging": v}, err
				})
				return m["aging"], err
			},
		} {
			joined := client.Stats().Joined
			refreshed := make(chan error, 1)
			v, err := c.GetOrSet(t.Context(), name, func(ctx context.Context) (string, error) {
				old, err := get(ctx, func(ctx context.Context) (string, error) {
					_, err := c.GetOrSet(ctx, name, forbidden[string](t))
					refreshed <- err
					return "old", cmp.Or(err, errors.New("the next one refreshes again"))
				})
				synctest.Wait() // the refresh waits for this load
				return old, err
			})
			if err != nil || v != "old" {
				t.Errorf("%s: %q, %v", name, v, err)
			}
			if err := <-refreshed; err != nil || client.Stats().Joined != joined+1 {
				t.Errorf("%s: the refresh: %v, joined %d", name, err, client.Stats().Joined-joined)
			}
			time.Sleep(2 * time.Minute) // until the next refresh may begin
		}
	})
}
