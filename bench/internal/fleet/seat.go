package fleet

import (
	"context"
	"fmt"

	"github.com/doppio-cache/doppio/internal/harness"
)

// seat is a place in the fleet: one process after another, if they are killed or replaced.
type seat struct {
	harness.Seat
	index int
	ways  harness.Ways // nil: it reaches Redis directly
}

// start starts the next process of a seat. If that ends before it is told to, the run fails.
func (f *fleet) start(s *seat) error {
	p, err := s.Start(func(generation int) harness.Spec {
		name := fmt.Sprintf("i%d.%d", s.index, generation)
		return harness.Spec{
			Name: fmt.Sprintf("fleet: instance %d", s.index), Command: f.command,
			Errors: f.path(name + ".err"), Config: f.instanceConfig(s, generation, name),
		}
	})
	if err != nil {
		return err
	}
	f.watching.Go(func() {
		<-p.Done
		if err := p.Unexpected(); err != nil {
			f.fail(err)
		}
	})
	return nil
}

// replace starts another process for a seat whose present one has ended, unless ctx has ended.
func (f *fleet) replace(ctx context.Context, s *seat) error {
	f.shared.Set(s.index, CoherentAt, 0)
	f.shared.Set(s.index, Applied, 0)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the run is over: no process is missed
	}
	f.restarts.Add(1)
	return f.start(s)
}
