package inspect

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

func TestWhoHoldsIt(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			rdb, place := d.client(t), Place{Namespace: "holders", Cache: "people", Key: "k"}
			first := cacheOf[string](t, instance(t, rdb, place.Namespace, 1), place.Cache, tiered.CacheOptions{TTL: time.Hour})
			instance(t, rdb, place.Namespace, 1) // it has no such cache, and holds nothing
			must(t, first.Set(t.Context(), place.Key, "v"))
			var f *Finding
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for { // admission may drop a copy: it is read until it is there
				_, err := first.Get(ctx, place.Key)
				must(t, err)
				f, err = Look(ctx, rdb, place, false)
				must(t, err, f.AskHolders(ctx, rdb, place), ctx.Err())
				if f.Holders.Asked != 2 || len(f.Holders.Instances) != 2 {
					t.Fatalf("%+v", f.Holders)
				}
				if f.Holders.Instances[0].Held || f.Holders.Instances[1].Held {
					break
				}
			}
			for _, h := range f.Holders.Instances {
				if h.State != "live" || h.Valid != h.Held || (h.LeftMs != nil) != h.Held || h.Held && *h.LeftMs > time.Hour.Milliseconds() || h.Instance == "" {
					t.Errorf("%+v", h)
				}
			}
			if text := textOf(t, f); !strings.Contains(text, "1; 2 of 2 instances answered") || !strings.Contains(text, "would be served") {
				t.Error(text)
			}
		})
	}
}
