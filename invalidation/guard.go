package invalidation

import (
	"fmt"
	"runtime/debug"

	"github.com/doppio-cache/doppio/internal/guard"
)

// panicError is what becomes of a panic in code that is not this library's: hooks, dialers and
// other parts of the client.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// Unwrap gives the panic's value when that is an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// guarded makes an error of a panic, which would end the process: nobody else's code runs in a goroutine of a receiver
// without it. What calls it holds no lock.
func guarded(panics *guard.Panics, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			stack := debug.Stack()
			panics.Note("rdb", r, stack)
			err = &panicError{value: r, stack: stack}
		}
	}()
	return fn()
}
