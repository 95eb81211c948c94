package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// spans is a TracerProvider that keeps what it is told. The SDK would be a dependency of every
// user.
type spans struct {
	embedded.TracerProvider
	mu    sync.Mutex
	ended []*recorded
	scope string
}

type spanTracer struct {
	embedded.Tracer
	to *spans
}

type recorded struct {
	noop.Span
	to     *spans
	name   string
	parent trace.SpanContext
	kind   trace.SpanKind
	attrs  []attribute.KeyValue
	status codes.Code
	reason string
	errs   []error
}

func (s *spans) Tracer(name string, _ ...trace.TracerOption) trace.Tracer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scope = name
	return spanTracer{to: s}
}

func (s spanTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	c := trace.NewSpanStartConfig(opts...)
	r := &recorded{to: s.to, name: name, kind: c.SpanKind(), attrs: c.Attributes(), parent: trace.SpanContextFromContext(ctx)}
	return trace.ContextWithSpan(ctx, r), r
}

func (r *recorded) IsRecording() bool                        { return true }
func (r *recorded) SetAttributes(kv ...attribute.KeyValue)   { r.attrs = append(r.attrs, kv...) }
func (r *recorded) SetStatus(code codes.Code, reason string) { r.status, r.reason = code, reason }
func (r *recorded) RecordError(err error, _ ...trace.EventOption) {
	r.errs = append(r.errs, err)
}

func (r *recorded) SpanContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
}

func (r *recorded) End(...trace.SpanEndOption) {
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	r.to.ended = append(r.to.ended, r)
}

func (s *spans) take() []*recorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.ended
	s.ended = nil
	return out
}

func TestTracerProvider_getsASpanOfEachCall(t *testing.T) {
	recorder := &spans{}
	rdb := shared.Client(t)
	fresh(t, rdb)
	s := newStore(t, rdb, func(o *Options) { o.TracerProvider = recorder })
	names := make(map[string]bool)
	for _, op := range operations {
		err := op.do(t.Context(), s, t.Name()+"hunter2")
		got := recorder.take()
		if len(got) == 0 {
			t.Errorf("%s left no span", op.name)
			continue
		}
		for _, r := range got {
			names[r.name] = true
			if r.kind != trace.SpanKindClient || !slices.Contains(r.attrs, attribute.String("db.system.name", "redis")) || !strings.HasPrefix(r.name, "doppio.remote.") {
				t.Errorf("%s: %+v", op.name, r)
			}
			if r.status == codes.Error {
				t.Errorf("%s (%v): status %q", op.name, err, r.reason)
			}
			for _, a := range r.attrs {
				if strings.Contains(a.Value.String(), "hunter2") {
					t.Errorf("%s: attribute %v", op.name, a)
				}
			}
		}
	}
	for _, want := range []string{"get", "get-many", "set", "set-many", "increment", "acquire", "fill", "delete", "clear", "publish"} {
		if want != "clear" && !names["doppio.remote."+want] {
			t.Errorf("no span of %s; there are %v", want, names)
		}
	}
	if recorder.scope != scopeName {
		t.Errorf("scope %q", recorder.scope)
	}
	if _, err := s.Get(t.Context(), t.Name()+"none"); err == nil {
		t.Fatal("something is there")
	}
	if got := recorder.take(); len(got) != 1 || !slices.Contains(got[0].attrs, attribute.Bool("doppio.found", false)) {
		t.Errorf("a miss left %+v", got)
	}
}

func TestTracerProvider_getsTheKindOfAFailure(t *testing.T) {
	recorder := &spans{}
	p, rdb := proxied(t, shared)
	s := newStore(t, rdb, never, func(o *Options) { o.TracerProvider = recorder })
	p.Refuse(true)
	_, err := s.Get(t.Context(), "hunter2")
	got := recorder.take()
	if len(got) != 1 || got[0].status != codes.Error || got[0].reason != ErrUnavailable.Error() || len(got[0].errs) != 1 {
		t.Fatalf("%v left %+v", err, got)
	}
	p.Refuse(false)
	must(t, rdb.Ping(t.Context()).Err())
	p.HoldReplies()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- s.Set(ctx, "hunter2", value("hunter2"), nil) }()
	redistest.Eventually(t, patience, func() error {
		if p.Held() == 0 {
			return errors.New("the server has not been asked yet")
		}
		return nil
	})
	leave()
	err = <-left
	got = recorder.take()
	if len(got) != 1 || got[0].status != codes.Error || got[0].reason != ErrUnknownOutcome.Error() {
		t.Fatalf("%v left %+v", err, got)
	}
	p.ReleaseReplies()
}

func TestTracerProvider_allocatesNothingWhenItDoesNotRecord(t *testing.T) {
	silent := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	for name, c := range map[string]struct {
		ctx context.Context //nolint:containedctx // a table
		t   tracer
	}{
		"the global provider, never set": {context.Background(), newTracing(nil)},
		"no-op provider":                 {context.Background(), newTracing(noop.NewTracerProvider())},
		"parent that is not sampled":     {silent, newTracing(&spans{})},
	} {
		if n := testing.AllocsPerRun(100, func() {
			ctx, sp := c.t.start(c.ctx, "get")
			sp.end(ErrUnavailable)
			if ctx != c.ctx {
				t.Error("another context")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if noopGlobal == nil {
		t.Error("OpenTelemetry's own provider is not recognized any more")
	}
}
