package remote

import (
	"context"
	"time"
)

// manner says how a caller wants its calls made.
type manner struct {
	context.Context
	stay       bool      // the caller does not leave when its context ends
	until      time.Time // when its patience ends, beside the timeouts of Options; zero: it is those
	background bool      // nobody waits
	change     bool      // it is part of a change
	within     bool      // it is part of a call that is under way, and made though the store is being closed
}

type mannerKey struct{}

// Value is as for every context.
func (m *manner) Value(key any) any {
	if key == (mannerKey{}) {
		return m
	}
	return m.Context.Value(key)
}

func mannerOf(ctx context.Context) manner {
	if m, _ := ctx.Value(mannerKey{}).(*manner); m != nil {
		return *m
	}
	return manner{}
}

// Stay gives a context for calls whose caller does not leave when ctx ends: they end by themselves, after their timeout
// at the latest. Calls with a context that cannot end are made so without being told.
func Stay(ctx context.Context) context.Context {
	m := mannerOf(ctx)
	m.Context, m.stay = ctx, true
	return &m
}

// Until gives a context for calls that are to end at t, if Options do not end them before. Unlike a deadline of ctx, it
// speaks against the server when it passes.
func Until(ctx context.Context, t time.Time) context.Context {
	m := mannerOf(ctx)
	m.Context, m.until = ctx, t
	return &m
}

// Background gives a context for calls that nobody waits for. Where the server is skipped for its outages, they do not
// take the place of a caller's call that tries whether it answers.
func Background(ctx context.Context) context.Context {
	m := mannerOf(ctx)
	m.Context, m.background = ctx, true
	return &m
}

// slow are the calls that Options.Timeout bounds: changes, and what goes over all keys. All others are what a reader
// waits for, and bounded by Options.ReadTimeout.
var slow = map[string]bool{
	"set": true, "set-many": true, "set-if-absent": true, "delete": true, "delete-many": true, "increment": true, "expire": true,
	"extend-tags": true, "announce": true, "raise-floor": true, "check-lanes": true, "clear": true, "count": true,
}

// ends gives when a call that begins now ends at the latest.
func (s *Store) ends(m *manner, op string) time.Time {
	patience := s.opts.ReadTimeout
	if slow[op] || m.change {
		patience = s.opts.Timeout
	}
	end := time.Now().Add(patience)
	if !m.until.IsZero() && m.until.Before(end) {
		return m.until
	}
	return end
}
