package tiered_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// A loaded value that cannot be encoded is its caller's, and leaves nothing in the remote tier, no lease either.
func TestGetOrSet_valueThatCannotBeStoredLeavesNoLease(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 100)
	for name, load := range map[string]func(ctx context.Context, c *tiered.Cache[string]) (string, error){
		"single": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
			return c.GetOrSet(ctx, "k", constant(big))
		},
		"batch": func(ctx context.Context, c *tiered.Cache[string]) (string, error) {
			m, err := c.GetOrSetMany(ctx, []string{"k", "small"}, func(context.Context, []string) (map[string]string, error) {
				return map[string]string{"k": big, "small": "v"}, nil
			})
			if err == nil && m["small"] != "v" {
				err = fmt.Errorf("small is %q", m["small"])
			}
			return m["k"], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			client := coherent(t, shared.Client(t), tiered.Options{Namespace: ns})
			c := newCache[string](t, client, "c", tiered.CacheOptions{MaxValueBytes: 10})
			if got, err := load(t.Context(), c); err != nil || got != big {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
			if n, err := shared.Client(t).Exists(t.Context(), ns+":c:k").Result(); n != 0 || err != nil {
				t.Errorf("EXISTS = %d, %v: the lease was not released", n, err)
			}
			if s := client.Stats(); s.StoreErrors != 1 || s.RemoteErrors != 0 {
				t.Errorf("%d store errors, %d remote errors, want 1 and 0", s.StoreErrors, s.RemoteErrors)
			}
		})
	}
}

// A value that is too large never went to the remote tier.
func TestErrValueTooLarge_isNoRemoteError(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{MaxValueBytes: 10})
	big, ctx := strings.Repeat("x", 100), t.Context()
	_, many := c.SetMany(ctx, []tiered.Item[string]{{Key: "k", Value: big}, {Key: "l", Value: "v"}})
	_, absent := c.SetIfAbsent(ctx, "k", big)
	_, value := c.GetOrSetValue(ctx, "k", big)
	for name, err := range map[string]error{"Set": c.Set(ctx, "k", big), "Set with tags": c.Set(ctx, "k", big, tiered.Tags("tag")), "SetMany": many, "SetIfAbsent": absent, "GetOrSetValue": value} {
		t.Run(name, func(t *testing.T) { wantErr(t, err, tiered.ErrValueTooLarge) })
	}
	if s := client.Stats(); s.RemoteErrors != 0 {
		t.Errorf("%d remote errors", s.RemoteErrors)
	}
	wantMissing(t, c, "k")
	wantGet(t, c, "l", "v")
}

func TestNewCache_refusesANameInUseWithAnotherEncoding(t *testing.T) {
	t.Parallel()
	ring := func(id string) *tiered.Keyring {
		return &tiered.Keyring{Active: id, Keys: map[string][]byte{id: []byte(strings.Repeat(id, 32))}}
	}
	client := newClient(t, shared.Client(t), tiered.Options{})
	base := tiered.CacheOptions{Keyring: ring("a"), MaxValueBytes: 1000, Compression: tiered.S2, CompressAbove: 100}
	newCache[string](t, client, "c", base)
	for name, change := range map[string]func(o *tiered.CacheOptions){
		"Keyring":         func(o *tiered.CacheOptions) { o.Keyring = ring("b") },
		"no Keyring":      func(o *tiered.CacheOptions) { o.Keyring = nil },
		"MaxValueBytes":   func(o *tiered.CacheOptions) { o.MaxValueBytes = 1001 },
		"default maximum": func(o *tiered.CacheOptions) { o.MaxValueBytes = 0 },
		"CompressAbove":   func(o *tiered.CacheOptions) { o.CompressAbove = 101 },
	} {
		t.Run(name, func(t *testing.T) {
			o := base
			change(&o)
			if _, err := tiered.NewCache[string](client, "c", o); err == nil {
				t.Error("no error")
			} else {
				wantErr(t, err, tiered.ErrInvalidOptions)
			}
		})
	}
	newCache[string](t, client, "c", base)
}

type holder struct{ X any }

// The interfaces in a value hold what the codec makes of them, whichever tier is read.
func TestGet_givesInterfacesInStructsAlikeFromBothTiers(t *testing.T) {
	t.Parallel()
	for _, x := range []any{1, int64(2), float32(3), []int{4}, map[string]int{"five": 5}, "six", []byte("seven"), nil} {
		t.Run(fmt.Sprintf("%T", x), func(t *testing.T) {
			t.Parallel()
			ns, _, caches := fleet[holder](t, 1, tiered.CacheOptions{})
			c, raw := caches[0], remoteOnly[holder](t, ns, "c")
			check(t, c.Set(t.Context(), "set", holder{x}))
			_, err := c.GetOrSet(t.Context(), "loaded", constant(holder{x}))
			check(t, err)
			for _, key := range []string{"set", "loaded"} {
				var a tiered.Source
				copied, err := c.Get(tiered.WithSource(t.Context(), &a), key)
				check(t, err)
				other, err := raw.Get(t.Context(), key)
				check(t, err)
				if fmt.Sprintf("%T", copied.X) != fmt.Sprintf("%T", other.X) || a != tiered.SourceLocal {
					t.Errorf("%s: %T, answered by %v, and %T from the remote tier", key, copied.X, a, other.X)
				}
			}
		})
	}
}

// A value that cannot be encoded is not sent, so nothing is known to have changed: the local copy of
// its key is served as before, and other instances hear of nothing.
func TestSet_valueThatDoesNotEncodeLeavesTheLocalCopy(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 100)
	for name, set := range map[string]func(ctx context.Context, c *tiered.Cache[string]) error{
		"Set": func(ctx context.Context, c *tiered.Cache[string]) error { return c.Set(ctx, "k", big) },
		"SetIfAbsent": func(ctx context.Context, c *tiered.Cache[string]) error {
			_, err := c.SetIfAbsent(ctx, "k", big)
			return err
		},
		"SetMany": func(ctx context.Context, c *tiered.Cache[string]) error {
			_, err := c.SetMany(ctx, []tiered.Item[string]{{Key: "k", Value: big}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := coherent(t, shared.Client(t), tiered.Options{Namespace: namespace(t)})
			c := newCache[string](t, client, "c", tiered.CacheOptions{MaxValueBytes: 10})
			check(t, c.Set(t.Context(), "k", "old"))
			local := func() bool {
				source := tiered.SourceLocal
				v, err := c.Get(tiered.WithSource(t.Context(), &source), "k")
				return err == nil && v == "old" && source == tiered.SourceLocal
			}
			eventually(t, "there is a local copy", local)
			wantErr(t, set(t.Context(), c), tiered.ErrEncode)
			if !local() {
				t.Error("the local copy is gone")
			}
			if n := client.Stats().Pending; n != 0 {
				t.Errorf("%d invalidations wait to be retried", n)
			}
		})
	}
}
