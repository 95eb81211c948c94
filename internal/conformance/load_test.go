package conformance

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

var errSource = errors.New("the source is down")

// loader fails in one of the ways that a loader can.
type loader struct {
	name string
	load func() (int64, error)
	// check looks at what a *LoadError holds.
	check func(error) bool
}

var faultyLoaders = []loader{
	{"error", func() (int64, error) { return 5, errSource }, func(err error) bool { return errors.Is(err, errSource) }},
	{"panic", func() (int64, error) { panic(errSource) }, func(err error) bool {
		var p *tiered.PanicError
		return errors.As(err, &p) && errors.Is(err, errSource) && len(p.Stack) > 0
	}},
	{"Goexit", func() (int64, error) { runtime.Goexit(); return 0, nil }, func(err error) bool { return errors.Is(err, tiered.ErrLoaderExited) }},
}

func loadRows() []row {
	var rows []row
	for _, l := range faultyLoaders {
		rows = append(rows,
			row{op: "GetOrSet", name: "loader/" + l.name, run: func(t *testing.T, e *env) {
				w, r := pair[int64](t, e)
				v, err := r.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) { return l.load() })
				var load *tiered.LoadError
				if !errors.As(err, &load) || load.Key != "k" || !l.check(err) || v != 0 {
					t.Fatalf("got %v, %v", v, err)
				}
				want(t, "gone")(e.stored(t, "k"), nil) // the lease is given back
				want(t, newValue)(w.GetOrSet(t.Context(), "k", loadNew))
				want(t, "9")(e.stored(t, "k"), nil)
			}},
			row{op: "GetOrSetMany", name: "loader/" + l.name, run: func(t *testing.T, e *env) {
				w, r := pair[int64](t, e)
				check(t, w.Set(t.Context(), "there", 1))
				got, err := r.GetOrSetMany(t.Context(), []string{"k", "there"}, func(context.Context, []string) (map[string]int64, error) {
					_, err := l.load()
					return map[string]int64{"k": 5}, err
				})
				var load *tiered.LoadError
				if !errors.As(err, &load) || !l.check(err) {
					t.Fatalf("error %v", err)
				}
				batchNames(t, err, "k")
				want(t, map[string]int64{"there": 1})(got, nil)
				want(t, "gone")(e.stored(t, "k"), nil)
			}},
			row{op: "GetOrSet", name: "loader/" + l.name + ", with a stale value", run: func(t *testing.T, e *env) {
				w, r := pair[int64](t, e, tiered.CacheOptions{FailSafe: time.Hour})
				// A stale value does not serve while its key is heard to change, so the message of the Set must have come: it has
				// when the copy that the reader made itself is gone.
				check(t, r.Set(t.Context(), "k", newValue))
				check(t, w.Set(t.Context(), "k", oldValue, tiered.TTL(time.Millisecond)))
				e.becomes(t, "k", "expired")
				sees(t, w, "k", 0, tiered.ErrNotFound)
				sees(t, r, "k", 0, tiered.ErrNotFound)
				want(t, oldValue)(r.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) { return l.load() }))
				want(t, newValue)(r.GetOrSet(t.Context(), "k", loadNew))
			}},
		)
	}
	return append(rows,
		row{op: "GetOrSet", name: "loader/no such thing", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			_, err := r.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) { return 5, tiered.ErrNotFound })
			wantErr(t, err, tiered.ErrNotFound)
			want(t, "gone")(e.stored(t, "k"), nil)
			want(t, newValue)(r.GetOrSet(t.Context(), "k", loadNew))
		}},
		row{op: "GetOrSetMany", name: "loader/no such thing", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			want(t, map[string]int64{})(r.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]int64, error) {
				return nil, tiered.ErrNotFound
			}))
			want(t, "gone")(e.stored(t, "k"), nil)
		}},
		row{op: "GetOrSetMany", name: "loader/no such thing is kept", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e, tiered.CacheOptions{NegativeTTL: time.Hour})
			none := func(context.Context, []string) (map[string]int64, error) { return nil, nil }
			want(t, map[string]int64{})(w.GetOrSetMany(t.Context(), []string{"k"}, none))
			want(t, "negative")(e.stored(t, "k"), nil)
			_, err := r.GetOrSet(t.Context(), "k", mustNotLoad[int64](t))
			wantErr(t, err, tiered.ErrNotFound)
		}},
		row{op: "GetOrSet", name: "loader/too slow", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			_, err := r.GetOrSet(t.Context(), "k", func(ctx context.Context) (int64, error) { <-ctx.Done(); return 0, ctx.Err() },
				tiered.HardTimeout(time.Millisecond))
			var load *tiered.LoadError
			if !errors.As(err, &load) {
				t.Fatalf("error %v", err)
			}
			wantErr(t, err, context.DeadlineExceeded)
		}},
		row{op: "GetOrSet", name: "loader/nil", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			_, err := r.GetOrSet(t.Context(), "k", nil)
			wantErr(t, err, tiered.ErrInvalidOptions)
		}},
		row{op: "GetOrSetMany", name: "loader/nil", run: func(t *testing.T, e *env) {
			_, r := pair[int64](t, e)
			_, err := r.GetOrSetMany(t.Context(), []string{"k"}, nil)
			wantErr(t, err, tiered.ErrInvalidOptions)
		}},
		row{op: "GetOrSet", name: "50 callers, one load", run: oneLoad},
		row{op: "GetOrSetMany", name: "50 callers, one load", run: oneLoadOfMany},
		row{op: "GetOrSet", name: "set while it loads", run: setWhileLoading},
		row{op: "GetOrSetMany", name: "deleted while it loads", run: deletedWhileLoading},
	)
}

// oneLoad: callers of one instance that come while a load is under way share it.
func oneLoad(t *testing.T, e *env) {
	_, r := pair[int64](t, e)
	release := make(chan struct{})
	var loads atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			v, err := r.GetOrSet(t.Context(), "k", func(context.Context) (int64, error) {
				<-release
				return newValue + loads.Add(1) - 1, nil
			})
			if v != newValue || err != nil {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
	becomesTrue(t, func() bool { return e.asked().Stats().Caches[e.name].Joined == 49 })
	close(release)
	wg.Wait()
	if s := e.asked().Stats().Caches[e.name]; s.Loads != 1 || s.Fills != 1 {
		t.Fatalf("%d loads, %d fills", s.Loads, s.Fills)
	}
}

func oneLoadOfMany(t *testing.T, e *env) {
	_, r := pair[int64](t, e)
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			v, err := r.GetOrSetMany(t.Context(), []string{"a", "b"}, func(ctx context.Context, missing []string) (map[string]int64, error) {
				<-release
				return loadNewMany(ctx, missing)
			})
			if !equal(v, map[string]int64{"a": newValue, "b": newValue}) || err != nil {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
	becomesTrue(t, func() bool { return e.asked().Stats().Caches[e.name].Joined == 98 })
	close(release)
	wg.Wait()
	if s := e.asked().Stats().Caches[e.name]; s.Fills != 2 {
		t.Fatalf("%d fills", s.Fills)
	}
}

// setWhileLoading: what a load that began before a change has read is stored nowhere.
func setWhileLoading(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	want(t, oldValue)(r.GetOrSet(t.Context(), "k", func(ctx context.Context) (int64, error) {
		return oldValue, w.Set(ctx, "k", newValue)
	}))
	want(t, "9")(e.stored(t, "k"), nil)
	sees(t, r, "k", newValue, nil)
	finds(t, w, "k", newValue, nil)
}

func deletedWhileLoading(t *testing.T, e *env) {
	w, r := pair[int64](t, e)
	want(t, map[string]int64{"k": oldValue})(r.GetOrSetMany(t.Context(), []string{"k"}, func(ctx context.Context, _ []string) (map[string]int64, error) {
		_, err := w.Delete(ctx, "k")
		return map[string]int64{"k": oldValue}, err
	}))
	want(t, "gone")(e.stored(t, "k"), nil)
	sees(t, r, "k", 0, tiered.ErrNotFound)
	finds(t, w, "k", 0, tiered.ErrNotFound)
}
