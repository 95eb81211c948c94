package local_test

import (
	"fmt"
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
	users.Set("42", user{"Grace"}, time.Hour) // the newer wins, and can be read at once
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

func ExampleNew() {
	_, err := local.New(local.Options{MaxEntries: -1, MaxBytes: 10})
	fmt.Println(err)
	// Output:
	// local: Options.MaxEntries: must not be negative
	// local: Options.MaxBytes: must be at least 1048576
}
