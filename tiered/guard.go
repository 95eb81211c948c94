package tiered

import (
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// panicInterval is how often the panics of one function of the user's are logged at most.
const panicInterval = 10 * time.Second

// guarded gives options whose functions do not panic: they are called in goroutines of the client, where a panic ends the
// process. Each panic is logged with its stack, one in panicInterval for each function.
func (o Options) guarded() Options {
	if cost := o.Local.Cost; cost != nil {
		caught := catcher("Local.Cost", o.Logger)
		o.Local.Cost = func(key string, value any) (n int64) {
			defer func() {
				if caught(recover()) {
					n = math.MaxInt64 // a value that cannot be weighed is not kept in the local tier
				}
			}()
			return cost(key, value)
		}
	}
	if tell := o.OnStateChange; tell != nil {
		caught := catcher("OnStateChange", o.Logger)
		o.OnStateChange = func(ch StateChange) {
			defer func() { caught(recover()) }()
			tell(ch)
		}
	}
	return o
}

// catcher returns a function that takes what was recovered, logs it if it is a panic's value, and reports whether it is.
func catcher(name string, log *slog.Logger) func(recovered any) bool {
	var last atomic.Int64 // Unix ns of the last line
	return func(r any) bool {
		if r == nil {
			return false
		}
		now, was := time.Now().UnixNano(), last.Load()
		if now-was > int64(panicInterval) && last.CompareAndSwap(was, now) {
			log.Error("doppio: an option's function panicked", "function", name, "panic", r, "stack", string(debug.Stack()))
		}
		return true
	}
}
