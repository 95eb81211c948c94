package local_test

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/doppio-cache/doppio/local"
)

func ExampleCache() {
	type user struct{ Name string }
	users, err := local.NewCache[user](local.Options{MaxEntries: 10_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()

	users.Set("42", user{"Ada"}, time.Hour)
	users.Set("42", user{"Grace"}, time.Hour) // the newer value wins, and can be read at once
	if u, ok := users.Get("42"); ok {
		fmt.Println(u.Name)
	}
	users.Delete("42")
	_, ok := users.Get("42")
	fmt.Println(ok)
	// Output:
	// Grace
	// false
}

// Two caches share the memory of one tier, here a mebibyte. Each has a scope of its own.
func ExampleTier() {
	tier, err := local.New(local.Options{MaxBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tier.Close()
	users, orders := tier.NewScope(), tier.NewScope()

	seed := maphash.MakeSeed()
	hash := maphash.String(seed, "42")
	name := "Ada"
	e := local.NewEntry("42", &name)
	e.Expires = local.After(local.Monotonic(), time.Hour)
	users.Set(hash, e)

	if e := users.Lookup(hash, "42"); e != nil {
		if e.Expires > local.Monotonic() {
			users.Hit(hash)
			fmt.Println("user", *local.ValueOf[string](e))
		} else {
			users.Stale(hash)
		}
	}
	fmt.Println("order", orders.Lookup(hash, "42"))
	fmt.Println("entries", tier.Stats().Entries)
	// Output:
	// user Ada
	// order <nil>
	// entries 1
}

func ExampleNew() {
	_, err := local.New(local.Options{MaxEntries: -1, MaxBytes: 10})
	fmt.Println(err)
	// Output:
	// local: Options.MaxEntries: must not be negative
	// local: Options.MaxBytes: must be at least 1048576
}
