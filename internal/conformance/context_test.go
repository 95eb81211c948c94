package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// contextRows: whoever has to leave the process looks at the context first.
func contextRows() []row {
	rows := each("context/cancelled", func(t *testing.T, e *env, p probe) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		givesUp(t, e, p, ctx, context.Canceled)
	})
	rows = append(rows, each("context/past its deadline", func(t *testing.T, e *env, p probe) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		givesUp(t, e, p, ctx, context.DeadlineExceeded)
	})...)
	rows = append(rows, each("closed", func(t *testing.T, e *env, p probe) {
		_, err := p.do(t.Context(), e.closed, "k")
		wantErr(t, err, tiered.ErrClosed)
	})...)
	return append(rows,
		row{op: "Get", name: "context/cancelled, hit", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), "k", 5))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			v, err := r.Get(ctx, "k")
			if (err != nil || v != 5) && !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, %v", v, err)
			}
		}},
		row{op: "GetOrSet", name: "context/cancelled in flight", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			_, err := r.GetOrSet(ctx, "k", func(ctx context.Context) (int64, error) {
				cancel()
				<-ctx.Done() // nobody waits any more
				ended <- ctx.Err()
				return 5, nil
			})
			wantErr(t, err, context.Canceled)
			wantErr(t, <-ended, context.Canceled)
			e.becomes(t, "k", "gone") // the lease is given back, and nothing stored
			want(t, newValue)(r.GetOrSet(t.Context(), "k", loadNew))
		}},
		row{op: "GetOrSetMany", name: "context/cancelled in flight", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := r.GetOrSetMany(ctx, []string{"a", "b"}, func(ctx context.Context, _ []string) (map[string]int64, error) {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			})
			wantErr(t, err, context.Canceled)
			e.becomes(t, "a", "gone")
			e.becomes(t, "b", "gone")
		}},
		row{op: "GetOrSet", name: "context/one of two callers gives up", run: oneGivesUp},
		row{op: "GetOrSet", name: "context/values reach the loader", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			type key struct{}
			ctx := context.WithValue(t.Context(), key{}, newValue)
			want(t, newValue)(r.GetOrSet(ctx, "k", func(ctx context.Context) (int64, error) { return ctx.Value(key{}).(int64), nil }))
		}},
	)
}

func givesUp(t *testing.T, e *env, p probe, ctx context.Context, want error) { //nolint:revive // the context is what the row is about
	t.Helper()
	w, r := pair[int64](t, e)
	check(t, w.Set(t.Context(), "another", oldValue))
	_, err := p.do(ctx, r, "k")
	wantErr(t, err, want)
	if errors.Is(err, tiered.ErrNotFound) {
		t.Fatal("it is taken for a miss")
	}
	if far := e.stored(t, "k"); far != "gone" {
		t.Fatalf("the remote tier holds %q", far)
	}
	finds(t, w, "another", oldValue, nil)
}

// oneGivesUp: the other has its value, although it was the first whose loader ran.
func oneGivesUp(t *testing.T, e *env) {
	_, r := pair[int64](t, e)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := make(chan struct{})
	load := func(ctx context.Context) (int64, error) {
		select {
		case <-release:
			return newValue, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	first := make(chan error, 1)
	wg.Go(func() {
		_, err := r.GetOrSet(ctx, "k", load)
		first <- err
	})
	counts := func(loads, joined uint64) {
		redistest.Eventually(t, patience, func() error {
			if s := e.asked().Stats(); s.Caches[e.name].Loads != loads || s.Caches[e.name].Joined != joined {
				return fmt.Errorf("%d loads, %d joined, want %d and %d; coherent %t, drops %v", s.Caches[e.name].Loads, s.Caches[e.name].Joined, loads, joined, s.Coherent, s.Drops)
			}
			return nil
		})
	}
	counts(1, 0)
	wg.Go(func() {
		if v, err := r.GetOrSet(t.Context(), "k", load); v != newValue || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
	})
	counts(1, 1)
	cancel()
	wantErr(t, <-first, context.Canceled)
	letGo()
}
