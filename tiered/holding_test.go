package tiered_test

import (
	"context"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/tiered"
)

// FindCopies asks a fleet of two about a key while one of them, both, and none has a copy.
func TestFindCopies_tellsWhichInstancesHaveACopy(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[int](t, 2, tiered.CacheOptions{TTL: time.Hour})
	ctx := t.Context()
	ask := func() (held, valid int, left time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		told, asked, err := invalidation.FindCopies(ctx, shared.Client(t), ns, 0, invalidation.CopyQuery{Seed: keyhash.Seed(ns + ":" + "c" + ":"), Key: "k"})
		if err != nil || asked != 2 || len(told) != 2 {
			t.Fatalf("asked %d, told %+v, %v", asked, told, err)
		}
		for _, h := range told {
			if h.State != invalidation.StateLive {
				t.Errorf("not coherent: %+v", h)
			}
			if h.Present {
				held++
				left = max(left, h.TTL)
			}
			if h.Valid {
				valid++
			}
		}
		return held, valid, left
	}
	if held, _, _ := ask(); held != 0 {
		t.Errorf("%d hold what nobody has read", held)
	}
	for i, c := range caches {
		want := i + 1
		if err := caches[0].Set(ctx, "k", 7); i == 0 && err != nil {
			t.Fatal(err)
		}
		eventually(t, "a copy is kept", func() bool {
			_, err := c.Get(ctx, "k")
			held, valid, left := ask()
			return err == nil && held >= want && valid >= want && left > 50*time.Minute && left <= time.Hour
		})
	}
	if _, err := caches[1].Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no copy is valid", func() bool {
		_, valid, _ := ask()
		return valid == 0
	})
}
