package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// exampleClient is a client on an embedded Redis, so that the examples run anywhere.
func exampleClient() (client *tiered.Client, end func()) {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	client, err = tiered.New(rdb, tiered.Options{Namespace: "shop", RemoteReadTimeout: tiered.DefaultRemoteTimeout})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := client.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	return client, func() {
		if err := errors.Join(client.Close(ctx), rdb.Close()); err != nil {
			log.Fatal(err)
		}
		server.Close()
	}
}

type User struct {
	ID   int64
	Name string
}

func Example() {
	client, end := exampleClient()
	defer end()
	ctx := context.Background()

	users, err := tiered.NewCache[User](client, "users", tiered.CacheOptions{TTL: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		u, err := users.GetOrSet(ctx, "42", func(context.Context) (User, error) {
			fmt.Println("loading")
			return User{ID: 42, Name: "Ada"}, nil
		})
		fmt.Println(u.Name, err)
	}
	existed, err := users.Delete(ctx, "42")
	fmt.Println(existed, err)
	_, err = users.Get(ctx, "42")
	fmt.Println(errors.Is(err, tiered.ErrNotFound))
	// Output:
	// loading
	// Ada <nil>
	// Ada <nil>
	// true <nil>
	// true
}

// A loader says that there is no such thing by returning ErrNotFound; NegativeTTL keeps its word.
func ExampleCache_GetOrSet_notFound() {
	client, end := exampleClient()
	defer end()
	ctx := context.Background()

	users, err := tiered.NewCache[User](client, "users", tiered.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		_, err := users.GetOrSet(ctx, "nobody", func(context.Context) (User, error) {
			fmt.Println("asking the database")
			return User{}, tiered.ErrNotFound
		}, tiered.NegativeTTL(time.Minute))
		fmt.Println(errors.Is(err, tiered.ErrNotFound))
	}
	// Output:
	// asking the database
	// true
	// true
}

// One call of the loader for all keys that neither tier has.
func ExampleCache_GetOrSetMany() {
	client, end := exampleClient()
	defer end()
	ctx := context.Background()

	prices, err := tiered.NewCache[int](client, "prices", tiered.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := prices.Set(ctx, "espresso", 2); err != nil {
		log.Fatal(err)
	}
	got, err := prices.GetOrSetMany(ctx, []string{"espresso", "doppio"}, func(_ context.Context, missing []string) (map[string]int, error) {
		fmt.Println("loading", missing)
		return map[string]int{"doppio": 3}, nil
	})
	fmt.Println(got["espresso"], got["doppio"], err)
	// Output:
	// loading [doppio]
	// 2 3 <nil>
}

// Entries with a tag are invalidated together, however many there are.
func ExampleCache_InvalidateTags() {
	client, end := exampleClient()
	defer end()
	ctx := context.Background()

	users, err := tiered.NewCache[User](client, "users", tiered.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for id := range int64(3) {
		if err := users.Set(ctx, fmt.Sprint(id), User{ID: id}, tiered.Tags("org:7")); err != nil {
			log.Fatal(err)
		}
	}
	if err := users.InvalidateTags(ctx, "org:7"); err != nil {
		log.Fatal(err)
	}
	found, err := users.GetMany(ctx, []string{"0", "1", "2"})
	fmt.Println(len(found), err)
	// Output: 0 <nil>
}

// Numbers are counted in Redis, exactly.
func ExampleCache_Increment() {
	client, end := exampleClient()
	defer end()
	ctx := context.Background()

	views, err := tiered.NewCache[int64](client, "views", tiered.CacheOptions{TTL: tiered.NoExpiration})
	if err != nil {
		log.Fatal(err)
	}
	if err := views.Set(ctx, "home", 41); err != nil {
		log.Fatal(err)
	}
	sum, err := views.Increment(ctx, "home", 1)
	fmt.Println(sum, err)
	// Output: 42 <nil>
}

// What failed in a batch is told by key; the rest succeeded.
func ExampleBatchError() {
	client, end := exampleClient()
	defer end()

	users, err := tiered.NewCache[User](client, "users", tiered.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	stored, err := users.SetMany(context.Background(), []tiered.Item[User]{
		{Key: "42", Value: User{ID: 42}},
		{Key: "", Value: User{}},
	})
	var batch *tiered.BatchError
	if errors.As(err, &batch) {
		for key, err := range batch.Failed {
			fmt.Printf("%d stored; %q failed, key invalid: %t\n", stored, key, errors.Is(err, tiered.ErrInvalidKey))
		}
	}
	// Output: 1 stored; "" failed, key invalid: true
}
