package invalidation

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// hostileLanes spoil a lane's keys as another program may.
var hostileLanes = map[string]func(ctx context.Context, rdb *redis.Client, n lane.Names) error{
	"stream is a string": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return errors.Join(rdb.Del(ctx, n.Stream).Err(), rdb.Set(ctx, n.Stream, "x", 0).Err())
	},
	"stream is a set": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return errors.Join(rdb.Del(ctx, n.Stream).Err(), rdb.SAdd(ctx, n.Stream, "x").Err())
	},
	"entries that are no messages": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return errors.Join(rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, Values: []string{"n", "x", "m", "y"}}).Err(),
			rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, Values: []string{"m", "nan"}}).Err())
	},
	"the last id there is": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "18446744073709551615-18446744073709551615", Values: []string{"m", "x"}}).Err()
	},
	"an id past a record's": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "17592186044416-0", Values: []string{"m", "x"}}).Err()
	},
	"floors are a string": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return errors.Join(rdb.Del(ctx, n.Floors).Err(), rdb.Set(ctx, n.Floors, "x", 0).Err())
	},
	"floors of garbage": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.HSet(ctx, n.Floors, "!", "nan", "*", "inf-0", "cache", "99999999999999999999-1", "other", "").Err()
	},
	"count is a list": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return errors.Join(rdb.Del(ctx, n.Count).Err(), rdb.RPush(ctx, n.Count, "x").Err())
	},
	"count is garbage": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.Set(ctx, n.Count, "nan", 0).Err()
	},
}

// Another program may have left anything in the lane's keys. Receivers that run then, and receivers
// that start then, become live again by themselves, and receive changes. Every script of this
// package is run.
func TestHostile_scriptsMakeDoWithAnyLane(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("script/*.lua")
	if fmt.Sprint(files) != "[script/probe.lua script/replay.lua]" || err != nil {
		t.Fatalf("%v, %v: a receiver runs probe.lua and replay.lua, any other script needs a test of its own", files, err)
	}
	for name, spoil := range hostileLanes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, names := shared.Client(t), lane.Of(t.Name(), 0)
			if err := rdb.Del(t.Context(), names.Stream, names.Floors, names.Count).Err(); err != nil {
				t.Fatal(err)
			}
			before := receive(t, rdb)
			before.live(t)
			announce(t, rdb, keys(1))
			if err := spoil(t.Context(), rdb, names); err != nil {
				t.Fatal(err)
			}
			after := receive(t, rdb, func(o *Options) { o.Instance++ })
			for i, rec := range []*recorder{before, after} {
				rec.live(t)
				announce(t, rdb, keys(uint64(100+i)))
				rec.awaitHash(t, uint64(100+i))
				rec.live(t)
			}
		})
	}
}

// However many floors another program adds, an answer brings no more than a lane keeps: one for all
// then.
func TestHostile_answersHaveBoundedFloors(t *testing.T) {
	t.Parallel()
	rdb, names := shared.Client(t), lane.Of(t.Name(), 0)
	rec := receive(t, rdb)
	rec.live(t)
	id := announce(t, rdb, keys(1))
	for i := range 4 {
		fields := make([]string, 0, 10_002)
		for j := range 5_000 {
			fields = append(fields, strconv.Itoa(5_000*i+j), "1-1")
		}
		if err := rdb.HSet(t.Context(), names.Floors, append(fields, "!", id.String())).Err(); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, patience, func() error {
		for _, e := range rec.all("learned") {
			if e.floors["*"] >= uint64(id) && len(e.floors) == 2 {
				return nil
			}
		}
		return errors.New("no floor stands for all")
	})
	for _, e := range rec.all("learned") {
		if len(e.floors) > 16_384 {
			t.Errorf("%d floors at once", len(e.floors))
		}
	}
	rec.live(t)
}
