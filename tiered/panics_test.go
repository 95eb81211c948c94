package tiered_test

import (
	"context"
	"testing"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

func TestPanicsOfOptionsEndNoProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	told := make(chan struct{}, 64)
	c, err := tiered.New(s.Client(t), tiered.Options{
		Local:         local.Options{MaxBytes: 8 << 20, Cost: func(string, any) int64 { panic("cost") }},
		OnStateChange: func(invalidation.Change) { told <- struct{}{}; panic("state") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	cache, err := tiered.NewCache[string](c, "c", tiered.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := cache.GetOrSet(t.Context(), "k", func(context.Context) (string, error) { return "v", nil })
	if v != "v" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	<-told
	<-told // it goes on after a panic
}
