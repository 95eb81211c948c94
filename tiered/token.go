package tiered

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/lane"
)

// Token says how far a fleet's sequence of changes had come when a change was acknowledged. A reader on another
// instance that is given it, by [Cache.After], sees the change. The zero Token asks for nothing.
//
// Its text is short and opaque, holds nothing of keys or values, and fits into a header or a cookie.
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

// ParseToken reads a token's text. "" is the zero Token; anything that is not a token is an *OptionError.
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

// WithToken lets changes made with the returned context, one at a time, add to *t how far they came: after a change was
// acknowledged, t is what a reader elsewhere has to ask for to see it. One that failed adds nothing. What a loader changes with the
// context that it is given is added when the call that began the load returns; what a refresh in the background changes, never.
func WithToken(ctx context.Context, t *Token) context.Context {
	var a acknowledger // nil where t is
	if t != nil {
		a = t
	}
	return context.WithValue(ctx, tokenKey{}, a)
}

// acknowledger is told how far acknowledged changes came: a caller's Token, or what collects for one.
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

// adopt adds to the Token of ctx what was collected with a context that was detached from it. The caller's goroutine calls it.
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

// After gives a handle whose reads see every change up to the token, whichever instance made it: as long as this
// instance has not heard of all of them, they pass over the local tier, and over loads that began before. While it has,
// such reads are as fast as others. A token of another namespace or deployment may cost local hits, but does no harm.
func (c *Cache[V]) After(t Token) *Cache[V] {
	return &Cache[V]{shared: c.shared, defaults: c.defaults, after: t.reached}
}

// lagging reports whether this instance has not yet heard of all that the handle's reads must see.
func (c *Cache[V]) lagging() bool { return c.validity != nil && c.validity.Lagging(c.after) }
