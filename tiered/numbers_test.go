package tiered_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

type score int16

func TestIncrement_ofEveryIntegerType(t *testing.T) {
	t.Parallel()
	t.Run("int8", func(t *testing.T) { wantCounting[int8](t, math.MinInt8, math.MaxInt8) })
	t.Run("int16", func(t *testing.T) { wantCounting[int16](t, math.MinInt16, math.MaxInt16) })
	t.Run("int32", func(t *testing.T) { wantCounting[int32](t, math.MinInt32, math.MaxInt32) })
	t.Run("int64", func(t *testing.T) { wantCounting[int64](t, math.MinInt64, math.MaxInt64) })
	t.Run("int", func(t *testing.T) { wantCounting[int](t, math.MinInt64, math.MaxInt64) })
	t.Run("uint8", func(t *testing.T) { wantCounting[uint8](t, 0, math.MaxUint8) })
	t.Run("uint16", func(t *testing.T) { wantCounting[uint16](t, 0, math.MaxUint16) })
	t.Run("uint32", func(t *testing.T) { wantCounting[uint32](t, 0, math.MaxUint32) })
	t.Run("uint64", func(t *testing.T) { wantCounting[uint64](t, 0, math.MaxInt64) })
	t.Run("named", func(t *testing.T) { wantCounting[score](t, math.MinInt16, math.MaxInt16) })
}

func wantCounting[V interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~int | ~uint8 | ~uint16 | ~uint32 | ~uint64
}](t *testing.T, lowest, highest int64) {
	t.Parallel()
	ns, _, caches := fleet[V](t, 1, tiered.CacheOptions{})
	c, raw := caches[0], remoteOnly[V](t, ns, "c")
	ctx := t.Context()
	add := func(key string, delta, want int64) {
		t.Helper()
		if sum, err := c.Increment(ctx, key, delta); err != nil || sum != want {
			t.Fatalf("Increment(%s, %d) = %d, %v, want %d", key, delta, sum, err, want)
		}
		wantGet(t, c, key, V(want))
		wantGet(t, raw, key, V(want))
	}
	add("new", 5, 5)
	add("new", -5, 0)
	check(t, c.Set(ctx, "set", 40))
	add("set", 2, 42)
	for key, edge := range map[string]int64{"highest": highest, "lowest": lowest} {
		step := int64(1)
		if key == "lowest" {
			step = -1
		}
		check(t, c.Set(ctx, key, V(edge-step)))
		add(key, step, edge)
		_, err := c.Increment(ctx, key, step)
		wantErr(t, err, tiered.ErrOverflow)
		wantGet(t, raw, key, V(edge))
	}
}

func TestIncrement_keepsTheLife(t *testing.T) {
	t.Parallel()
	_, c := one[int64](t, tiered.CacheOptions{TTL: time.Hour})
	check(t, c.Set(t.Context(), "k", 1, tiered.TTL(time.Minute)))
	for key, want := range map[string]time.Duration{"k": time.Minute, "new": time.Hour} {
		_, err := c.Increment(t.Context(), key, 1)
		check(t, err)
		if left, err := c.TTL(t.Context(), key); err != nil || left > want || left < want-30*time.Second {
			t.Errorf("TTL(%s) = %v, %v, want about %v", key, left, err, want)
		}
	}
}

func TestIncrement_refusesValuesThatAreNoNumbers(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{})
	_, err := newCache[string](t, client, "string", tiered.CacheOptions{}).Increment(t.Context(), "k", 1)
	wantErr(t, err, tiered.ErrNotNumeric)
	_, err = newCache[user](t, client, "struct", tiered.CacheOptions{}).Increment(t.Context(), "k", 1)
	wantErr(t, err, tiered.ErrNotNumeric)
	dynamic := newCache[any](t, client, "any", tiered.CacheOptions{})
	for key, v := range map[string]any{"text": "1", "float": 1.0, "list": []int{1}} {
		check(t, dynamic.Set(t.Context(), key, v))
		_, err := dynamic.Increment(t.Context(), key, 1)
		wantErr(t, err, tiered.ErrNotNumeric)
	}
	check(t, dynamic.Set(t.Context(), "n", 41))
	if sum, err := dynamic.Increment(t.Context(), "n", 1); err != nil || sum != 42 {
		t.Errorf("Increment = %d, %v", sum, err)
	}
	wantGet(t, dynamic, "n", any(int64(42)))
}

func TestIncrement_countsThoseOfManyInstances(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[int64](t, 3, tiered.CacheOptions{})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for range 10 {
				if _, err := caches[i%3].Increment(t.Context(), "k", 1<<53); err != nil { // Lua's numbers end here
					t.Error(err)
				}
				if _, err := caches[i%3].Increment(t.Context(), "k", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantGet(t, remoteOnly[int64](t, ns, "c"), "k", 120*(1<<53)+120)
}
