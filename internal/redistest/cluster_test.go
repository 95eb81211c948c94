package redistest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

func TestStartCluster_movesSlots(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := redistest.StartCluster(t, 3)
	t.Logf("cluster ready after %v", time.Since(began).Round(time.Millisecond))
	client := c.Client(t)
	for i := range 100 {
		key := fmt.Sprint("k", i)
		set(t, client, key, key)
		wantValue(t, client, key, key)
	}
	if len(c.Nodes) != 3 || len(c.Addrs()) != 3 {
		t.Fatalf("%d nodes, %d addresses", len(c.Nodes), len(c.Addrs()))
	}

	slot := c.Slot(t, "k1")
	from := c.Owner(t, slot)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	direct := from.Client(t)

	c.OpenSlot(t, slot, from, to)
	wantValue(t, direct, "k1", "k1") // still here
	err := direct.Get(t.Context(), "{k1}absent").Err()
	if err == nil || !strings.HasPrefix(err.Error(), "ASK ") {
		t.Errorf("an absent key of an open slot: %v, want ASK", err)
	}
	set(t, client, "{k1}absent", "v") // goes to the new owner already

	c.MoveSlot(t, slot, from, to)
	err = direct.Get(t.Context(), "k1").Err()
	if err == nil || !strings.HasPrefix(err.Error(), "MOVED ") {
		t.Errorf("a key that moved: %v, want MOVED", err)
	}
	wantValue(t, client, "k1", "k1")
	wantValue(t, client, "{k1}absent", "v")
	if c.Owner(t, slot) != to && c.Nodes[0] == to {
		t.Error("the new owner does not know that it is")
	}

	c.Nodes[2].Restart()
	c.AwaitHealthy(t)
	set(t, c.Client(t), "k1", "k2")

	c.Nodes[2].Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.AwaitHealthyUntil(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for a cluster that is not whole: %v", err)
	}
}

func TestStartCluster_withAPassword(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, redistest.WithPassword("pw"))
	set(t, c.Client(t), "k", "v")
	slot := c.Slot(t, "k")
	from := c.Owner(t, slot)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	c.MoveSlot(t, slot, from, to)
	wantValue(t, to.Client(t), "k", "v")
}

func TestStartSentinel_failsOver(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := redistest.StartSentinel(t)
	t.Logf("sentinel ready after %v", time.Since(began).Round(time.Millisecond))
	client := s.Client(t)
	set(t, client, "k", "v")

	for range 2 {
		// A failover keeps what the replica has, which after a restart it has to fetch again. WAIT would not tell: it asks
		// about the writes of its own connection.
		replica := s.Replica().Client(t)
		redistest.Eventually(t, 10*time.Second, func() error { return replica.Get(t.Context(), "k").Err() })
		old := s.Master()
		began = time.Now()
		s.Failover(t)
		t.Logf("failover after %v", time.Since(began).Round(time.Millisecond))
		if s.Master() == old || s.Replica() != old {
			t.Fatal("the master did not change")
		}
		set(t, s.Master().Client(t), "after", "failover")
		redistest.Eventually(t, 10*time.Second, func() error {
			return client.Get(t.Context(), "k").Err()
		})
		old.Restart()
		s.AwaitReady(t)
	}
}

func TestStartSentinel_withAPassword(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, redistest.WithPassword("pw"))
	set(t, s.Client(t), "k", "v")
	s.Failover(t)
	set(t, s.Client(t, func(o *redis.FailoverOptions) { o.MaxRetries = 3 }), "k", "v")
}
