package remote

import (
	"context"
	"errors"
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/doppio-cache/doppio/internal/guard"
)

// scopeName is the instrumentation scope of this package's spans.
const scopeName = "github.com/doppio-cache/doppio/remote"

// tracing makes the spans of calls that leave the process. It allocates nothing when nobody records.
type tracing struct {
	provider trace.TracerProvider // nil: the global one, asked at each call since it may be set late
	panics   *guard.Panics
}

func newTracing(p trace.TracerProvider) tracing { return tracing{provider: p} }

// unset is the global provider of a process that never sets one. It hands out spans that record nothing, at the price
// of an allocation each, so it is recognized and left alone. Another package's init may have set a real one before:
// that is none of ours to leave alone.
var unset = func() trace.TracerProvider {
	p := otel.GetTracerProvider()
	if t := reflect.TypeOf(p); t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global" {
		return p
	}
	return nil
}()

// tracer is what panics of the tracer and its spans are logged as.
const tracer = "TracerProvider"

func (t tracing) start(ctx context.Context, op string) (out context.Context, started span) {
	defer func() {
		if t.panics.Caught(tracer, recover()) {
			out, started = ctx, span{}
		}
	}()
	// A parent that is not sampled decides for its children.
	if parent := trace.SpanFromContext(ctx); parent.SpanContext().IsValid() && !parent.IsRecording() {
		return ctx, span{}
	}
	p := t.provider
	if p == nil {
		if p = otel.GetTracerProvider(); p == unset {
			return ctx, span{}
		}
	}
	if _, silent := p.(noop.TracerProvider); silent {
		return ctx, span{}
	}
	traced, sp := p.Tracer(scopeName).Start(ctx, "doppio.remote."+op,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", "redis"), attribute.String("doppio.operation", op)))
	return traced, span{sp, t.panics}
}

// span is nothing when nobody records.
type span struct {
	trace.Span
	panics *guard.Panics
}

func (s span) end(err error) {
	if s.Span == nil {
		return
	}
	defer func() { s.panics.Caught(tracer, recover()) }()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		s.SetAttributes(attribute.Bool("doppio.found", false))
	default:
		s.RecordError(err)
		s.SetStatus(codes.Error, op(err))
	}
	s.End()
}

// op is a span status of few values: what kind of failure it was.
func op(err error) string {
	for _, kind := range []error{ErrUnknownOutcome, ErrUnavailable, ErrRefused, ErrDenied, ErrWrongType, ErrNotNumeric, ErrOverflow, ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "error"
}
