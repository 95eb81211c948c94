//go:build unix

package fault

import (
	"context"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

// cutAfter says that the connections which a fault has hurt are reset when it ends.
const cutAfter = true

// paths are faults of the ways between one instance and its servers.
func paths() (faults []Fault) {
	add := func(name, about string, inject func(context.Context, harness.Ways, Shot) error) {
		faults = append(faults, Fault{
			Name: name, About: about, Where: Everywhere, Paths: true, Beside: true,
			Inject: func(ctx context.Context, t Target, s Shot) error {
				ways, err := ways(ctx, t, s)
				if err != nil {
					return err
				}
				return inject(ctx, ways, s)
			},
		})
	}
	hold := func(name, about string, cut bool, m harness.Mode) {
		add(name, about, func(ctx context.Context, ways harness.Ways, s Shot) error {
			return misbehave(ctx, ways, m, s.Length, cut)
		})
	}
	subscriptions := func(name string, m harness.Mode) {
		m.Which = harness.Subscriptions
		hold(name, "", false, m)
	}
	for _, which := range []harness.Which{harness.AllLinks, harness.Subscriptions, harness.Commands} {
		// The connections are half-open, and their bytes arrive late.
		hold("stall-"+which.String(), "", false, harness.Mode{Which: which, Stall: true})
	}
	hold("half-open", "nothing passes between an instance and Redis, and nobody says so; then the "+
		"connections are reset", cutAfter, harness.Mode{Stall: true})
	hold("hole-subscription", "", cutAfter, harness.Mode{Which: harness.Subscriptions, Stall: true})
	hold("swallow-replies", "", cutAfter, harness.Mode{Which: harness.Commands, Swallow: true})
	hold("swallow", "commands of an instance take effect and their replies are lost", cutAfter,
		harness.Mode{Swallow: true})
	subscriptions("lose-messages", harness.Mode{Lose: 0.5})
	subscriptions("lose-all-messages", harness.Mode{Lose: 1})
	// The names of channels end so: see internal/lane.
	const invalidations, echoes = ":invalidations\r\n", ":echo:"
	subscriptions("lose-invalidations", harness.Mode{Lose: 0.3, About: invalidations})
	subscriptions("lose-all-invalidations", harness.Mode{Lose: 1, About: invalidations})
	subscriptions("lose-echoes", harness.Mode{Lose: 0.7, About: echoes})
	add("slow", "Redis's replies and messages reach an instance late",
		func(ctx context.Context, ways harness.Ways, s Shot) error {
			late := harness.Mode{Delay: time.Millisecond + s.Length/8}
			return misbehave(ctx, ways, late, s.Length, false)
		})
	hold("slow-replies", "", false, harness.Mode{Apart: 60 * time.Millisecond})
	subscriptions("slow-subscription", harness.Mode{Apart: 150 * time.Millisecond})
	add("cut", "all connections of an instance are reset",
		func(_ context.Context, ways harness.Ways, _ Shot) error {
			ways.Cut(true)
			return nil
		})
	return faults
}

// misbehave lets ways misbehave for a while.
func misbehave(ctx context.Context, ways harness.Ways, m harness.Mode, d time.Duration, cut bool) error {
	ways.Set(m)
	err := Hold(ctx, d)
	ways.Set(harness.Mode{})
	if cut {
		ways.Cut(false)
	}
	return err
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
