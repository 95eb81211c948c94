package tiered_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// requestID is a key of contexts, as a request's logger has one.
type requestID struct{}

// correlated is a slog.Handler that notes the request that each line belongs to, as one that finds the trace does.
type correlated struct {
	slog.Handler
	mu    sync.Mutex
	lines []string // message and request
}

func (h *correlated) Enabled(context.Context, slog.Level) bool { return true }

func (h *correlated) Handle(ctx context.Context, r slog.Record) error {
	request, _ := ctx.Value(requestID{}).(string)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, r.Message+" of "+request)
	return nil
}

func (h *correlated) has(line string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.lines, line)
}

// A failure behind a load is logged with the context of the call that began the load, so that a
// handler finds its trace.
func TestLogger_getsTheContextOfTheCallThatBeganTheLoad(t *testing.T) {
	t.Parallel()
	calls := map[string]func(ctx context.Context, c *tiered.Cache[string], value string) error{
		"GetOrSet": func(ctx context.Context, c *tiered.Cache[string], value string) error {
			return errorOf(c.GetOrSet(ctx, "k", constant(value)))
		},
		"GetOrSetMany": func(ctx context.Context, c *tiered.Cache[string], value string) error {
			return errorOf(c.GetOrSetMany(ctx, []string{"k"}, func(context.Context, []string) (map[string]string, error) {
				return map[string]string{"k": value}, nil
			}))
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &correlated{}
			p, client, _, _ := behindProxy(t, tiered.Options{Logger: slog.New(h)})
			small := newCache[string](t, client, "small", tiered.CacheOptions{MaxValueBytes: 8})
			ctx := context.WithValue(t.Context(), requestID{}, "the first request")
			check(t, call(ctx, small, strings.Repeat("x", 100)))
			if want := "doppio: a loaded value cannot be stored of the first request"; !h.has(want) {
				t.Errorf("no line %q in %q", want, h.lines)
			}
			p.Refuse(true)
			p.CutAll()
			ctx = context.WithValue(t.Context(), requestID{}, "the second request")
			const want = "doppio: remote tier failed behind a load of the second request"
			eventually(t, "a load meets the outage", func() bool {
				check(t, call(ctx, small, strings.Repeat("x", 100)))
				return h.has(want)
			})
		})
	}
}
