package invalidation_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// handler applies messages to a table. A real one also invalidates every copy in OnDrop, and serves
// no copy later than the time of the last OnTrust plus MaxStaleness.
type handler struct {
	table    *invalidation.Table
	live     chan struct{}
	received chan struct{}
}

func (h *handler) OnMessage(_ int, m invalidation.Message) {
	h.table.Raise(m.Hashes...)
	h.received <- struct{}{}
}

func (h *handler) OnState(c invalidation.StateChange) {
	if c.To == invalidation.StateLive {
		close(h.live)
	}
}

func (*handler) OnDrop(int, invalidation.DropReason, uint64) {}
func (*handler) OnFloors(int, uint64, map[string]uint64)     {}
func (*handler) OnTrust(int, time.Time)                      {}
func (*handler) OnLost(_ int, err error)                     { log.Print(err) }

func hashOf(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return h.Sum64()
}

// A program keeps values in a map of its own, and learns from other programs which of them have
// changed.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	h := &handler{invalidation.NewTable(), make(chan struct{}), make(chan struct{}, 1)}
	receiver := invalidation.Start(rdb, invalidation.Options{Namespace: "shop", Instance: 1, Handler: h})
	defer receiver.Close()
	<-h.live

	key := hashOf("users:42")
	stamp := h.table.Now() // before the value is read from its source
	fmt.Println("valid:", h.table.Valid(key, stamp))

	// Another program announces a change of the key.
	ctx := context.Background()
	store, err := remote.New(rdb, remote.Options{Namespace: "shop", ReadTimeout: remote.DefaultTimeout})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	m := invalidation.Message{Type: invalidation.TypeKeys, Publisher: 2, Hashes: []uint64{key}}
	message, err := m.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Announce(ctx, &remote.Announcement{Message: message}); err != nil {
		log.Fatal(err)
	}

	<-h.received
	fmt.Println("valid:", h.table.Valid(key, stamp))
	// Output:
	// valid: true
	// valid: false
}
