package fleet

import (
	"context"
)

// changers share the rate of changes from outside: one alone, for which a change takes a round trip and more, could not keep
// up with a high one.
const changers = 8

// change changes keys from outside the workers, at a rate of its own, until ctx ends: as a service does that writes to the
// same source. It does as workers do, commits and then changes the cache, and its changes oblige reads as theirs do.
func (w *worker) change(ctx context.Context) *measures {
	defer w.flush()
	if w.cfg.Rate <= 0 {
		return w.measures
	}
	p := newPace(w.cfg.Rate/float64(w.cfg.Workers), w.random)
	defer p.end()
	for {
		if _, ok := p.wait(ctx); !ok {
			return w.measures
		}
		calm := w.Shared.Raised(Calm)
		w.write(ctx, w.keys.pick(w.random), false, Outside)
		if calm {
			w.pending[CalmErrors] = w.pending[Errors] // of this change: the others were flushed
		}
		w.flush()
	}
}
