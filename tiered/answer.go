package tiered

import "context"

// Answer says which tier answered a read.
type Answer uint8

// The answers.
const (
	AnsweredNear  Answer = iota // a local hit
	AnsweredFar                 // a far hit
	AnsweredLoad                // a loader, this caller's or one that it waited for
	AnsweredStale               // a value past its life, because a load failed or was slow (FailSafe)
)

// String names the answer.
func (a Answer) String() string {
	return [...]string{"near", "far", "load", "stale"}[a&3]
}

type answerKey struct{}

// WithAnswer lets a read made with the returned context, one at a time, say in *a which tier answered it. a begins as
// AnsweredNear, which costs a local hit nothing; set it back before another read.
func WithAnswer(ctx context.Context, a *Answer) context.Context {
	return context.WithValue(ctx, answerKey{}, a)
}

// detach gives a context for what outlives its caller: it does not end with ctx, and says nothing to ctx's Answer or Token,
// which the caller may read at any time. What changes made with it would have added to the Token is collected: see adopt.
func detach(ctx context.Context) context.Context {
	if p, _ := ctx.Value(answerKey{}).(*Answer); p != nil {
		ctx = context.WithValue(ctx, answerKey{}, (*Answer)(nil))
	}
	if t, _ := ctx.Value(tokenKey{}).(acknowledger); t != nil {
		ctx = context.WithValue(ctx, tokenKey{}, &collected{})
	}
	return context.WithoutCancel(ctx)
}

// answered notes who answered. It is called by the caller's goroutine, off the hot path.
func answered(ctx context.Context, a Answer) {
	if p, _ := ctx.Value(answerKey{}).(*Answer); p != nil {
		*p = a
	}
}
