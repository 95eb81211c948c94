package coherence

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// unasked returns a Manager that has never asked Redis.
func unasked(t *testing.T) *Manager {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	store, err := remote.New(rdb, remote.Options{Namespace: "shop", Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return New(store, Options{
		Namespace: "shop", Lanes: 1, MaxStaleness: time.Second, MaxRetries: 100, Backoff: time.Second, Uncertain: time.Second, Logger: slog.Default(),
	})
}

// Messages that clear caches which this instance does not have take bounded memory, however many they name, and a cache
// that is made later keeps its floor.
func TestManager_boundsClearsOfOtherCaches(t *testing.T) {
	co := unasked(t)
	late := Seed("shop", "late")
	hashes := []uint64{late}
	for h := range uint64(40) {
		for i := range uint64(1000) {
			hashes = append(hashes, 1000+h*1000+i)
		}
		co.OnMessage(0, invalidation.Message{Type: invalidation.TypeCleared, ID: 100 + h, Hashes: hashes})
		hashes = hashes[:0]
	}
	if n := len(co.lanes[0].unnamed); n > maxUnnamed {
		t.Errorf("%d floors are kept, at most %d", n, maxUnnamed)
	}
	if floor := co.Cache("late").minIDs[0].Load(); floor < 100 || floor > 139 {
		t.Errorf("the floor of a cache that is made later is %d", floor)
	}
	co.OnDrop(0, invalidation.DropHistoryLost, 139)
	if floor := co.Cache("later").minIDs[0].Load(); floor > 140 {
		t.Errorf("after the lane lost its history, it is %d", floor)
	}
}

// However many floors of caches that this instance does not have come and go in Redis, it keeps a
// bounded number of them. Floors of its own caches stay what they are, and a cache that is made
// later begins no lower than any that was let go.
func TestManager_boundsFloorsOfOtherCaches(t *testing.T) {
	co := unasked(t)
	own := co.Cache("own")
	for round := range 10 {
		floors := map[string]uint64{"own": 50, "late": 60}
		for i := range 10_000 {
			floors[fmt.Sprint("forged ", round, " ", i)] = 70
		}
		co.learnFloors(0, floors)
		if n := len(co.lanes[0].floors); n > maxFloors {
			t.Fatalf("%d floors are kept, at most %d", n, maxFloors)
		}
	}
	if floor := own.minIDs[0].Load(); floor != 50 {
		t.Errorf("the floor of a cache of this instance is %d", floor)
	}
	if floor := co.Cache("late").minIDs[0].Load(); floor < 60 || floor > 70 {
		t.Errorf("the floor of a cache that is made later is %d", floor)
	}
}
