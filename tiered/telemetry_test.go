package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricembedded "go.opentelemetry.io/otel/metric/embedded"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/doppio-cache/doppio/tiered"
)

// recorder is a TracerProvider that records every span; the SDK must not become a dependency.
type recorder struct {
	embedded.TracerProvider

	mu    sync.Mutex
	spans []*recorded
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{recorder: r} }

type tracer struct {
	embedded.Tracer

	*recorder
}

func (r *recorder) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(opts...)
	r.mu.Lock()
	defer r.mu.Unlock()
	parent := trace.SpanContextFromContext(ctx)
	s := &recorded{name: name, parent: parent.SpanID(), recorder: r}
	id := trace.SpanID{byte(len(r.spans) + 1), 1}
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: id, TraceFlags: trace.FlagsSampled})
	s.note(cfg.Attributes()...)
	r.spans = append(r.spans, s)
	return trace.ContextWithSpan(ctx, s), s
}

// recorded is one span; what it was told is text, to be searched.
type recorded struct {
	embedded.Span

	name     string
	context  trace.SpanContext
	parent   trace.SpanID
	recorder *recorder
	// Guarded by recorder.mu.
	said   []string
	events []string
	status codes.Code
	ended  bool
}

func (s *recorded) note(kvs ...attribute.KeyValue) {
	for _, kv := range kvs {
		s.said = append(s.said, string(kv.Key)+"="+kv.Value.String())
	}
}

func (s *recorded) locked(f func()) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	f()
}

func (s *recorded) End(...trace.SpanEndOption) { s.locked(func() { s.ended = true }) }
func (s *recorded) AddEvent(name string, o ...trace.EventOption) {
	cfg := trace.NewEventConfig(o...)
	s.locked(func() { s.events = append(s.events, name); s.note(cfg.Attributes()...) })
}
func (s *recorded) AddLink(trace.Link) {}
func (s *recorded) IsRecording() bool  { return true }
func (s *recorded) RecordError(err error, _ ...trace.EventOption) {
	s.locked(func() { s.said = append(s.said, err.Error()) })
}
func (s *recorded) SpanContext() trace.SpanContext { return s.context }
func (s *recorded) SetStatus(c codes.Code, d string) {
	s.locked(func() { s.status = c; s.said = append(s.said, d) })
}
func (s *recorded) SetName(string)                          {}
func (s *recorded) SetAttributes(kvs ...attribute.KeyValue) { s.locked(func() { s.note(kvs...) }) }
func (s *recorded) TracerProvider() trace.TracerProvider    { return s.recorder }

// named gives the spans of a name.
func (r *recorder) named(name string) []*recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*recorded
	for _, s := range r.spans {
		if s.name == name {
			out = append(out, s)
		}
	}
	return out
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, s := range r.spans {
		fmt.Fprintln(&b, s.name, s.said, s.events)
	}
	return b.String()
}

func traced(t *testing.T, o tiered.Options) (*recorder, *tiered.Cache[string]) {
	t.Helper()
	r := &recorder{}
	o.TracerProvider = r
	return r, newCache[string](t, coherent(t, shared.Client(t), o), "c", tiered.CacheOptions{})
}

func TestTracerProvider_getsSpansOfALoadAndItsRemoteCalls(t *testing.T) {
	t.Parallel()
	r, c := traced(t, tiered.Options{})
	ctx, root := r.Start(t.Context(), "root")
	var inLoader trace.SpanContext
	_, err := c.GetOrSet(ctx, "s3cret-key", func(ctx context.Context) (string, error) {
		inLoader = trace.SpanContextFromContext(ctx)
		return "s3cret-value", nil
	}, tiered.Tags("s3cret-tag"))
	check(t, err)
	loads := r.named("doppio.load")
	if len(loads) != 1 || loads[0].parent != root.SpanContext().SpanID() || inLoader.SpanID() != loads[0].context.SpanID() {
		t.Fatalf("%d spans of loads; the loader runs in %v", len(loads), inLoader.SpanID())
	}
	eventually(t, "the load's span ends", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return loads[0].ended })
	// The caller looks into the remote tier by itself, and has a load only where it finds nothing.
	for op, parent := range map[string]trace.SpanID{
		"get": root.SpanContext().SpanID(), "tags": loads[0].context.SpanID(), "acquire": loads[0].context.SpanID(), "fill": loads[0].context.SpanID(),
	} {
		calls := r.named("doppio.remote." + op)
		if len(calls) != 1 || calls[0].parent != parent || !calls[0].ended {
			t.Errorf("%d spans of %s, want one under its own parent", len(calls), op)
		}
	}
	_, err = c.GetOrSet(ctx, "s3cret-failure", func(context.Context) (string, error) { return "", errors.New("boom") })
	wantLoadError(t, err)
	failed := r.named("doppio.load")[1]
	eventually(t, "the failed load's span ends", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return failed.ended })
	if failed.status != codes.Error || !strings.Contains(r.text(), "boom") {
		t.Errorf("the failure is not in the span: %s", r.text())
	}
	// What other keys' failures say is not told either.
	_, err = c.GetOrSet(ctx, "s3cret-outer", func(ctx context.Context) (string, error) {
		return c.GetOrSet(ctx, "s3cret-inner", func(context.Context) (string, error) { return "", errors.New("inner boom") })
	})
	wantLoadError(t, err)
	_, err = c.GetOrSetMany(ctx, []string{"s3cret-many"}, func(context.Context, []string) (map[string]string, error) {
		return nil, &tiered.DecodeError{Key: "s3cret-other", Err: errors.New("x")}
	})
	wantLoadError(t, err)
	check(t, c.Set(ctx, "s3cret-key", "s3cret-value"))
	_, err = c.Delete(ctx, "s3cret-key")
	check(t, err)
	if strings.Contains(r.text(), "s3cret") {
		t.Errorf("a span shows a key, a tag or a value:\n%s", r.text())
	}
}

func wantLoadError(t *testing.T, err error) {
	t.Helper()
	var load *tiered.LoadError
	if !errors.As(err, &load) {
		t.Fatalf("%v, want a *LoadError", err)
	}
}

func TestTraceLocalHits_makesALocalHitAnEvent(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"not asked for": false, "asked for": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := traced(t, tiered.Options{TraceLocalHits: asked})
			check(t, c.Set(t.Context(), "s3cret-key", "v"))
			ctx, _ := r.Start(t.Context(), "root")
			before := len(r.text())
			_, err := c.Get(ctx, "s3cret-key")
			check(t, err)
			root := r.named("root")[0]
			if (len(root.events) == 1) != asked || (!asked && len(r.text()) != before) {
				t.Errorf("events: %v", root.events)
			}
			if strings.Contains(r.text(), "s3cret") {
				t.Error("the event shows the key")
			}
		})
	}
}

// meters is a MeterProvider that keeps callbacks and lets a test observe.
type meters struct {
	metricnoop.MeterProvider

	mu        sync.Mutex
	callbacks map[*registration]metric.Callback
	fail      error
}

type meter struct {
	metricnoop.Meter
	provider *meters
}

type registration struct {
	metricembedded.Registration
	provider *meters
}

// instrument knows its name, which the noop instruments do not.
type instrument struct {
	metricnoop.Int64ObservableCounter
	name string
}

// gauge is an instrument, too.
type gauge struct {
	metricnoop.Int64ObservableGauge
	name string
}

func (m *meters) Meter(string, ...metric.MeterOption) metric.Meter { return meter{provider: m} }

func (m meter) Int64ObservableCounter(name string, _ ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	return instrument{name: name}, m.provider.fail
}

func (m meter) Int64ObservableGauge(name string, _ ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return gauge{name: name}, m.provider.fail
}

func (m meter) RegisterCallback(f metric.Callback, _ ...metric.Observable) (metric.Registration, error) {
	m.provider.mu.Lock()
	defer m.provider.mu.Unlock()
	if m.provider.callbacks == nil {
		m.provider.callbacks = make(map[*registration]metric.Callback)
	}
	r := &registration{provider: m.provider}
	m.provider.callbacks[r] = f
	return r, nil
}

func (r *registration) Unregister() error {
	r.provider.mu.Lock()
	defer r.provider.mu.Unlock()
	delete(r.provider.callbacks, r)
	return nil
}

// observed maps instrument and attributes to the value.
type observed struct {
	metricembedded.Observer
	values map[string]int64
}

func (o *observed) ObserveFloat64(metric.Float64Observable, float64, ...metric.ObserveOption) {}
func (o *observed) ObserveInt64(i metric.Int64Observable, v int64, opts ...metric.ObserveOption) {
	set := metric.NewObserveConfig(opts).Attributes()
	cache, _ := set.Value("doppio.cache")
	var name string
	switch i := i.(type) {
	case instrument:
		name = i.name
	case gauge:
		name = i.name
	}
	o.values[name+"/"+cache.AsString()] += v
}

func (m *meters) collect(t *testing.T) map[string]int64 {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &observed{values: make(map[string]int64)}
	for _, f := range m.callbacks {
		check(t, f(t.Context(), o))
	}
	return o.values
}

func TestMeterProvider_isReportedToUntilClose(t *testing.T) {
	t.Parallel()
	m := &meters{}
	client := coherent(t, shared.Client(t), tiered.Options{MeterProvider: m})
	a, b := newCache[string](t, client, "a", tiered.CacheOptions{}), newCache[string](t, client, "b", tiered.CacheOptions{})
	for range 3 {
		_, err := a.GetOrSet(t.Context(), "k", constant("v"))
		check(t, err)
	}
	wantMissing(t, b, "k")
	got := m.collect(t)
	for name, want := range map[string]int64{"doppio.local.hits/a": 2, "doppio.loads/a": 1, "doppio.fills/a": 1, "doppio.local.hits/b": 0, "doppio.remote.misses/b": 1, "doppio.coherent/": 1, "doppio.pending/": 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %d, %t, want %d", name, v, ok, want)
		}
	}
	closeClient(t, client)
	if left := m.collect(t); len(left) != 0 {
		t.Errorf("after Close: %v", left)
	}
}

// Invalidations that could not be delivered can be watched: while they wait, and after they were
// delivered.
func TestMeterProvider_getsPendingInvalidations(t *testing.T) {
	t.Parallel()
	m := &meters{}
	p, client, c, _ := behindProxy(t, tiered.Options{MeterProvider: m, MaxPending: 3, RetryBackoff: 20 * time.Millisecond})
	for round, keys := range [][]string{numbered(2), numbered(4)} {
		p.Refuse(true)
		p.CutAll()
		_, err := c.DeleteMany(t.Context(), keys)
		wantErr(t, err, tiered.ErrRemoteUnavailable)
		if waiting := m.collect(t)["doppio.pending/"]; waiting != []int64{2, 1}[round] { // more than three are one
			t.Errorf("%d keys: %d pending", len(keys), waiting)
		}
		p.Refuse(false)
		eventually(t, "all is made up for", func() bool { return client.Stats().Pending == 0 })
		got, s := m.collect(t), client.Stats()
		if got["doppio.pending.delivered/"] != int64(s.PendingDelivered) || s.PendingDelivered < 2 {
			t.Errorf("%d delivered, Stats has %d", got["doppio.pending.delivered/"], s.PendingDelivered)
		}
		if overflows, ok := got["doppio.pending.overflows/"]; !ok || overflows != int64(round) {
			t.Errorf("%d overflows, want %d", overflows, round)
		}
	}
}

func TestMeterProvider_thatFailsFailsNew(t *testing.T) {
	t.Parallel()
	_, err := tiered.New(shared.Client(t), tiered.Options{MeterProvider: &meters{fail: errBoom}})
	wantErr(t, err, errBoom)
}

func TestStats_ofAFreshClient(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{MaxStaleness: time.Minute})
	// The local tier is trusted a moment before its state says so.
	eventually(t, "the lane is live", func() bool { return client.Stats().Subscriptions > 0 })
	if s := client.Stats(); !s.Coherent || s.BreakerOpen || s.Subscriptions != 1 || s.Losses != 0 || s.CacheStats != (tiered.CacheStats{}) || len(s.Caches) != 0 {
		t.Errorf("%+v", s)
	}
}
