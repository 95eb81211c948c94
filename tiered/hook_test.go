package tiered_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// trips sees the round trips of calls whose context it has marked, and may hold the reply of one of them back.
type trips struct {
	seen atomic.Int64
	hold int64         // the number of the round trip to hold, from 1; 0 for none
	held chan struct{} // closed when that one has its reply, which its caller has not
	free chan struct{}
}

type tripKey struct{}

// watched gives a coherent client that tells t of its round trips. The reply with the number hold, if it is not 0, is
// kept back until release is called.
func watched(t testing.TB, o tiered.Options, hold int64) (*trips, *tiered.Client) {
	t.Helper()
	w := &trips{hold: hold, held: make(chan struct{}), free: make(chan struct{})}
	rdb := shared.Client(t)
	rdb.AddHook(w)
	client := coherent(t, rdb, o)
	t.Cleanup(w.release) // before the client is closed, which waits for it
	return w, client
}

// mark makes the round trips of a call count.
func (w *trips) mark(ctx context.Context) context.Context {
	return context.WithValue(ctx, tripKey{}, true)
}

func (w *trips) release() {
	select {
	case <-w.free:
	default:
		close(w.free)
	}
}

func (w *trips) pass(ctx context.Context, next func() error) error {
	err := next()
	if ctx.Value(tripKey{}) != nil && w.seen.Add(1) == w.hold {
		close(w.held)
		<-w.free
	}
	return err
}

func (w *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return w.pass(ctx, func() error { return next(ctx, cmd) })
	}
}

func (w *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return w.pass(ctx, func() error { return next(ctx, cmds) })
	}
}
