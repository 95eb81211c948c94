package tiered

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/remote"
)

// saysNotFound reports whether a loader's error says that there is no such thing, and that nothing failed: it is ErrNotFound, wraps
// it alone, or has an Is method of its own that says so; of several joined errors each one does.
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

// failureOf gives a loader's error that is not ErrNotFound, in a form that does not match ErrNotFound either: of joined errors, some
// of which say that there is no such thing, it wraps the others. Its text is that of err.
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

// retire removes what contradicts a loader that has said of keys that there is no such entry: the remote
// records that the load has seen, by their tokens, and this instance's copies, so that neither a later
// failure nor a refresh brings them back. Other instances may hold copies of such a record, so its removal
// is announced. A record that was stored meanwhile stays. Leases are given back by the caller.
func (l *load[V]) retire(ctx context.Context, keys []*keyLoad[V]) {
	s := l.cache.shared
	if s.client.opts.Disabled {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var seen []*keyLoad[V]
	for _, k := range keys {
		if len(k.right.expected) > 0 && !k.right.ownsLease {
			seen = append(seen, k)
			continue
		}
		l.forget(k)
	}
	if len(seen) == 0 {
		return
	}
	if err := s.validity.CheckLanes(ctx); err != nil {
		l.note(ctx, err)
		for _, k := range seen {
			l.forget(k)
		}
		return
	}
	changes := make([]*coherence.Change, len(seen))
	removals := make([]remote.Removal, len(seen))
	for i, k := range seen {
		changes[i] = s.begin(ctx, coherence.Remove, k.key, k.hash)
		removals[i] = remote.Removal{Key: changes[i].Key, Seen: k.right.expected, Announcement: changes[i].Announcement()}
	}
	gone, errs := s.client.remote.CompareAndDelete(ctx, removals)
	for i, k := range seen {
		if errs[i] == nil && !gone[i] {
			changes[i].Cancel()
			l.forget(k)
			continue
		}
		l.note(ctx, errs[i])
		finish(ctx, changes[i], errs[i])
	}
}

// forget makes this instance's copies of a key invalid, if it has any.
func (l *load[V]) forget(k *keyLoad[V]) {
	if k.fallback != nil || k.call.Info.stale.any() || l.cache.scope.Peek(k.hash, k.key) != nil {
		l.cache.validity.Invalidate(k.hash)
	}
}
