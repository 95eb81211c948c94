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

// tracer starts the spans of calls to Redis. It allocates nothing if they are not recorded.
type tracer struct {
	provider trace.TracerProvider // nil: the global one, which is read at each call since it may be set late
	panics   *guard.Panics
}

func newTracing(p trace.TracerProvider) tracer { return tracer{provider: p} }

// noopGlobal is the global provider of a process that never sets one. Its spans record nothing and
// cost an allocation each, so it is recognized and not used. It is nil if the init function of
// another package has set a real provider before.
var noopGlobal = func() trace.TracerProvider {
	p := otel.GetTracerProvider()
	if t := reflect.TypeOf(p); t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global" {
		return p
	}
	return nil
}()

// panicSource is the name under which panics of the tracer and its spans are logged.
const panicSource = "TracerProvider"

func (t tracer) start(ctx context.Context, op string) (out context.Context, started span) {
	defer func() {
		if t.panics.Caught(panicSource, recover()) {
			out, started = ctx, span{}
		}
	}()
	// A parent that is not sampled decides for its children.
	if parent := trace.SpanFromContext(ctx); parent.SpanContext().IsValid() && !parent.IsRecording() {
		return ctx, span{}
	}
	p := t.provider
	if p == nil {
		if p = otel.GetTracerProvider(); p == noopGlobal {
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

// span is empty if it is not recorded.
type span struct {
	trace.Span
	panics *guard.Panics
}

func (s span) end(err error) {
	if s.Span == nil {
		return
	}
	defer func() { s.panics.Caught(panicSource, recover()) }()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		s.SetAttributes(attribute.Bool("doppio.found", false))
	default:
		s.RecordError(err)
		s.SetStatus(codes.Error, spanStatus(err))
	}
	s.End()
}

// spanStatus returns the status of a span: the kind of the failure, of which there are few.
func spanStatus(err error) string {
	for _, kind := range []error{
		ErrUnknownOutcome, ErrUnavailable, ErrRefused, ErrDenied, ErrWrongType, ErrNotNumeric, ErrOverflow, ErrClosed,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "error"
}
