package tiered

import (
	"context"
	"runtime/debug"
)

// guardLoader calls a user's loader in a goroutine of its own, so that its panic or Goexit becomes an
// error, and a loader that ignores its context delays no caller. Close waits for that goroutine.
func guardLoader[T any](ctx context.Context, c *Client, load func(context.Context) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if !c.start() {
		return none, ErrClosed
	}
	done := make(chan result, 1)
	go func() {
		defer c.running.Done()
		var out result
		returned := false
		defer func() {
			if !returned {
				out.err = ErrLoaderExited
				if r := recover(); r != nil {
					out.err = &PanicError{Value: r, Stack: debug.Stack()}
				}
			}
			done <- out
		}()
		out.v, out.err = load(ctx)
		returned = true
	}()
	select {
	case out := <-done:
		if ctx.Err() != nil {
			return none, context.Cause(ctx) // it came too late: no caller waits any more, or its time was up
		}
		return out.v, out.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// loadPart is what a panic is logged as that was met in a load, outside of its loader: of an error's methods, or of a
// context's.
const loadPart = "load"

// caughtInLoad notes a panic that was met in a load, and gives it as an error.
func (c *Client) caughtInLoad(r any) error {
	p := &PanicError{Value: r, Stack: debug.Stack()}
	c.panics.Note(loadPart, r, p.Stack)
	return p
}
