package invalidation

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/doppio-cache/doppio/internal/guard"
)

// panicError is the error of a panic in code that is not this library's: hooks, dialers and other
// parts of the Redis client.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// Unwrap returns the value of the panic if it is an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// callGuarded calls fn and returns its panic as an error: a panic would end the process. Every
// goroutine of a receiver that runs code of another module calls it. The caller holds no lock.
func callGuarded(panics *guard.Panics, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			stack := debug.Stack()
			panics.Note("rdb", r, stack)
			err = &panicError{value: r, stack: stack}
		}
	}()
	return fn()
}

// startTimer runs fn after d, in a goroutine of its own. The returned function must be called once:
// it prevents the call of fn, or waits for its end. The goroutines of a receiver call it before
// they end, so that the Handler is not called after Close has returned.
func startTimer(d time.Duration, fn func()) (stop func()) {
	ended := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(ended)
		fn()
	})
	return func() {
		if !timer.Stop() {
			<-ended
		}
	}
}
