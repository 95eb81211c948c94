package tiered_test

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// renewalArgs is how many arguments EVALSHA has when it renews a lease: the script, one key, the token and the life.
const renewalArgs = 6

// slowly makes every pipeline of scripts but that of renewals take a while, and counts the round trips of all commands.
type slowly struct {
	pause time.Duration
	trips atomic.Int64
}

func (s *slowly) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *slowly) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.trips.Add(1)
		return next(ctx, cmd)
	}
}

func (s *slowly) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.trips.Add(1)
		if len(cmds) > 0 && strings.HasPrefix(cmds[0].Name(), "eval") && len(cmds[0].Args()) != renewalArgs {
			time.Sleep(s.pause)
		}
		return next(ctx, cmds)
	}
}

// The leases of a batch are renewed together, from when each was taken until its value is stored: while others of the
// batch are taken, while the loader runs, and while others are filled.
func TestLease_isRenewedForASlowBatch(t *testing.T) {
	for name, tc := range map[string]struct {
		keys       int
		trip, load time.Duration
	}{
		"slow loader":      {keys: 1_100, load: 4 * leaseLife},
		"slow round trips": {keys: 2_600, trip: leaseLife / 4, load: leaseLife / 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const together, fewer = 512, 16
				r := tieredtest.NewRedis(t)
				rdb := r.Client()
				hook := &slowly{pause: tc.trip}
				rdb.AddHook(hook)
				client := newClient(t, rdb, rarely)
				ready(t, client)
				c := newCache[string](t, client, "c", tiered.CacheOptions{})
				keys := numbered(tc.keys)
				var renewing int64
				got, err := c.GetOrSetMany(t.Context(), keys, func(_ context.Context, missing []string) (map[string]string, error) {
					before, goroutines := hook.trips.Load(), runtime.NumGoroutine()
					time.Sleep(tc.load)
					renewing = hook.trips.Load() - before
					if n := runtime.NumGoroutine() - goroutines; n > fewer {
						t.Errorf("%d goroutines more while the leases are renewed", n)
					}
					out := make(map[string]string, len(missing))
					for _, k := range missing {
						out[k] = "v"
					}
					return out, nil
				})
				check(t, err)
				if len(got) != tc.keys {
					t.Errorf("%d of %d values", len(got), tc.keys)
				}
				if s := client.Stats(); s.Fills != uint64(tc.keys) || s.FillsRefused != 0 || s.Loads != 1 {
					t.Errorf("%d fills, %d refused, %d loads, want %d, 0 and 1", s.Fills, s.FillsRefused, s.Loads, tc.keys)
				}
				// One renewal of all each second, and an early one for those that are due soon.
				if most := int64(tc.load/time.Second+1) * 2 * int64(tc.keys/together+1); renewing > most {
					t.Errorf("%d round trips while the loader ran, want at most %d", renewing, most)
				}
				trips := hook.trips.Load()
				time.Sleep(10 * leaseLife)
				if n := hook.trips.Load() - trips; n > 0 {
					t.Errorf("%d round trips after the batch had ended", n)
				}
			})
		})
	}
}
