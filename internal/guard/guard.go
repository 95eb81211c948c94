// Package guard keeps panics of code that users pass (functions of options, hooks, codecs, loggers,
// tracers) out of the goroutines of this library, where they would end the process. Each is
// counted, and one of a kind is logged in Interval.
package guard

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Interval is how often the panics of one part of the user's code are logged at most.
const Interval = 10 * time.Second

// Panics counts and logs panics. A nil *Panics does neither. It may be used by any number of goroutines.
type Panics struct {
	count atomic.Uint64
	log   *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // guarded by mu: when a part's last line was written
}

// New returns a Panics that logs to l, whose own panics it counts, and the logger to use in the place of l.
func New(l *slog.Logger) (*Panics, *slog.Logger) {
	p := &Panics{last: make(map[string]time.Time)}
	if l.Handler() != slog.DiscardHandler {
		l = slog.New(handler{l.Handler(), p})
	}
	p.log = l
	return p, l
}

// Count returns how many panics were caught.
func (p *Panics) Count() uint64 {
	if p == nil {
		return 0
	}
	return p.count.Load()
}

// Caught takes what recover gave, and reports whether it is the value of a panic. part says whose panic it is, in the
// words of the options.
func (p *Panics) Caught(part string, recovered any) bool {
	if recovered == nil {
		return false
	}
	p.Note(part, recovered, debug.Stack())
	return true
}

// Note counts and logs a panic that was caught with its stack.
func (p *Panics) Note(part string, value any, stack []byte) {
	if p == nil {
		return
	}
	p.count.Add(1)
	if p.due(part) {
		p.log.Error("doppio: code that was passed to the client panicked", "part", part, "panic", value, "stack", string(stack))
	}
}

func (p *Panics) due(part string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if last, ok := p.last[part]; ok && now.Sub(last) < Interval {
		return false
	}
	p.last[part] = now
	return true
}

// handler is a slog.Handler whose panics are counted. A record that panics is lost.
type handler struct {
	slog.Handler
	panics *Panics
}

// caught counts a panic that cannot be logged.
func (h handler) caught(recovered any) bool {
	if recovered != nil {
		h.panics.count.Add(1)
	}
	return recovered != nil
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	defer func() { h.caught(recover()) }()
	return h.Handler.Enabled(ctx, level)
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { h.caught(recover()) }()
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) (out slog.Handler) {
	defer func() {
		if h.caught(recover()) {
			out = h
		}
	}()
	return handler{h.Handler.WithAttrs(attrs), h.panics}
}

func (h handler) WithGroup(name string) (out slog.Handler) {
	defer func() {
		if h.caught(recover()) {
			out = h
		}
	}()
	return handler{h.Handler.WithGroup(name), h.panics}
}
