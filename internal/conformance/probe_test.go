package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
)

var probes = []probe{
	{op: "Get", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) { return c.Get(ctx, key) }},
	{op: "GetMany", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		m, err := c.GetMany(ctx, []string{key})
		return only(m, key), err
	}},
	{op: "GetOrSet", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.GetOrSet(ctx, key, loadNew)
	}},
	{op: "GetOrSetMany", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		m, err := c.GetOrSetMany(ctx, []string{key}, loadNewMany)
		return only(m, key), err
	}},
	{op: "GetOrSetValue", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.GetOrSetValue(ctx, key, newValue)
	}},
	{op: "Set", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return nil, c.Set(ctx, key, newValue)
	}},
	{op: "SetMany", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.SetMany(ctx, []tiered.Item[int64]{{Key: key, Value: newValue}})
	}},
	{op: "SetIfAbsent", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.SetIfAbsent(ctx, key, newValue)
	}},
	{op: "Delete", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) { return c.Delete(ctx, key) }},
	{op: "DeleteMany", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.DeleteMany(ctx, []string{key})
	}},
	{op: "Exists", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) { return c.Exists(ctx, key) }},
	{op: "ExistsMany", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		m, err := c.ExistsMany(ctx, []string{key})
		if _, asked := m[key]; !asked {
			err = errors.Join(err, errors.New("the key that was asked for is not in the map"))
		}
		return m[key], err
	}},
	{op: "Clear", whole: true, do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.Clear(ctx, literal(key))
	}},
	{op: "Count", whole: true, do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.Count(ctx, literal(key))
	}},
	{op: "Increment", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.Increment(ctx, key, delta)
	}},
	{op: "TTL", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		d, err := c.TTL(ctx, key)
		switch {
		case d == tiered.NoExpiration:
			return "for ever", err
		case d > 0:
			return "a while", err
		}
		return d, err
	}},
	{op: "Expire", do: func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error) {
		return c.Expire(ctx, key, 10*time.Minute)
	}},
	{op: "InvalidateTags", whole: true, do: func(ctx context.Context, c *tiered.Cache[int64], _ string) (any, error) {
		return nil, c.InvalidateTags(ctx, "a tag of nobody")
	}},
}

// literal is a pattern that matches key. A byte that is not UTF-8 makes miniredis panic, so it is asked for with a
// question mark here; scanRows ask the real servers for it as it is.
func literal(key string) string {
	var b strings.Builder
	for _, r := range []byte(remote.EscapeGlob(key)) {
		if r >= utf8.RuneSelf && !utf8.ValidString(key) {
			r = '?'
		}
		b.WriteByte(r)
	}
	return b.String()
}

func only(m map[string]int64, key string) any {
	if v, ok := m[key]; ok && len(m) == 1 {
		return v
	}
	if len(m) > 0 {
		return m
	}
	return "absent"
}

func loadNew(context.Context) (int64, error) { return newValue, nil }

func loadNewMany(_ context.Context, missing []string) (map[string]int64, error) {
	out := make(map[string]int64, len(missing))
	for _, k := range missing {
		out[k] = newValue
	}
	return out, nil
}

func mustNotLoad[V any](t *testing.T) func(context.Context) (V, error) {
	return func(context.Context) (V, error) {
		t.Error("the loader was called")
		return *new(V), errors.New("not to be loaded")
	}
}

// oddKeys are keys that must work like any.
var oddKeys = []struct{ name, key string }{
	{"1024 bytes", strings.Repeat("k", tiered.MaxKeyBytes)},
	{"not UTF-8", "\xff\xfe\x80\xc3("},
	{"glob", `*?[a-z]\`},
	{"hash tags", "with {hash}tags}"},
	{"empty hash tag", "{}x{y}"},
	{"colons", ":a::b:"},
	{"spaces", "  a b\t"},
	{"newlines", "a\r\nb\n"},
	{"NUL", "a\x00b\x00"},
	{"unicode", "schlüssel-鍵-🔑"},
}

var badKeys = []struct{ name, key string }{
	{"empty", ""},
	{"1025 bytes", strings.Repeat("k", tiered.MaxKeyBytes+1)},
}

// keyRows: every operation with keys that look like something else, and with those that are refused.
func keyRows() []row {
	var rows []row
	for _, k := range oddKeys {
		rows = append(rows, each("key/"+k.name, func(t *testing.T, e *env, p probe) {
			inState(t, e, p, &present, k.key)
		})...)
	}
	for _, k := range badKeys {
		for _, r := range each("key/"+k.name, func(t *testing.T, e *env, p probe) {
			_, r := pair[int64](t, e)
			_, err := p.do(t.Context(), r, k.key)
			wantErr(t, err, tiered.ErrInvalidKey)
			var batch *tiered.BatchError
			if errors.As(err, &batch) && batch.Failed[k.key] == nil {
				t.Fatalf("the batch error does not name the key: %v", batch.Failed)
			}
		}) {
			if !isWhole(r.op) {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

func isWhole(op string) bool {
	for _, p := range probes {
		if p.op == op {
			return p.whole
		}
	}
	return false
}
