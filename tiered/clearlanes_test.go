package tiered_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// beforeScan does something once, when a Clear has raised its floors and is about to look for what lies below.
type beforeScan struct {
	once sync.Once
	do   func()
}

func (b *beforeScan) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *beforeScan) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "scan" {
			b.once.Do(b.do)
		}
		return next(ctx, cmd)
	}
}

func (b *beforeScan) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// An entry that is stored after the floors were raised stays, in both tiers, while the scan
// removes those below, whatever the key's lane.
func TestClear_leavesEntriesStoredWhileItScans(t *testing.T) {
	for _, lanes := range []int{1, 4, 7} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			server := redistest.Start(t)
			o := tiered.Options{Namespace: namespace(t), Lanes: lanes, RemoteTimeout: patience}
			if lanes > 1 {
				// One lane's ids are an hour ahead of the others', as those of a server that had another clock.
				check(t, server.Client(t).XAdd(t.Context(), &redis.XAddArgs{
					Stream: fmt.Sprintf("{%s:%d}:lane", o.Namespace, lanes-1),
					ID:     fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli()),
					Values: []any{"m", "\xC1\x01" + strings.Repeat("\x00", 10)},
				}).Err())
			}
			setter := newCache[int](t, coherent(t, server.Client(t), o), "c", tiered.CacheOptions{})
			hook := &beforeScan{}
			rdb := server.Client(t)
			rdb.AddHook(hook)
			clearing := newCache[int](t, coherent(t, rdb, o), "c", tiered.CacheOptions{})

			const n = 200
			items := make([]tiered.Item[int], n)
			for i := range items {
				items[i] = tiered.Item[int]{Key: fmt.Sprint("old", i), Value: i}
			}
			_, err := setter.SetMany(t.Context(), items)
			check(t, err)
			hook.do = func() {
				for i := range n {
					check(t, setter.Set(t.Context(), fmt.Sprint("set", i), i))
					if won, err := clearing.SetIfAbsent(t.Context(), fmt.Sprint("won", i), i); !won || err != nil {
						t.Errorf("SetIfAbsent = %t, %v", won, err)
					}
				}
			}
			if removed, err := clearing.Clear(t.Context(), ""); removed != n || err != nil {
				t.Errorf("Clear = %d, %v, want the %d entries from before", removed, err, n)
			}
			lost, again := 0, 0
			for i := range n {
				for _, c := range []*tiered.Cache[int]{setter, clearing} {
					for _, kind := range []string{"set", "won"} {
						if _, err := c.Get(t.Context(), fmt.Sprint(kind, i)); err != nil {
							lost++
						}
					}
				}
				if won, err := setter.SetIfAbsent(t.Context(), fmt.Sprint("won", i), -1); won || err != nil {
					again++
				}
			}
			if lost > 0 || again > 0 {
				t.Errorf("%d of %d reads did not find what was stored during the scan, and %d keys could be won again", lost, 4*n, again)
			}
			if count, err := setter.Count(t.Context(), ""); count != 2*n || err != nil {
				t.Errorf("Count = %d, %v, want %d", count, err, 2*n)
			}
		})
	}
}
