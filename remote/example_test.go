package remote_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/remote"
)

// Values in Redis, shared by a fleet, without a local tier. A change without an announcement needs
// no namespace.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	store, err := remote.New(rdb, remote.Options{ReadTimeout: remote.DefaultTimeout})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer store.Close(ctx)

	user := &remote.Record{Kind: remote.KindValue, Token: remote.NewToken(), TTL: time.Hour, Payload: []byte("Ada")}
	if err := store.Set(ctx, "users:42", user, nil); err != nil {
		log.Fatal(err)
	}
	got, err := store.Get(ctx, "users:42")
	fmt.Printf("%s, %v\n", got.Payload, err)

	existed, err := store.Delete(ctx, "users:42", 0, nil)
	fmt.Println(existed, err)

	_, err = store.Get(ctx, "users:42")
	fmt.Println(errors.Is(err, remote.ErrNotFound), errors.Is(err, remote.ErrUnavailable))
	// Output:
	// Ada, <nil>
	// true <nil>
	// true false
}

// Of several instances that miss the same key, one acquires the lease and loads the value. Its fill
// is refused if another change came in between.
func ExampleStore_Acquire() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	store, err := remote.New(rdb, remote.Options{ReadTimeout: remote.DefaultTimeout})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer store.Close(ctx)

	lease := remote.NewToken()
	won, _, err := store.Acquire(ctx, remote.LeaseRequest{Key: "users:42", Token: lease}, 10*time.Second)
	fmt.Println("acquired:", won, err)

	// Another instance finds the lease, and waits for the value or for the end of the lease.
	won, found, err := store.Acquire(ctx, remote.LeaseRequest{Key: "users:42", Token: remote.NewToken()}, 10*time.Second)
	fmt.Println("acquired:", won, "found a lease:", found.Kind == remote.KindLease, err)

	loaded := &remote.Record{Kind: remote.KindValue, Token: remote.NewToken(), TTL: time.Hour, Payload: []byte("Ada")}
	fill, err := store.Fill(ctx, "users:42", lease[:], loaded)
	fmt.Println("stored:", fill.Stored, "awaited:", fill.Awaited, err)
	// Output:
	// acquired: true <nil>
	// acquired: false found a lease: true <nil>
	// stored: true awaited: true <nil>
}
