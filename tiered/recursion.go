package tiered

import (
	"context"
	"sync/atomic"
)

// loading is a load that runs, as the contexts that its loader is given tell of it. A load that is
// waited for within another one has that as its parent.
type loading struct {
	parent *loading
	cache  any             // *shared[V]
	key    string          // of a load of one key
	keys   map[string]bool // of a batch; nil for one key
	ended  atomic.Bool     // its loader has returned: whatever still has the context may ask for the key
}

type loadingKey struct{}

// withLoad gives the context of a loader. It is followed by leave.
func withLoad(ctx context.Context, cache any, keys ...string) (inner context.Context, l *loading) {
	l = &loading{cache: cache}
	l.parent, _ = ctx.Value(loadingKey{}).(*loading)
	if len(keys) == 1 {
		l.key = keys[0]
	} else {
		l.keys = make(map[string]bool, len(keys))
		for _, k := range keys {
			l.keys[k] = true
		}
	}
	return context.WithValue(ctx, loadingKey{}, l), l
}

func (l *loading) leave() { l.ended.Store(true) }

// outermost gives the context of a load that no other load waits for.
func outermost(ctx context.Context) context.Context {
	if l, _ := ctx.Value(loadingKey{}).(*loading); l == nil {
		return ctx
	}
	return context.WithValue(ctx, loadingKey{}, (*loading)(nil))
}

// recursive reports whether a loader of the key, which waits for what is called with ctx, would wait for itself.
func (s *shared[V]) recursive(ctx context.Context, key string) bool {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	for ; l != nil; l = l.parent {
		if l.cache == any(s) && (l.keys[key] || l.keys == nil && l.key == key) && !l.ended.Load() {
			return true
		}
	}
	return false
}
