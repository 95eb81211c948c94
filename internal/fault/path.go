//go:build unix

package fault

import (
	"context"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

// paths are faults of the ways between one instance and its servers.
func paths() (faults []Fault) {
	add := func(name, about string, cut bool, mode func(Shot) harness.Mode) {
		faults = append(faults, Fault{Name: name, About: about, Where: Everywhere, Paths: true, Beside: true, Inject: func(ctx context.Context, t Target, s Shot) error {
			ways, err := ways(ctx, t, s)
			if err != nil {
				return err
			}
			ways.Set(mode(s))
			err = Hold(ctx, s.Length)
			ways.Set(harness.Mode{})
			if cut {
				ways.Cut(false)
			}
			return err
		}})
	}
	always := func(m harness.Mode) func(Shot) harness.Mode { return func(Shot) harness.Mode { return m } }
	for _, which := range []harness.Which{harness.AllLinks, harness.Subscriptions, harness.Commands} {
		// Half-open, and what was sent arrives late.
		add("stall-"+which.String(), "", false, always(harness.Mode{Which: which, Stall: true}))
	}
	add("half-open", "nothing passes between an instance and Redis, and nobody says so; then the connections are reset", true,
		always(harness.Mode{Stall: true}))
	add("hole-subscription", "", true, always(harness.Mode{Which: harness.Subscriptions, Stall: true}))
	add("swallow-replies", "", true, always(harness.Mode{Which: harness.Commands, Swallow: true}))
	add("swallow", "commands of an instance take effect and their replies are lost", true, always(harness.Mode{Swallow: true}))
	add("lose-messages", "", false, always(harness.Mode{Which: harness.Subscriptions, Lose: 0.5}))
	add("lose-all-messages", "", false, always(harness.Mode{Which: harness.Subscriptions, Lose: 1}))
	// The names of channels end so: see internal/lane.
	add("lose-invalidations", "", false, always(harness.Mode{Which: harness.Subscriptions, Lose: 0.3, About: ":invalidations\r\n"}))
	add("lose-all-invalidations", "", false, always(harness.Mode{Which: harness.Subscriptions, Lose: 1, About: ":invalidations\r\n"}))
	add("lose-echoes", "", false, always(harness.Mode{Which: harness.Subscriptions, Lose: 0.7, About: ":echo:"}))
	add("slow", "Redis's replies and messages reach an instance late", false, func(s Shot) harness.Mode {
		return harness.Mode{Delay: time.Millisecond + s.Length/8}
	})
	add("slow-replies", "", false, always(harness.Mode{Apart: 60 * time.Millisecond}))
	add("slow-subscription", "", false, always(harness.Mode{Which: harness.Subscriptions, Apart: 150 * time.Millisecond}))
	return append(faults, Fault{
		Name: "cut", About: "all connections of an instance are reset", Where: Everywhere, Paths: true, Beside: true,
		Inject: func(ctx context.Context, t Target, s Shot) error {
			ways, err := ways(ctx, t, s)
			if err == nil {
				ways.Cut(true)
			}
			return err
		},
	})
}

// ways are those of the instance that is hit.
func ways(ctx context.Context, t Target, s Shot) (harness.Ways, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ways := t.Ways(s.Seat % t.Seats())
	if len(ways) == 0 {
		return nil, errNoWays
	}
	return ways, nil
}
