package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
)

func stopInstance(ctx context.Context, t Target, r *rand.Rand) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	i := r.IntN(t.Instances())
	if err := t.Signal(i, syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(hold(ctx, r), t.Signal(i, syscall.SIGCONT))
}

func killInstance(ctx context.Context, t Target, r *rand.Rand) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.Kill(ctx, r.IntN(t.Instances()))
}

func stopServer(ctx context.Context, t Target, r *rand.Rand) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := t.Server()
	node := r.IntN(len(s.Addrs()))
	if err := s.Pause(node); err != nil {
		return err
	}
	return errors.Join(hold(ctx, r), s.Resume(node))
}

func restartServer(ctx context.Context, t Target, r *rand.Rand) error {
	return t.Server().Restart(ctx, r.IntN(len(t.Server().Addrs())))
}

func flushAll(ctx context.Context, t Target, _ *rand.Rand) error {
	return t.Server().FlushAll(ctx)
}
