package tiered_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// These tests are not parallel: testing.AllocsPerRun counts what the whole process allocates.

func loadAda(context.Context) (user, error) { return ada, nil }

func TestGet_allocatesNothingOnALocalHit(t *testing.T) {
	quiet := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: [16]byte{1}, SpanID: [8]byte{1}}))
	for _, engine := range []local.EngineKind{local.Ristretto, local.Otter} {
		for name, traced := range map[string]bool{"plain": false, "traced": true} {
			t.Run(engine.String()+"/"+name, func(t *testing.T) {
				client := coherent(t, shared.Client(t), tiered.Options{Local: local.Options{Engine: engine}, TraceLocalHits: traced, MaxStaleness: time.Minute})
				c := newCache[user](t, client, "c", tiered.CacheOptions{})
				check(t, c.Set(quiet, "plain", ada))
				check(t, c.Set(quiet, "tagged", ada, tiered.Tags("a", "b")))
				for _, key := range []string{"plain", "tagged"} {
					eventually(t, "the entry is local", func() bool {
						before := client.Stats().LocalHits
						wantGet(t, c, key, ada)
						return client.Stats().LocalHits > before
					})
					for call, run := range map[string]func() (user, error){
						"Get":      func() (user, error) { return c.Get(quiet, key) },
						"GetOrSet": func() (user, error) { return c.GetOrSet(quiet, key, loadAda) },
						"GetOrSet with options": func() (user, error) {
							return c.GetOrSet(quiet, key, loadAda, tiered.TTL(time.Minute), tiered.Tags("a", "b"), tiered.LocalTTL(time.Minute))
						},
					} {
						before := client.Stats()
						allocs := testing.AllocsPerRun(200, func() {
							if got, err := run(); err != nil || got != ada {
								t.Errorf("got %v, %v", got, err)
							}
						})
						after := client.Stats()
						if after.LocalHits-before.LocalHits < 200 || after.RemoteHits != before.RemoteHits {
							t.Fatal("not local hits: nothing is measured")
						}
						if allocs != 0 {
							t.Errorf("%s of a %s entry: %.0f allocations, want none", call, key, allocs)
						}
					}
				}
			})
		}
	}
}

func TestGet_allocatesLittleOnARemoteHit(t *testing.T) {
	client := coherent(t, shared.Client(t), tiered.Options{MaxStaleness: time.Minute})
	c := newCache[user](t, client, "c", tiered.CacheOptions{LocalTTL: 1}) // local copies end at once
	check(t, c.Set(t.Context(), "k", ada))
	wantGet(t, c, "k", ada)
	ctx, cancel := context.WithCancel(context.Background()) // as a request has: its caller may leave
	defer cancel()
	for call, run := range map[string]func() (user, error){
		"Get":      func() (user, error) { return c.Get(ctx, "k") },
		"GetOrSet": func() (user, error) { return c.GetOrSet(ctx, "k", loadAda) },
	} {
		before := client.Stats().RemoteHits
		allocs := testing.AllocsPerRun(300, func() {
			if got, err := run(); err != nil || got != ada {
				t.Errorf("got %v, %v", got, err)
			}
		})
		if client.Stats().RemoteHits-before < 300 {
			t.Fatal("not remote hits: nothing is measured")
		}
		if allocs > 16+raceAllocs {
			t.Errorf("%s: %.0f allocations, want at most 16", call, allocs)
		}
		t.Logf("%s: %.0f allocations", call, allocs)
	}
}
