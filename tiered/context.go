package tiered

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/lane"
)

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

// WithSource returns a context with which a read, one at a time, sets *s to the source of its
// value. A local hit sets nothing, which costs it nothing: *s is SourceLocal to begin with, and the
// caller sets it back before another read.
func WithSource(ctx context.Context, s *Source) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

// detach returns a context for a load that outlives its caller: it does not end with ctx, and does
// not reach the Source or Token of ctx, which the caller may read at any time. What changes made
// with it would have added to the Token is collected: see adopt.
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

// Token says how far a fleet's sequence of changes had come when a change was acknowledged. A
// reader on another instance that is given it, by [Cache.After], sees the change. The zero Token
// asks for nothing.
//
// Its text is short and opaque, holds nothing of keys or values, and fits into a header or a
// cookie.
type Token struct{ reached []coherence.Position }

// IsZero tells whether the token asks for nothing.
func (t Token) IsZero() bool { return len(t.reached) == 0 }

// String gives the token's text, "" for the zero Token.
func (t Token) String() string {
	parts := make([]string, len(t.reached))
	for i, p := range t.reached {
		parts[i] = strconv.Itoa(p.Lane) + ":" + p.ID.String()
	}
	return strings.Join(parts, ",")
}

// ParseToken reads a token's text. "" is the zero Token; anything that is not a token is an
// *OptionError.
func ParseToken(text string) (Token, error) {
	var t Token
	if text == "" {
		return t, nil
	}
	fault := &OptionError{Field: "Token", Reason: fmt.Sprintf("%d bytes that are no token's text, lane:ms-seq[,…]", len(text))}
	if len(text) > MaxLanes*48 {
		return Token{}, fault
	}
	for part := range strings.SplitSeq(text, ",") {
		left, right, _ := strings.Cut(part, ":")
		index, err := strconv.ParseUint(left, 10, 8)
		if err != nil || index >= MaxLanes {
			return Token{}, fault
		}
		id, err := lane.Parse(right)
		if err != nil {
			return Token{}, fault
		}
		t.reach(int(index), id)
	}
	return t, nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Token) UnmarshalText(text []byte) error {
	parsed, err := ParseToken(string(text))
	*t = parsed
	return err
}

// Merge gives a token that asks for what either asks for.
func (t Token) Merge(other Token) Token {
	out := Token{reached: append([]coherence.Position(nil), t.reached...)}
	for _, p := range other.reached {
		out.reach(p.Lane, p.ID)
	}
	return out
}

// reach changes nothing that copies of the token hold.
func (t *Token) reach(index int, id lane.ID) {
	reached := slices.Clone(t.reached)
	for i := range reached {
		if reached[i].Lane == index {
			reached[i].ID = max(reached[i].ID, id)
			t.reached = reached
			return
		}
	}
	t.reached = append(reached, coherence.Position{Lane: index, ID: id})
}

type tokenKey struct{}

// WithToken lets changes made with the returned context, one at a time, add to *t how far they
// came: after a change was acknowledged, t is what a reader elsewhere has to ask for to see it. One
// that failed adds nothing. What a loader changes with the context that it is given is added when
// the call that began the load returns; what a refresh in the background changes, never.
func WithToken(ctx context.Context, t *Token) context.Context {
	var a acknowledger // nil where t is
	if t != nil {
		a = t
	}
	return context.WithValue(ctx, tokenKey{}, a)
}

// acknowledger is told how far acknowledged changes came: a caller's Token, or what collects for
// one.
type acknowledger interface{ reach(index int, id lane.ID) }

func acknowledgedAt(ctx context.Context, index int, id uint64) {
	if id == 0 {
		return
	}
	if t, _ := ctx.Value(tokenKey{}).(acknowledger); t != nil {
		t.reach(index, lane.ID(id))
	}
}

// collected is what changes made in a load add up to, in whichever goroutine they are made.
type collected struct {
	mu    sync.Mutex
	token Token // guarded by mu
}

func (c *collected) reach(index int, id lane.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token.reach(index, id)
}

// adopt adds to the Token of ctx what was collected with a context that was detached from it. The
// caller's goroutine calls it.
func adopt(ctx, detached context.Context) {
	if detached == nil {
		return
	}
	c, _ := detached.Value(tokenKey{}).(*collected)
	if c == nil {
		return
	}
	c.mu.Lock()
	token := c.token
	c.mu.Unlock()
	for _, p := range token.reached {
		acknowledgedAt(ctx, p.Lane, uint64(p.ID))
	}
}

// After gives a handle whose reads see every change up to the token, whichever instance made it: as
// long as this instance has not heard of all of them, they pass over the local tier, and over loads
// that began before. While it has, such reads are as fast as others. A token of another namespace
// or deployment may cost local hits, but does no harm.
func (c *Cache[V]) After(t Token) *Cache[V] {
	return &Cache[V]{shared: c.shared, defaults: c.defaults, after: t.reached}
}

// lagging reports whether this instance has not yet heard of all that the handle's reads must see.
func (c *Cache[V]) lagging() bool {
	return c.shared.validity != nil && c.shared.validity.Lagging(c.after)
}

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

// recursive reports whether a loader of the key, which waits for what is called with ctx, would
// wait for itself.
func (s *shared[V]) recursive(ctx context.Context, key string) bool {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	for ; l != nil; l = l.parent {
		if l.cache == any(s) && (l.keys[key] || l.keys == nil && l.key == key) && !l.ended.Load() {
			return true
		}
	}
	return false
}
