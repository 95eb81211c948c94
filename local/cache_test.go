package local

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func newCache[V any](t *testing.T, opts Options) *Cache[V] {
	t.Helper()
	c, err := NewCache[V](opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeChecked(t, c.tier) })
	return c
}

func TestCache_entriesEndWithTheirTTL(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		synctest.Test(t, func(t *testing.T) {
			c := newCache[string](t, Options{Engine: kind})
			c.Set("minute", "m", time.Minute)
			c.Set("ever", "e", NoExpiration)
			c.Set("nearly ever", "n", math.MaxInt64-1)
			time.Sleep(time.Minute - 1)
			if v, ok := c.Get("minute"); !ok || v != "m" {
				t.Errorf("before the TTL: %q, %v", v, ok)
			}
			time.Sleep(1)
			if v, ok := c.Get("minute"); ok || v != "" {
				t.Errorf("after the TTL: %q, %v", v, ok)
			}
			time.Sleep(1_000 * time.Hour)
			for _, key := range []string{"ever", "nearly ever"} {
				if _, ok := c.Get(key); !ok {
					t.Errorf("%s is gone", key)
				}
			}
			if s := c.Stats(); s.Hits != 3 || s.Stale != 1 || s.Misses != 0 || s.Expired != 1 {
				t.Errorf("Stats() = %+v", s)
			}
		})
	})
}

func TestCache_setsDeletesAndClears(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		c := newCache[int](t, Options{Engine: kind})
		for i := range 3 {
			if !c.Set("k", i, time.Hour) {
				t.Fatal("refused")
			}
		}
		if v, ok := c.Get("k"); !ok || v != 2 || c.Len() != 1 {
			t.Errorf("Get = %d, %v; Len = %d", v, ok, c.Len())
		}
		c.Delete("k")
		if _, ok := c.Get("k"); ok {
			t.Error("deleted, and read")
		}
		c.Set("k", 3, time.Hour)
		if c.Set("k", 4, 0) {
			t.Error("a TTL of zero stored a value")
		}
		if _, ok := c.Get("k"); ok {
			t.Error("a TTL of zero kept the older value")
		}
		c.Set("k", 5, time.Hour)
		c.Clear()
		if _, ok := c.Get("k"); ok || c.Len() != 0 {
			t.Error("cleared, and read")
		}
	})
}

func TestNewCache_refusesInvalidOptions(t *testing.T) {
	if _, err := NewCache[int](Options{MaxEntries: -1}); !errors.Is(err, ErrInvalidOptions) {
		t.Error(err)
	}
}
