package tiered

import (
	"math"

	"github.com/doppio-cache/doppio/internal/guard"
)

// guarded gives options whose functions and logger do not panic: they are called in goroutines of the client, where a
// panic ends the process. It also returns what counts and logs the panics that are caught.
func (o Options) guarded() (Options, *guard.Panics) {
	var panics *guard.Panics
	panics, o.Logger = guard.New(o.Logger)
	if cost := o.Local.Cost; cost != nil {
		o.Local.Cost = func(key string, value any) (n int64) {
			defer func() {
				if panics.Caught("Local.Cost", recover()) {
					n = math.MaxInt64 // a value that cannot be weighed is not kept in the local tier
				}
			}()
			return cost(key, value)
		}
	}
	if tell := o.OnStateChange; tell != nil {
		o.OnStateChange = func(ch StateChange) {
			defer func() { panics.Caught("OnStateChange", recover()) }()
			tell(ch)
		}
	}
	return o, panics
}
