package conformance

import (
	"context"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// tokenRows: what a write's token lets a read on another instance require.
func tokenRows() []row {
	change := func(name string, do func(ctx context.Context, w *tiered.Cache[int64]) error, want int64, wantErr error) row {
		return row{op: "After", name: name, run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			for range 20 {
				check(t, w.Set(t.Context(), "k", oldValue, tiered.Tags("t")))
				sees(t, r, "k", oldValue, nil)
				var token tiered.Token
				check(t, do(tiered.WithToken(t.Context(), &token), w))
				if token.IsZero() {
					t.Fatal("the change gave no token")
				}
				parsed, err := tiered.ParseToken(token.String())
				check(t, err)
				if err := seesNow(t, r.After(parsed), "k", want, wantErr); err != nil {
					t.Fatal(err)
				}
			}
		}}
	}
	return []row{
		change("Set", func(ctx context.Context, w *tiered.Cache[int64]) error {
			return w.Set(ctx, "k", newValue)
		}, newValue, nil),
		change("Increment", func(ctx context.Context, w *tiered.Cache[int64]) error {
			_, err := w.Increment(ctx, "k", delta)
			return err
		}, oldValue+delta, nil),
		change("Delete", func(ctx context.Context, w *tiered.Cache[int64]) error {
			_, err := w.Delete(ctx, "k")
			return err
		}, 0, tiered.ErrNotFound),
		change("InvalidateTags", func(ctx context.Context, w *tiered.Cache[int64]) error {
			return w.InvalidateTags(ctx, "t")
		}, 0, tiered.ErrNotFound),
		change("Clear", func(ctx context.Context, w *tiered.Cache[int64]) error {
			_, err := w.Clear(ctx, "")
			return err
		}, 0, tiered.ErrNotFound),
	}
}
