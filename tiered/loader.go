package tiered

import (
	"context"
	"errors"
	"runtime/debug"
)

// guardLoader calls a user's loader in a goroutine of its own, so that its panic or Goexit becomes
// an error, and a loader that ignores its context delays no caller. Close waits for that goroutine.
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

// loadPart is what a panic is logged as that was met in a load, outside of its loader: of an
// error's methods, or of a context's.
const loadPart = "load"

// caughtInLoad notes a panic that was met in a load, and gives it as an error.
func (c *Client) caughtInLoad(r any) error {
	p := &PanicError{Value: r, Stack: debug.Stack()}
	c.panics.Note(loadPart, r, p.Stack)
	return p
}

// saysNotFound reports whether a loader's error says that there is no such thing, and that nothing
// failed: it is ErrNotFound, wraps it alone, or has an Is method of its own that says so; of
// several joined errors each one does.
func saysNotFound(err error) bool {
	if err == nil {
		return false
	}
	if err == ErrNotFound { //nolint:errorlint // what wraps it, and what stands beside it, is looked at below
		return true
	}
	if is, ok := err.(interface{ Is(error) bool }); ok && is.Is(ErrNotFound) {
		return true
	}
	switch x := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() []error }:
		some := false
		for _, e := range x.Unwrap() {
			if e == nil {
				continue
			}
			if !saysNotFound(e) {
				return false
			}
			some = true
		}
		return some
	case interface{ Unwrap() error }:
		return saysNotFound(x.Unwrap())
	}
	return false
}

// failureOf gives a loader's error that is not ErrNotFound, in a form that does not match
// ErrNotFound either: of joined errors, some of which say that there is no such thing, it wraps the
// others. Its text is that of err.
func failureOf(err error) error {
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	return &partError{err, failuresIn(err)}
}

func failuresIn(err error) []error {
	if err == nil || saysNotFound(err) {
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return []error{err}
	}
	switch x := err.(type) { //nolint:errorlint // it takes the tree apart
	case interface{ Unwrap() []error }:
		var out []error
		for _, e := range x.Unwrap() {
			out = append(out, failuresIn(e)...)
		}
		return out
	case interface{ Unwrap() error }:
		return failuresIn(x.Unwrap())
	}
	return nil
}

// partError is an error of several parts, some of which say that there is no such thing.
type partError struct {
	whole error
	parts []error // those that failed
}

func (e *partError) Error() string   { return e.whole.Error() }
func (e *partError) Unwrap() []error { return e.parts }

// outcomes says what a batch loader's error means for each key.
type outcomes struct {
	keys map[string]error // what *BatchErrors in it say of keys; nil where there are none
	rest error            // what became of every other key, whatever was returned for it; nil: it has a value or does not exist
}

// partial takes a batch loader's error apart.
func partial(err error) outcomes {
	var o outcomes
	if !o.name(err) && !saysNotFound(err) {
		o.rest = err
	}
	return o
}

// name notes what *BatchErrors in an error say of keys, and tells whether the error says nothing
// else.
func (o *outcomes) name(err error) (all bool) {
	switch e := err.(type) { //nolint:errorlint // wrapped ones are looked for below, all of them
	case nil:
		return true
	case *BatchError:
		if o.keys == nil {
			o.keys = make(map[string]error)
		}
		if e != nil {
			for key, err := range e.Failed {
				if first := o.keys[key]; first != nil {
					err = errors.Join(first, err)
				}
				o.keys[key] = err
			}
		}
		return true
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner != nil && o.name(inner)
	case interface{ Unwrap() []error }:
		all = true
		for _, inner := range e.Unwrap() {
			all = o.name(inner) && all
		}
		return all
	}
	return false
}

// of tells what became of a key: there is no such thing, or err says why it failed, or it was
// found.
func (o outcomes) of(key string, found bool) (absent bool, err error) {
	switch err := o.keys[key]; {
	case saysNotFound(err):
		return true, nil
	case err != nil:
		return false, err
	}
	return !found && o.rest == nil, o.rest
}

// failed tells whether any of the keys has.
func (o outcomes) failed(keys []string, found func(key string) bool) bool {
	if o.keys == nil && o.rest == nil {
		return false
	}
	for _, key := range keys {
		if _, err := o.of(key, found(key)); err != nil {
			return true
		}
	}
	return false
}
