package instance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// slowTrail is trail as its comment says it: by looking at all acknowledgements.
func slowTrail(read Entry, instance int, acks []Entry, by []int) (age time.Duration, own, found bool) {
	first := int64(0)
	for i, a := range acks {
		if a.Slot != read.Slot || a.Version <= read.Version {
			continue
		}
		own = own || by[i] == instance && a.At <= read.At
		if !found || a.At < first {
			first, found = a.At, true
		}
	}
	return time.Duration(max(0, read.At-first)), own, found
}

func TestTrailIsThatOfAllAcknowledgements(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		known := make(acknowledged)
		var acks []Entry
		var by []int
		for range r.IntN(30) {
			e := Entry{Slot: r.Uint32N(3), Version: r.Uint64N(12), At: r.Int64N(50)}
			instance := r.IntN(3)
			acks, by = append(acks, e), append(by, instance)
			known.add(e, instance)
		}
		for range 30 {
			read, instance := Entry{Slot: r.Uint32N(3), Version: r.Uint64N(12), At: r.Int64N(60)}, r.IntN(3)
			age, own, err := known.trail(read, instance)
			wantAge, wantOwn, found := slowTrail(read, instance, acks, by)
			if (err == nil) != found || found && (age != wantAge || own != wantOwn) {
				t.Fatalf("%+v of %d: %v, own %t, %v; want %v, own %t, found %t, of %+v by %v", read, instance, age, own, err, wantAge, wantOwn, found, acks, by)
			}
		}
	}
}

func TestJudgeCanBeGivenUp(t *testing.T) {
	logs := []Logs{{Acks: writeLog(t, "acks", Entry{1, 2, 3, Near}), Stale: writeLog(t, "stale", Entry{1, 1, 5, Near})}}
	var judged []StaleRead
	if err := Judge(logs, func(r StaleRead) { judged = append(judged, r) }); err != nil || fmt.Sprint(judged) != "[{{1 1 5 near} 2ns true}]" {
		t.Errorf("judged %v, %v", judged, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := JudgeUntil(ctx, logs, func(StaleRead) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("went on: %v", err)
	}
}
