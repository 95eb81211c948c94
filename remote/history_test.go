package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// telling is an announcement whose sender knows an id of the lane, and a floor of all caches.
func telling(known, floor lane.ID) *Announcement {
	m := floor.AppendWire(known.AppendWire([]byte{0xC1, 1}))
	return &Announcement{Message: append(m, make([]byte, 10)...)}
}

// later is an id so long after now.
func later(d time.Duration) lane.ID { return lane.ID(time.Now().Add(d).UnixMilli() << 20) }

// endLane makes the server lose a lane, and what else is named.
func endLane(t *testing.T, rdb redis.UniversalClient, more ...string) {
	t.Helper()
	for _, key := range append(more, lane.Of(t.Name(), 0).Stream) {
		must(t, rdb.Del(t.Context(), key).Err())
	}
}

// nextMillisecond returns when the server's clock has left the millisecond that an id was made in.
func nextMillisecond(t *testing.T, rdb redis.UniversalClient, id lane.ID) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		now, err := rdb.Time(t.Context()).Result()
		if err == nil && now.UnixMilli() <= id.UnixMilli() {
			err = errors.New("the clock stands still")
		}
		return err
	})
}

func floorsOf(t *testing.T, s *Store) map[string]uint64 {
	t.Helper()
	floors, err := s.Floors(t.Context(), 0)
	must(t, err)
	return floors
}

func TestRaiseFloor_neverLowersOne(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		if floors := floorsOf(t, s); len(floors) != 0 {
			t.Fatal(floors)
		}
		a, all := news("a"), news("all")
		must(t, s.RaiseFloor(ctx, "a", a))
		must(t, s.RaiseFloor(ctx, "*", all))
		if want := map[string]uint64{"a": a.ID, "*": all.ID, "!": all.ID}; fmt.Sprint(floorsOf(t, s)) != fmt.Sprint(want) || a.ID >= all.ID {
			t.Errorf("floors %v, want %v", floorsOf(t, s), want)
		}
		if floors, err := s.Floors(ctx, 1); err != nil || len(floors) != 0 {
			t.Errorf("another lane's: %v, %v", floors, err)
		}
		// The clock that made the floors was ahead: they stay where they are.
		ahead := later(time.Hour)
		names := lane.Of(t.Name(), 0)
		must(t, rdb.HSet(ctx, names.Floors, "a", ahead.String(), "!", ahead.String()).Err())
		must(t, s.RaiseFloor(ctx, "a", news("late")))
		must(t, s.RaiseFloor(ctx, "b", news("late")))
		if floors := floorsOf(t, s); floors["a"] != uint64(ahead) || floors["!"] != uint64(ahead) || floors["b"] == 0 {
			t.Errorf("floors %v", floors)
		}
		must(t, rdb.HSet(ctx, names.Floors, "b", "garbage", "c", "17592186044416-0").Err())
		if floors := floorsOf(t, s); floors["b"] != 0 || floors["c"] != 0 {
			t.Errorf("fields that are no ids are floors: %v", floors)
		}
		for _, name := range []string{"b", "c"} {
			must(t, s.RaiseFloor(ctx, name, news("mended")))
			if floorsOf(t, s)[name] == 0 {
				t.Errorf("%s is not replaced", name)
			}
		}
	})
	s := newStore(t, shared.Client(t), func(o *Options) { o.Namespace = "" })
	for name, raise := range map[string]func(context.Context) error{
		"RaiseFloor": func(ctx context.Context) error { return s.RaiseFloor(ctx, "a", news("m")) },
		"Part":       func(ctx context.Context) error { return s.BeginHistory(ctx, 1, news("m")) },
	} {
		var fault *OptionError
		if err := raise(t.Context()); !errors.As(err, &fault) || fault.Field != "Namespace" {
			t.Errorf("%s without a lane: %v", name, err)
		}
	}
}

// All instances that notice a loss put the floor in one place, whenever they notice: below the
// changes that have been acknowledged since.
func TestPart_isInOnePlaceForAllInstances(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		old := telling(0, 0)
		must(t, s.Announce(ctx, old))
		known := lane.ID(floorsOf(t, s)["*"])
		for _, empty := range []bool{true, false} {
			end := telling(lane.ID(old.ID), known)
			must(t, s.Announce(ctx, end)) // it is lost
			nextMillisecond(t, rdb, lane.ID(end.ID))
			names := lane.Of(t.Name(), 0)
			if empty {
				endLane(t, rdb, names.Floors)
			} else {
				must(t, rdb.XDel(ctx, names.Stream, lane.ID(end.ID).String()).Err())
			}
			first := telling(0, 0) // of an instance that knows nothing of the old history
			must(t, s.Announce(ctx, first))
			var wg sync.WaitGroup
			floors := make([]uint64, 8)
			for i := range floors {
				wg.Go(func() {
					a := telling(lane.ID(end.ID), known)
					if err := s.BeginHistory(ctx, end.ID, a); err != nil {
						t.Error(err)
					}
					floors[i] = a.ID
					if err := s.Announce(ctx, telling(lane.ID(first.ID), known)); err != nil { // others go on
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for _, floor := range slices.Concat(floors, []uint64{floorsOf(t, s)["*"], floorsOf(t, s)["!"]}) {
				if floor != first.ID {
					t.Errorf("empty %v: a floor at %v, and the new history begins at %v", empty, lane.ID(floor), lane.ID(first.ID))
				}
			}
			old, known = first, lane.ID(first.ID)
		}
	})
}

// A change whose sender knows more than the lane begins the new history: above all ids that any
// instance was told, whatever the server's clock says, and with a floor below it. The next sender
// finds it begun.
func TestLoss_isEndedByAChangeThatBeginsTheNewHistory(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, s.Announce(ctx, telling(0, 0)))
		known, before := later(time.Hour), lane.ID(floorsOf(t, s)["*"])
		ch := listen(t, rdb, 0)
		first := telling(known, before)
		must(t, s.Announce(ctx, first))
		floor := lane.ID(floorsOf(t, s)["*"])
		if floor <= known || lane.ID(first.ID) <= floor || floor != lane.ID(floorsOf(t, s)["!"]) {
			t.Errorf("known %v, the floor is %v, the change %v", known, floor, lane.ID(first.ID))
		}
		if all, change := heard(t, ch), heard(t, ch); all.id != floor || change.id != lane.ID(first.ID) || change.previous != floor {
			t.Errorf("published %v, then %v", all, change)
		}
		second := telling(known+5, before) // it has not heard of the first
		must(t, s.Announce(ctx, second))
		if got := lane.ID(floorsOf(t, s)["*"]); got != floor || lane.ID(second.ID) <= known+5 {
			t.Errorf("the floor is %v after %v, the change %v", got, floor, lane.ID(second.ID))
		}
		a := telling(known+5, before)
		if must(t, s.BeginHistory(ctx, uint64(known+5), a)); lane.ID(a.ID) != floor {
			t.Errorf("parted at %v", lane.ID(a.ID))
		}
	})
}

// No message can move a lane to the end of time: a forged one may have told a sender of any id.
func TestLoss_idFarAheadIsNotBelieved(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, _ redis.UniversalClient) {
		must(t, s.Announce(t.Context(), telling(0, 0)))
		a := telling(later(48*time.Hour), 0)
		if must(t, s.Announce(t.Context(), a)); lane.ID(a.ID) > later(time.Hour) {
			t.Errorf("the lane has gone to %v", lane.ID(a.ID))
		}
	})
}

// Floors that are ahead of a lane that was lost would make every later record absent.
func TestLoss_emptyLaneBeginsAboveTheFloors(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ahead := later(time.Hour)
		must(t, rdb.HSet(t.Context(), lane.Of(t.Name(), 0).Floors, "cache", ahead.String(), "!", ahead.String()).Err())
		a := telling(0, 0)
		if must(t, s.Announce(t.Context(), a)); lane.ID(a.ID) <= ahead {
			t.Errorf("the lane begins at %v, below the floor %v", lane.ID(a.ID), ahead)
		}
		if floors := floorsOf(t, s); floors["*"] != 0 || floors["!"] != uint64(ahead) {
			t.Errorf("floors %v, of a lane that nobody knows to be lost", floors)
		}
		endLane(t, rdb)
		b := telling(lane.ID(a.ID), 0)
		if must(t, s.Announce(t.Context(), b)); b.ID <= a.ID {
			t.Errorf("the lane begins at %v, after %v", lane.ID(b.ID), lane.ID(a.ID))
		}
		if floors := floorsOf(t, s); floors["*"] != b.ID || floors["!"] != b.ID {
			t.Errorf("floors %v, and the lane begins at %v", floors, lane.ID(b.ID))
		}
	})
}

// A record that is stored by the first change after a loss, or by a later one of an instance that
// has not noticed it, lies above the floor; on a Cluster, too, where it is stored before the floor
// is known.
func TestLoss_recordsOfTheNewHistoryLieAboveItsFloor(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, s.Announce(ctx, telling(0, 0)))
		known, floor := kept(t, rdb, t.Name(), 0)[0].id, lane.ID(floorsOf(t, s)["*"])
		endLane(t, rdb, lane.Of(t.Name(), 0).Floors)
		r := func() *Record { v := value("v"); v.Stamp = uint64(known); return v }
		one, absent, two := t.Name()+":one", t.Name()+":absent", []string{t.Name() + ":a", t.Name() + ":b"}
		must(t, s.Set(ctx, one, r(), telling(known, floor)))
		stored, _, err := s.SetIfAbsent(ctx, absent, r(), 0, telling(known, floor))
		if must(t, err); !stored {
			t.Error("not stored")
		}
		together := telling(known, floor)
		for _, err := range s.SetMany(ctx, []Write{{Key: two[0], Record: r(), Announcement: together}, {Key: two[1], Record: r(), Announcement: together}}) {
			must(t, err)
		}
		parted := floorsOf(t, s)["*"]
		counter := t.Name() + ":counter"
		_, err = increment(ctx, s, counter, 1, nil, r(), 0, telling(known, floor))
		must(t, err)
		for _, key := range append(two, one, absent, counter) {
			if got, err := s.Get(ctx, key); err != nil || got.Stamp < parted || parted <= uint64(known) {
				t.Errorf("the record of %s has the stamp %v, %v, and the floor is %v", key, lane.ID(got.Stamp), err, lane.ID(parted))
			}
		}
	})
}
