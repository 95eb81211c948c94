package remote

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

// A server's clock was ahead for a moment, and a million changes were made since: ids never go
// back, and have 20 bits for the part that is not time.
func TestLane_changesPastALargeSequenceNumber(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx, key := t.Context(), t.Name()
		names := lane.Of(t.Name(), 0)
		ms := time.Now().Add(time.Hour).UnixMilli()
		for _, seq := range []int{1_048_570, 1_048_580} {
			must(t, rdb.Del(ctx, names.Stream).Err())
			must(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Stream, ID: fmt.Sprintf("%d-%d", ms, seq), Values: []string{"m", "x"}}).Err())
			before, err := lane.Parse(fmt.Sprintf("%d-%d", ms, seq))
			must(t, err)
			ch := listen(t, rdb, 0)
			for range 9 {
				a := news("m")
				must(t, s.Set(ctx, key, number(1), a))
				if a.ID <= uint64(before) {
					t.Fatalf("%v does not come after %v", lane.ID(a.ID), before)
				}
				if got := heard(t, ch); got.previous != before || got.id != lane.ID(a.ID) {
					t.Fatalf("published as (%v, %v), want (%v, %v)", got.previous, got.id, before, lane.ID(a.ID))
				}
				if r, err := s.Get(ctx, key); s.Atomic() && (err != nil || r.Stamp != a.ID) {
					t.Fatalf("stamp %v, %v, want %v", lane.ID(r.Stamp), err, lane.ID(a.ID))
				}
				before = lane.ID(a.ID)
			}
		}
	})
}

// A sequence number past 20 bits stands for milliseconds that the lane has not reached: an hour of
// them here. Changes come after those in the order of their stamps and places, although the
// server's clock gives earlier ids.
func TestLane_changesAfterACarriedSequenceNumber(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		const hour = 3_600_000
		ctx, key := t.Context(), t.Name()
		names := lane.Of(t.Name(), 0)
		// Before the server's time, so that it gives a later id by itself. The carry of the stamp's
		// low half into the high one is between the two, too.
		ms := (time.Now().Add(-time.Second).UnixMilli() | 4095) - 4096
		from := fmt.Sprintf("%d-%d", ms, hour<<20|7)
		must(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Stream, ID: from, Values: []string{"m", "x"}}).Err())
		before, err := lane.Parse(from)
		must(t, err)
		if want, err := lane.Parse(fmt.Sprintf("%d-7", ms+hour)); err != nil || before != want {
			t.Fatalf("%s is %v, %v, want %v", from, before, err, want)
		}
		ch := listen(t, rdb, 0)
		for i := range 5 {
			a := news("m")
			must(t, s.Set(ctx, key, number(1), a))
			if a.ID <= uint64(before) {
				t.Fatalf("change %d is %v, which does not come after %v", i, lane.ID(a.ID), before)
			}
			if got := heard(t, ch); got.previous != before || got.id != lane.ID(a.ID) {
				t.Fatalf("change %d is published as (%v, %v), want (%v, %v)", i, got.previous, got.id, before, lane.ID(a.ID))
			}
			if r, err := s.Get(ctx, key); s.Atomic() && (err != nil || r.Stamp != a.ID) {
				t.Fatalf("change %d has the stamp %v, %v, want %v", i, lane.ID(r.Stamp), err, lane.ID(a.ID))
			}
			before = lane.ID(a.ID)
		}
	})
}
