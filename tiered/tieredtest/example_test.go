package tieredtest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// A service's own test: an hour passes in no time.
func ExampleNew() {
	_ = func(t *testing.T) { // in a real test file: func TestPrices(t *testing.T)
		synctest.Test(t, func(t *testing.T) {
			client := tieredtest.New(t, tiered.Options{Namespace: "shop"})
			prices, err := tiered.NewCache[int](client, "prices", tiered.CacheOptions{TTL: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			load := func(context.Context) (int, error) { return 42, nil }
			if _, err := prices.GetOrSet(t.Context(), "espresso", load); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
			if found, err := prices.Exists(t.Context(), "espresso"); found || err != nil {
				t.Fatalf("after its TTL: Exists = %v, %v", found, err)
			}
		})
	}
	fmt.Println("see the source")
	// Output: see the source
}
