package fleet

import (
	"context"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

var _ fault.Target = (*fleet)(nil)

// Seats are those that faults may hit: the writer has none of them.
func (f *fleet) Seats() int { return f.cfg.Instances }

func (f *fleet) Ways(n int) harness.Ways { return f.seats[n].ways }

func (f *fleet) Signal(n int, sig syscall.Signal) error { return f.seats[n].Signal(sig) }

func (f *fleet) Kill(n int) error {
	f.seats[n].Process().Kill()
	return nil
}

func (f *fleet) Replace(ctx context.Context, n int) error { return f.replace(ctx, f.seats[n]) }

func (f *fleet) Source() *harness.Source { return f.source }

func (f *fleet) Servers() fault.Servers { return f.server }

// AwaitCoherent waits until a change that is made after the call has been applied by each instance,
// and each has found that it is coherent since. An instance that has not noticed yet what went
// wrong still calls itself coherent, but it does not know of the change.
func (f *fleet) AwaitCoherent(ctx context.Context) error {
	since := uint64(history.Now())
	writer := f.cfg.Instances
	f.shared.Set(writer, Answered, 0)
	f.shared.Add(writer, Asked, 1)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		probe := f.shared.Count(writer, Answered)
		all := probe > 0
		for n := range f.cfg.Instances {
			all = all && f.shared.Count(n, Applied) >= probe && f.shared.Count(n, CoherentAt) > since
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
