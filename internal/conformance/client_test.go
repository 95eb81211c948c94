package conformance

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// clientRows: the methods of a Client.
func clientRows() []row {
	return []row{
		{op: "Ready", name: "coherent", run: func(t *testing.T, e *env) {
			check(t, e.asked().Ready(t.Context()))
			becomesTrue(t, func() bool { return e.asked().Stats().Coherent })
		}},
		{op: "Ready", name: "context/cancelled", once: true, run: func(t *testing.T, e *env) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			// A client that is ready may say so.
			if err := e.first.Ready(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}},
		{op: "Ready", name: "closed", once: true, run: func(t *testing.T, e *env) {
			c := e.instance(t, e.ns)
			check(t, c.Close(t.Context()))
			wantErr(t, c.Ready(t.Context()), tiered.ErrClosed)
		}},
		{op: "Stats", name: "counts", run: countsRow},
		{op: "Stats", name: "closed", once: true, run: func(t *testing.T, e *env) {
			c := e.instance(t, e.ns)
			check(t, cache[int64](t, c, e.name).Set(t.Context(), "k", 1))
			check(t, c.Close(t.Context()))
			if s := c.Stats(); s.Sets != 1 {
				t.Fatalf("%+v", s)
			}
		}},
		{op: "Close", name: "twice, and at once", once: true, run: func(t *testing.T, e *env) {
			c := e.instance(t, e.ns)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := c.Close(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			check(t, c.Close(t.Context()))
			_, err := tiered.NewCache[int64](c, "late", tiered.CacheOptions{})
			wantErr(t, err, tiered.ErrClosed)
		}},
		{op: "Close", name: "with a load under way", once: true, run: closeWhileLoading},
		{op: "Close", name: "under use", once: true, run: closeUnderUse},
		{op: "Close", name: "leaves the remote tier", once: true, run: func(t *testing.T, e *env) {
			c := e.instance(t, e.ns)
			check(t, cache[int64](t, c, e.name).Set(t.Context(), "k", 1))
			check(t, c.Close(t.Context()))
			finds(t, cache[int64](t, e.first, e.name), "k", 1, nil)
		}},
	}
}

// countsRow: what one instance did, as it counts it.
func countsRow(t *testing.T, e *env) {
	ctx := t.Context()
	w, r := pair[int64](t, e)
	check(t, w.Set(ctx, "far", 1))
	before := e.asked().Stats().Caches[e.name]
	finds(t, r, "far", 1, nil)
	finds(t, r, "missing", 0, tiered.ErrNotFound)
	want(t, newValue)(r.GetOrSet(ctx, "loaded", loadNew))
	_, err := r.GetOrSet(ctx, "broken", func(context.Context) (int64, error) { return 0, errSource })
	wantErr(t, err, errSource)
	check(t, r.Set(ctx, "set", 1))
	want(t, 2)(r.SetMany(ctx, []tiered.Item[int64]{{Key: "a"}, {Key: "b"}}))
	want(t, true)(r.SetIfAbsent(ctx, "c", 1))
	want(t, false)(r.SetIfAbsent(ctx, "c", 1))
	want(t, true)(r.Delete(ctx, "a"))
	want(t, 1)(r.DeleteMany(ctx, []string{"b", "missing"}))
	check(t, e.raw.Set(ctx, e.remoteKey("foreign"), "?", 0).Err())
	finds(t, r, "foreign", 0, errDecode)
	after := e.asked().Stats().Caches[e.name]
	for _, n := range []struct {
		what          string
		before, after uint64
		want          uint64
	}{
		{"Loads", before.Loads, after.Loads, 2},
		{"LoadErrors", before.LoadErrors, after.LoadErrors, 1},
		{"Fills", before.Fills, after.Fills, 1},
		{"FillsRefused", before.FillsRefused, after.FillsRefused, 0},
		{"StoreErrors", before.StoreErrors, after.StoreErrors, 0},
		{"Sets", before.Sets, after.Sets, 4},
		{"Deletes", before.Deletes, after.Deletes, 3},
		{"DecodeErrors", before.DecodeErrors, after.DecodeErrors, 1},
		{"Reads", before.LocalHits + before.LocalMisses + before.LocalStale, after.LocalHits + after.LocalMisses + after.LocalStale, 5},
	} {
		if got := n.after - n.before; got != n.want {
			t.Errorf("%s rose by %d, want %d", n.what, got, n.want)
		}
	}
	if e.other && after.RemoteHits == 0 {
		t.Error("no RemoteHits, although this instance had nothing local")
	}
}

// closeWhileLoading: a load is cancelled, and its callers hear why.
func closeWhileLoading(t *testing.T, e *env) {
	c := e.instance(t, e.ns)
	cached := cache[int64](t, c, e.name)
	began := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		_, err := cached.GetOrSet(t.Context(), "k", func(ctx context.Context) (int64, error) {
			close(began)
			<-ctx.Done()
			return 0, ctx.Err()
		})
		result <- err
	}()
	<-began
	check(t, c.Close(t.Context()))
	wantErr(t, <-result, tiered.ErrClosed)
}

// closeUnderUse: whatever is under way ends with its result or with ErrClosed.
func closeUnderUse(t *testing.T, e *env) {
	c := e.instance(t, e.ns)
	cached := cache[int64](t, c, e.name)
	m := newMixed()
	busy := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				op := mixedOps[i%len(mixedOps)]
				err := op.do(t.Context(), cached, m, m.keys[i%len(m.keys)])
				if errors.Is(err, tiered.ErrClosed) {
					return
				}
				if err != nil && !errors.Is(err, tiered.ErrNotFound) {
					t.Errorf("%s: %v", op.name, err)
				}
				if i == len(mixedOps) {
					once.Do(func() { close(busy) })
				}
			}
		})
	}
	select {
	case <-busy:
	case <-time.After(patience):
		t.Error("nothing moves")
	}
	check(t, c.Close(t.Context()))
	wg.Wait()
}
