package tiered

import "context"

// Source is where the value of a read came from.
type Source uint8

// The sources.
const (
	SourceLocal  Source = iota // the local tier
	SourceRemote               // the remote tier
	SourceLoader               // a loader, this caller's or one that it waited for
	SourceStale                // a value past its life, because a load failed or was slow (FailSafe)
)

// String returns "local", "remote", "loader" or "stale".
func (s Source) String() string {
	return [...]string{"local", "remote", "loader", "stale"}[s&3]
}

type sourceKey struct{}

// WithSource returns a context with which a read, one at a time, sets *s to the source of its value. A
// local hit sets nothing, which costs it nothing: *s is SourceLocal to begin with, and the caller sets it
// back before another read.
func WithSource(ctx context.Context, s *Source) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

// detach returns a context for a load that outlives its caller: it does not end with ctx, and does not
// reach the Source or Token of ctx, which the caller may read at any time. What changes made with it would
// have added to the Token is collected: see adopt.
func detach(ctx context.Context) context.Context {
	if s, _ := ctx.Value(sourceKey{}).(*Source); s != nil {
		ctx = context.WithValue(ctx, sourceKey{}, (*Source)(nil))
	}
	if t, _ := ctx.Value(tokenKey{}).(acknowledger); t != nil {
		ctx = context.WithValue(ctx, tokenKey{}, &collected{})
	}
	return context.WithoutCancel(ctx)
}

// setSource sets the Source of ctx. It is called by the caller's goroutine, off the hot path.
func setSource(ctx context.Context, from Source) {
	if s, _ := ctx.Value(sourceKey{}).(*Source); s != nil {
		*s = from
	}
}
