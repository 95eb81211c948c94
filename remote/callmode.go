package remote

import (
	"context"
	"time"
)

// callMode says how the calls of a context are made.
type callMode struct {
	context.Context
	inline       bool      // the caller does not leave when its context ends
	deadline     time.Time // when the call ends, if not earlier by the timeouts of Options; zero: no limit
	background   bool      // no caller waits
	partOfChange bool      // it is part of a change
	partOfCall   bool      // it is part of a call under way, and is made even while the store closes
}

type callModeKey struct{}

// Value implements context.Context.
func (m *callMode) Value(key any) any {
	if key == (callModeKey{}) {
		return m
	}
	return m.Context.Value(key)
}

func callModeOf(ctx context.Context) callMode {
	if m, _ := ctx.Value(callModeKey{}).(*callMode); m != nil {
		return *m
	}
	return callMode{}
}

// NoDetach returns a context for calls whose caller waits until they end, even if ctx ends before:
// they end at their timeout at the latest. Calls with a context that cannot end are always made so.
func NoDetach(ctx context.Context) context.Context {
	m := callModeOf(ctx)
	m.Context, m.inline = ctx, true
	return &m
}

// Until returns a context for calls that end at t at the latest. Unlike a deadline of ctx, passing
// t counts as a failure of the server.
func Until(ctx context.Context, t time.Time) context.Context {
	m := callModeOf(ctx)
	m.Context, m.deadline = ctx, t
	return &m
}

// Background returns a context for calls for which no caller waits. While the server is skipped for
// its outages, such a call does not take the place of the one call that tries it.
func Background(ctx context.Context) context.Context {
	m := callModeOf(ctx)
	m.Context, m.background = ctx, true
	return &m
}

// slowOps are the operations with the timeout Options.Timeout: changes, and scans over all keys.
// All others have Options.ReadTimeout, since a reader waits for them.
var slowOps = map[string]bool{
	"set": true, "set-many": true, "set-if-absent": true, "delete": true, "delete-many": true, "increment": true, "expire": true,
	"extend-tags": true, "announce": true, "raise-floor": true, "check-lanes": true, "clear": true, "count": true,
}

// deadlineOf returns when a call that begins now ends at the latest.
func (s *Store) deadlineOf(m *callMode, op string) time.Time {
	timeout := s.opts.ReadTimeout
	if slowOps[op] || m.partOfChange {
		timeout = s.opts.Timeout
	}
	end := time.Now().Add(timeout)
	if !m.deadline.IsZero() && m.deadline.Before(end) {
		return m.deadline
	}
	return end
}
