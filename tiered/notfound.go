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

// contradicted is a key of which its loader has said that there is no such thing, where that word is not kept.
type contradicted[V any] struct {
	job    *job[V]
	flight *flight[V]
	seat   seat
}

// retire removes what contradicts loaders that have said that there is no such thing: the remote records that the loads have seen,
// by their tokens, and this instance's copies, so that neither a later failure nor a refresh brings them back. Other instances may
// hold copies of such a record, so its removal is announced. A record that was stored meanwhile stays. Leases are given back by the
// caller.
func (s *shared[V]) retire(ctx context.Context, all ...contradicted[V]) {
	if s.client.opts.Disabled {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var seen []contradicted[V]
	for _, c := range all {
		if len(c.seat.witness) > 0 && !c.seat.leased {
			seen = append(seen, c)
			continue
		}
		s.forget(c)
	}
	if len(seen) == 0 {
		return
	}
	if err := s.client.co.CheckLanes(ctx); err != nil {
		seen[0].job.note(ctx, err)
		for _, c := range seen {
			s.forget(c)
		}
		return
	}
	changes := make([]*coherence.Change, len(seen))
	removals := make([]remote.Removal, len(seen))
	for i, c := range seen {
		changes[i] = s.begin(ctx, coherence.Remove, c.job.key, c.job.hash)
		removals[i] = remote.Removal{Key: changes[i].Key, Seen: c.seat.witness, Announcement: changes[i].Announcement()}
	}
	gone, errs := s.client.far.Retire(ctx, removals)
	for i, c := range seen {
		switch {
		case errs[i] == nil && !gone[i]:
			changes[i].Cancel()
			s.forget(c)
			continue
		case errs[i] != nil:
			c.job.note(ctx, errs[i])
		}
		finish(ctx, changes[i], errs[i])
	}
}

// forget makes this instance's copies of a contradicted key invalid, if it has any.
func (s *shared[V]) forget(c contradicted[V]) {
	if c.job.fallback != nil || c.flight.stale.any() || s.scope.Peek(c.job.hash, c.job.key) != nil {
		s.client.co.Invalidate(c.job.hash)
	}
}
