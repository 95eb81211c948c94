package tiered

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/doppio-cache/doppio/internal/guard"
)

// scopeName is the instrumentation scope of this package's spans and metrics.
const scopeName = "github.com/doppio-cache/doppio/tiered"

// spans makes this package's spans. Keys are never in them: they may be secrets, and there is no
// end of them.
type spans struct {
	provider  trace.TracerProvider // nil: the global one
	localHits bool
	panics    *guard.Panics
}

func newSpans(o Options, panics *guard.Panics) spans {
	return spans{provider: o.TracerProvider, localHits: o.TraceLocalHits, panics: panics}
}

// localHit adds an event to the caller's span, if that records.
func (s spans) localHit(ctx context.Context, cache string) {
	defer func() { s.panics.Caught(tracer, recover()) }()
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("doppio.local.hit", trace.WithAttributes(attribute.String("doppio.cache", cache)))
	}
}

// tracer is what panics of the tracer and its spans are logged as.
const tracer = "TracerProvider"

type loadSpan struct {
	trace.Span // nil: its tracer panicked
	panics     *guard.Panics
}

// load starts the span of a load, of which the calls to the remote tier and the loader are part.
// The first caller's span is its parent.
func (s spans) load(ctx context.Context, cache string) (out context.Context, started loadSpan) {
	defer func() {
		if s.panics.Caught(tracer, recover()) {
			out, started = ctx, loadSpan{}
		}
	}()
	p := s.provider
	if p == nil {
		p = otel.GetTracerProvider()
	}
	traced, span := p.Tracer(scopeName).Start(ctx, "doppio.load", trace.WithAttributes(attribute.String("doppio.cache", cache)))
	return traced, loadSpan{span, s.panics}
}

func (s loadSpan) end(err error) {
	if s.Span == nil {
		return
	}
	defer func() { s.panics.Caught(tracer, recover()) }()
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.RecordError(withoutKeys(err))
		s.SetStatus(codes.Error, "load failed")
	}
	s.End()
}

// withoutKeys gives what of an error may be in a span: this package's own errors name keys, a
// loader's is the user's affair.
func withoutKeys(err error) error {
	var load *LoadError
	for errors.As(err, &load) {
		err = load.Err
	}
	var decode *DecodeError
	var batch *BatchError
	switch {
	case errors.As(err, &decode):
		return errors.New("doppio: a value does not decode")
	case errors.As(err, &batch):
		return errors.New("doppio: keys of a batch failed")
	}
	return err
}
