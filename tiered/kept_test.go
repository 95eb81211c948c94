package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// between is a context that does something once, when a call that has looked at its local copy first asks whether it has ended.
type between struct {
	context.Context
	once sync.Once
	do   func()
}

func (b *between) Err() error {
	b.once.Do(b.do)
	return b.Context.Err()
}

// A value past its life is found locally, then invalidated, and the load that begins afterwards
// fails: the value is gone.
func TestFailSafe_valueDoesNotOutliveItsInvalidation(t *testing.T) {
	for name, invalidate := range map[string]func(ctx context.Context, c *tiered.Cache[string]) error{
		"Delete":         func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Delete(ctx, "k"); return err },
		"InvalidateTags": func(ctx context.Context, c *tiered.Cache[string]) error { return c.InvalidateTags(ctx, "tag") },
		"Clear":          func(ctx context.Context, c *tiered.Cache[string]) error { _, err := c.Clear(ctx, ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
			bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
				check(t, c.Set(t.Context(), "k", "old", tiered.Tags("tag")))
				time.Sleep(2 * time.Minute)
				ctx := &between{Context: t.Context(), do: func() { check(t, invalidate(t.Context(), c)) }}
				if got, err := c.GetOrSet(ctx, "k", failing); !errors.Is(err, errBoom) {
					t.Errorf("GetOrSet = %q, %v, want the load's error: the value was invalidated before the load began", got, err)
				}
				if got, err := c.GetOrSet(t.Context(), "k", failing); !errors.Is(err, errBoom) {
					t.Errorf("the next GetOrSet = %q, %v", got, err)
				}
			})
		})
	}
}

// The value's own tags count, whether the caller names any or not, and in whichever tier the value
// was found.
func TestFailSafe_valueKeepsItsOwnTags(t *testing.T) {
	for _, named := range []bool{false, true} {
		for _, where := range []string{"local", "remote", "remote, after misses"} {
			for _, many := range []bool{false, true} {
				t.Run(fmt.Sprintf("caller names tags=%t %s many=%t", named, where, many), func(t *testing.T) {
					o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
					bubble(t, o, func(t *testing.T, r *tieredtest.Redis, _ *tiered.Client, c *tiered.Cache[string]) {
						check(t, c.Set(t.Context(), "k", "old", tiered.Tags("tag")))
						if where != "local" {
							c = newCache[string](t, r.Instance(t, rarely), "c", o)
						}
						time.Sleep(2 * time.Minute)
						for i := range 8 { // after which a load asks for its lease before it reads
							if where != "remote, after misses" {
								break
							}
							if _, err := c.GetOrSet(t.Context(), fmt.Sprint("missing", i), failing); err == nil {
								t.Error("a load that fails gave a value")
							}
						}
						var opts []tiered.EntryOption
						if named {
							opts = append(opts, tiered.Tags("tag"))
						}
						b := newBlocked(t, "new")
						b.err = errBoom
						got := async(func() (string, error) {
							if !many {
								return c.GetOrSet(t.Context(), "k", b.load, opts...)
							}
							m, err := c.GetOrSetMany(t.Context(), []string{"k"}, func(ctx context.Context, _ []string) (map[string]string, error) {
								_, err := b.load(ctx)
								return nil, err
							}, opts...)
							return m["k"], err
						})
						await(t, "the load", b.running)
						check(t, c.InvalidateTags(t.Context(), "tag"))
						b.letGo()
						if r := receive(t, "the call", got); r.err == nil {
							t.Errorf("got %q, whose tag was invalidated before the load failed", r.v)
						}
					})
				})
			}
		}
	}
}

// Where nothing is heard of changes any more, a value past its life may have been invalidated
// elsewhere: it is served no longer than MaxStaleness vouches for it.
func TestFailSafe_valueIsServedOnlyWhileItIsTrusted(t *testing.T) {
	for _, local := range []bool{true, false} {
		t.Run(fmt.Sprintf("local=%t", local), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := tieredtest.NewRedis(t)
				o := tiered.CacheOptions{TTL: time.Minute, FailSafe: time.Hour}
				c := newCache[string](t, r.Instance(t, tiered.Options{MaxStaleness: time.Second}), "c", o)
				check(t, c.Set(t.Context(), "k", "old"))
				if !local {
					c = newCache[string](t, r.Instance(t, tiered.Options{MaxStaleness: time.Second}), "c", o)
				}
				time.Sleep(2 * time.Minute)
				after := func(d time.Duration) func(context.Context) (string, error) {
					return func(context.Context) (string, error) {
						r.Down()
						defer r.Up()
						time.Sleep(d)
						return "", errBoom
					}
				}
				if got, err := c.GetOrSet(t.Context(), "k", after(0)); err != nil || got != "old" {
					t.Errorf("GetOrSet whose load failed at once = %q, %v, want the value past its life", got, err)
				}
				time.Sleep(10 * time.Second)
				if got, err := c.GetOrSet(t.Context(), "k", after(10*time.Second)); !errors.Is(err, errBoom) {
					t.Errorf("GetOrSet = %q, %v, though nothing was heard of changes for 10 s", got, err)
				}
			})
		})
	}
}
