package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// A batch loader that has some of the values returns them beside a *BatchError: they are kept.
// Beside an error that does not say which keys it is about no value is.
func TestGetOrSetMany_keepsValuesBesideABatchError(t *testing.T) {
	t.Parallel()
	down := errors.New("shard 2 is down")
	failed := func(errs map[string]error) error { return &tiered.BatchError{Failed: errs} }
	for name, tc := range map[string]struct {
		values map[string]string
		err    error
		want   map[string]string
		failed []string // with a *LoadError around down
		absent []string // their callers are told, and the knowledge is kept
	}{
		"a *BatchError beside values": {
			map[string]string{"a": "1"}, failed(map[string]error{"b": down}),
			map[string]string{"a": "1"}, []string{"b"}, []string{"c"},
		},
		"one that is wrapped": {
			map[string]string{"a": "1", "c": "3"}, fmt.Errorf("users: %w", failed(map[string]error{"b": down})),
			map[string]string{"a": "1", "c": "3"}, []string{"b"}, nil,
		},
		"two of them": {
			map[string]string{"a": "1"}, errors.Join(failed(map[string]error{"b": down}), failed(map[string]error{"c": down})),
			map[string]string{"a": "1"}, []string{"b", "c"}, nil,
		},
		"one that says what does not exist": {
			map[string]string{"a": "1"}, failed(map[string]error{"b": down, "c": tiered.ErrNotFound}),
			map[string]string{"a": "1"}, []string{"b"}, []string{"c"},
		},
		"a value that it says has failed": {
			map[string]string{"a": "1", "b": "?", "c": "3"}, failed(map[string]error{"b": down}),
			map[string]string{"a": "1", "c": "3"}, []string{"b"}, nil,
		},
		"one about keys that nobody asked for": {
			map[string]string{"a": "1", "b": "2", "c": "3", "x": "?"}, failed(map[string]error{"y": down}),
			map[string]string{"a": "1", "b": "2", "c": "3"}, nil, nil,
		},
		"one that says nothing": {
			map[string]string{"a": "1", "b": "2"}, failed(nil),
			map[string]string{"a": "1", "b": "2"}, nil, []string{"c"},
		},
		"a failure that was joined with ErrNotFound": {
			map[string]string{"a": "1"}, failed(map[string]error{"b": errors.Join(tiered.ErrNotFound, down), "c": down}),
			map[string]string{"a": "1"}, []string{"b", "c"}, nil,
		},
		"another error beside values": {
			map[string]string{"a": "1"}, down,
			nil, []string{"a", "b", "c"}, nil,
		},
		"another error beside a *BatchError": {
			map[string]string{"a": "1", "b": "?"}, errors.Join(failed(map[string]error{"b": down}), down),
			nil, []string{"a", "b", "c"}, nil,
		},
		"ErrNotFound beside values": {
			map[string]string{"a": "1"}, tiered.ErrNotFound,
			map[string]string{"a": "1"}, nil, []string{"b", "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, clients, caches := fleet[string](t, 2, tiered.CacheOptions{NegativeTTL: time.Minute})
			got, err := caches[0].GetOrSetMany(t.Context(), []string{"a", "b", "c"}, func(context.Context, []string) (map[string]string, error) {
				return tc.values, tc.err
			})
			wantMap(t, got, tc.want)
			var batch *tiered.BatchError
			if n := len(tc.failed); errors.As(err, &batch) != (n > 0) || n > 0 && len(batch.Failed) != n {
				t.Fatalf("error %v, want %d failed keys", err, n)
			}
			for _, key := range tc.failed {
				var load *tiered.LoadError
				if err := batch.Failed[key]; !errors.As(err, &load) || load.Key != key || !errors.Is(err, down) {
					t.Errorf("%s: %v, want a *LoadError about it", key, err)
				}
			}
			if s := clients[0].Stats(); s.Fills != uint64(len(tc.want)+len(tc.absent)) || s.LoadErrors != uint64(min(1, len(tc.failed))) {
				t.Errorf("%d fills and %d errors of loaders", s.Fills, s.LoadErrors)
			}
			for i, c := range caches { // in both tiers
				for key, v := range tc.want {
					wantGet(t, c, key, v)
				}
				for _, key := range tc.absent {
					_, err := c.GetOrSet(t.Context(), key, forbidden[string](t))
					wantErr(t, err, tiered.ErrNotFound)
				}
				for _, key := range tc.failed { // a failure is not kept, nor is its lease
					if v, err := c.GetOrSet(t.Context(), key, constant("anew"), tiered.LocalTTL(1)); v != "anew" || err != nil {
						t.Errorf("instance %d: %s = %q, %v, want it loaded anew", i, key, v, err)
					}
				}
			}
		})
	}
}
