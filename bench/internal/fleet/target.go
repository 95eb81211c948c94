package fleet

import (
	"context"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/fault"
	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/history"
)

var _ fault.Target = (*fleet)(nil)

// Instances are those that faults may hit: the writer is none of them.
func (f *fleet) Instances() int { return f.cfg.Instances }

func (f *fleet) Relay(n int) *server.Relay { return f.seats[n].relay }

func (f *fleet) Signal(n int, sig syscall.Signal) error { return f.seats[n].Signal(sig) }

func (f *fleet) Kill(ctx context.Context, n int) error { return f.replace(ctx, f.seats[n], Abruptly) }

func (f *fleet) Server() *server.Server { return f.server }

// AwaitCoherent waits until a change that is made after the call has been applied by each instance, and each has found that it is
// coherent since. An instance that has not noticed yet what went wrong still calls itself coherent, but it does not know of the change.
func (f *fleet) AwaitCoherent(ctx context.Context) error {
	since := uint64(history.Now())
	writer := f.cfg.Instances
	f.shared.Set(writer, instance.Answered, 0)
	f.shared.Add(writer, instance.Asked, 1)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		probe := f.shared.Count(writer, instance.Answered)
		all := probe > 0
		for n := range f.cfg.Instances {
			all = all && f.shared.Count(n, instance.Applied) >= probe && f.shared.Count(n, instance.CoherentAt) > since
		}
		if all {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
