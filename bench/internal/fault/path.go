package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/server"
)

// errNoRelay reports a fleet whose instances reach Redis directly.
var errNoRelay = errors.New("fault: the instance has no relay")

func cut(ctx context.Context, t Target, r *rand.Rand) error {
	relay, err := pick(ctx, t, r)
	if err != nil {
		return err
	}
	relay.CutAll()
	return nil
}

func halfOpen(ctx context.Context, t Target, r *rand.Rand) error {
	relay, err := pick(ctx, t, r)
	if err != nil {
		return err
	}
	relay.BlackHole(true)
	err = hold(ctx, r)
	relay.CutAll() // before bytes pass again: an idle connection that lost none would live on
	relay.BlackHole(false)
	return err
}

func slow(ctx context.Context, t Target, r *rand.Rand) error {
	relay, err := pick(ctx, t, r)
	if err != nil {
		return err
	}
	const most = 200 * time.Millisecond
	relay.Delay(time.Millisecond + time.Duration(r.Int64N(int64(most))))
	err = hold(ctx, r)
	relay.Delay(0)
	return err
}

func swallow(ctx context.Context, t Target, r *rand.Rand) error {
	relay, err := pick(ctx, t, r)
	if err != nil {
		return err
	}
	relay.SwallowReplies(true)
	err = hold(ctx, r)
	relay.SwallowReplies(false)
	return err
}

// pick picks an instance, and gives its relay.
func pick(ctx context.Context, t Target, r *rand.Rand) (*server.Relay, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	relay := t.Relay(r.IntN(t.Instances()))
	if relay == nil {
		return nil, errNoRelay
	}
	return relay, nil
}
