//go:build unix

package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

// instances are faults of one process.
var instances = []Fault{
	{
		Name: "stop-instance", Where: Everywhere, Inject: stopInstance,
		About: "an instance is frozen (SIGSTOP), and goes on as if nothing had been",
	},
	{Name: "stutter-instance", Where: Everywhere, Inject: stutter},
	{Name: "slow-loads", Where: Everywhere, Inject: slowLoads},
	{Name: "stop-in-load", Where: Everywhere, Inject: stopAt(harness.InLoad)},
	{Name: "stop-after-load", Where: Everywhere, Inject: stopAt(harness.AfterLoad)},
	{Name: "stop-after-commit", Where: Everywhere, Inject: stopAt(harness.AfterCommit)},
	{
		Name: "kill-instance", Where: Everywhere, Inject: killInstance,
		About: "an instance dies (SIGKILL), and another takes its place",
	},
	{Name: "kill-after-commit", Where: Everywhere, Inject: killAfterCommit},
}

// slowLoads lets changes and later loads overtake a load.
func slowLoads(ctx context.Context, t Target, s Shot) error {
	const longer = 50 * time.Millisecond
	t.Source().Slow(longer)
	defer t.Source().Slow(0)
	return Hold(ctx, s.Length)
}

func killInstance(ctx context.Context, t Target, s Shot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	seat := s.Seat % t.Seats()
	return errors.Join(t.Kill(seat), replace(ctx, t, seat, s))
}

func killAfterCommit(ctx context.Context, t Target, s Shot) error {
	seat, err := trap(ctx, t, harness.AfterCommit, t.Kill)
	if err != nil {
		return err
	}
	return replace(ctx, t, seat, s)
}

func stopInstance(ctx context.Context, t Target, s Shot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	seat := s.Seat % t.Seats()
	err := t.Signal(seat, syscall.SIGSTOP)
	if err == nil {
		err = Hold(ctx, s.Length)
	}
	return errors.Join(err, t.Signal(seat, syscall.SIGCONT))
}

// stutter stops an instance for moments: these find it in the middle of something more often than
// long ones do.
func stutter(ctx context.Context, t Target, s Shot) error {
	seat := s.Seat % t.Seats()
	var err error
	for end := time.Now().Add(s.Length); time.Now().Before(end) && err == nil; {
		err = errors.Join(ctx.Err(), t.Signal(seat, syscall.SIGSTOP))
		harness.Sleep(ctx, 10*time.Millisecond+rand.N(30*time.Millisecond))
		err = errors.Join(err, t.Signal(seat, syscall.SIGCONT))
		harness.Sleep(ctx, rand.N(10*time.Millisecond))
	}
	return err
}

// replace starts a new process where one was killed, after a while.
func replace(ctx context.Context, t Target, seat int, s Shot) error {
	harness.Sleep(ctx, s.Length/4)
	return t.Replace(ctx, seat)
}

// patience is how long a fault waits for an instance to reach a moment: longer than writers rest.
const patience = 3 * time.Second

// trap does something to the next instance that reaches a moment, and returns which that was.
func trap(
	ctx context.Context, t Target, m harness.Moment, do func(seat int) error,
) (seat int, err error) {
	type hit struct {
		seat int
		err  error
	}
	reached := make(chan hit, 1)
	t.Source().Trap(m, func(seat int) { reached <- hit{seat, do(seat)} })
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case h := <-reached:
		return h.seat, h.err
	case <-ctx.Done():
	}
	t.Source().Release(m)
	select {
	case h := <-reached: // just now
		return h.seat, h.err
	default:
		return 0, ErrMissed
	}
}

// stopAt stops the next instance that reaches a moment.
func stopAt(m harness.Moment) func(context.Context, Target, Shot) error {
	return func(ctx context.Context, t Target, s Shot) error {
		stop := func(seat int) error { return t.Signal(seat, syscall.SIGSTOP) }
		seat, err := trap(ctx, t, m, stop)
		if err != nil {
			return err
		}
		return errors.Join(Hold(ctx, s.Length), t.Signal(seat, syscall.SIGCONT))
	}
}
