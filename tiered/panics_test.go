package tiered_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/push"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// bomb is code that a user passes. It panics while it is armed.
type bomb struct{ armed, fired atomic.Bool }

func (b *bomb) touch() {
	if b.armed.Load() {
		b.fired.Store(true)
		panic("a user's bug")
	}
}

// passing is all that a user passes in one case.
type passing struct {
	client tiered.Options
	cache  tiered.CacheOptions
	redis  redis.Options
	load   func()     // runs in every loader
	hook   redis.Hook // nil: none
}

// passed is one thing that a user may pass, by the name of its option.
type passed struct {
	name    string
	set     func(p *passing, b *bomb)
	counted bool // its panics are caught in goroutines of the client, and so counted in Stats
	spares  bool // it need not run in the scenario
	early   bool // it need not run once the client is ready
}

// everything that is called back. TestPanics_isTestedWithEveryOptionThatIsCalled finds the rows that
// are missing.
var everything = []passed{
	{name: "Options.Local.Cost", counted: true, set: func(p *passing, b *bomb) {
		p.client.Local = local.Options{MaxBytes: 8 << 20, Cost: func(string, any) int64 { b.touch(); return 1 }}
	}},
	{name: "Options.OnStateChange", counted: true, early: true, set: func(p *passing, b *bomb) {
		p.client.OnStateChange = func(tiered.StateChange) { b.touch() }
	}},
	{name: "Options.Logger", counted: true, early: true, set: func(p *passing, b *bomb) { p.client.Logger = slog.New(bombHandler{b: b}) }},
	{name: "Options.Logger/with", counted: true, early: true, set: func(p *passing, b *bomb) {
		p.client.Logger = slog.New(bombHandler{b: b}).With("a", "b").WithGroup("g")
	}},
	{name: "Options.TracerProvider", counted: true, set: func(p *passing, b *bomb) {
		p.client.TracerProvider = bombTracers{b: b, provider: true}
	}},
	{name: "Options.TracerProvider/tracer", counted: true, set: func(p *passing, b *bomb) {
		p.client.TracerProvider = bombTracers{b: b, start: true}
	}},
	{name: "Options.TracerProvider/span", counted: true, set: func(p *passing, b *bomb) {
		p.client.TracerProvider = bombTracers{b: b}
		p.client.TraceLocalHits = true
	}},
	{name: "Options.MeterProvider", spares: true, set: func(p *passing, b *bomb) { p.client.MeterProvider = bombMeters{b: b, provider: true} }},
	{name: "Options.MeterProvider/close", counted: true, set: func(p *passing, b *bomb) { p.client.MeterProvider = bombMeters{b: b} }},
	{name: "CacheOptions.Codec", set: func(p *passing, b *bomb) { p.cache.Codec = bombCodec{b: b} }},
	{name: "CacheOptions.Codec/name", spares: true, set: func(p *passing, b *bomb) { p.cache.Codec = bombCodec{b: b, name: true} }},
	{name: "loader", set: func(p *passing, b *bomb) { p.load = b.touch }},
	// go-redis makes errors of panics while it dials.
	{name: "hook/dial", set: func(p *passing, b *bomb) { p.hook = bombHook{b: b, dial: true} }},
	{name: "hook/process", counted: true, set: func(p *passing, b *bomb) { p.hook = bombHook{b: b, process: true} }},
	{name: "hook/pipeline", counted: true, set: func(p *passing, b *bomb) { p.hook = bombHook{b: b, pipeline: true} }},
	{name: "redis.Dialer", set: func(p *passing, b *bomb) {
		p.redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			b.touch()
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}},
	{name: "redis.Dialer/connection", counted: true, set: func(p *passing, b *bomb) {
		p.redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return bombConn{conn, b}, err
		}
	}},
	{name: "redis.OnConnect", counted: true, set: func(p *passing, b *bomb) {
		p.redis.OnConnect = func(context.Context, *redis.Conn) error { b.touch(); return nil }
	}},
	{name: "redis.CredentialsProvider", counted: true, set: func(p *passing, b *bomb) {
		p.redis.CredentialsProvider = func() (string, string) { b.touch(); return "", "" }
	}},
	{name: "redis.CredentialsProviderContext", counted: true, set: func(p *passing, b *bomb) {
		p.redis.CredentialsProviderContext = func(context.Context) (string, string, error) { b.touch(); return "", "", nil }
	}},
	{name: "redis.StreamingCredentialsProvider", counted: true, set: func(p *passing, b *bomb) {
		p.redis.StreamingCredentialsProvider = bombCredentials{b}
	}},
	{name: "redis.DialerRetryBackoff", spares: true, set: func(p *passing, b *bomb) {
		p.redis.DialerRetries = 2
		p.redis.DialerRetryBackoff = func(int) time.Duration { b.touch(); return 0 }
		p.redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if b.armed.Load() {
				return nil, errors.New("no connection")
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}},
	{name: "redis.Limiter", counted: true, set: func(p *passing, b *bomb) { p.redis.Limiter = bombLimiter{b} }},
	{name: "redis.PushNotificationProcessor", spares: true, set: func(p *passing, b *bomb) {
		p.redis.PushNotificationProcessor = bombPush{push.NewProcessor(), b}
	}},
	{name: "redis.TLSConfig", spares: true, set: func(p *passing, b *bomb) {
		p.redis.TLSConfig = &tls.Config{VerifyConnection: func(tls.ConnectionState) error { b.touch(); return nil }, MinVersion: tls.VersionTLS12}
	}},
}

// No panic of a function or object that a user passes ends the process, whether it panics from the
// beginning or later, and no call panics.
func TestPanics_endNoProcess(t *testing.T) {
	s := redistest.Start(t)
	for _, row := range everything {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/late=%t", row.name, late), func(t *testing.T) {
				t.Parallel()
				b := &bomb{}
				p := passing{load: func() {}, redis: *s.Options()}
				p.client = tiered.Options{Namespace: namespace(t), RetryBackoff: 20 * time.Millisecond, MaxStaleness: time.Second, RemoteTimeout: time.Second}
				p.cache = tiered.CacheOptions{TTL: 400 * time.Millisecond, RefreshAhead: 390 * time.Millisecond, FailSafe: time.Minute}
				row.set(&p, b)
				rdb := redis.NewClient(&p.redis)
				t.Cleanup(func() {
					b.armed.Store(false)
					_ = rdb.Close()
				})
				if p.hook != nil {
					rdb.AddHook(p.hook)
				}
				panics := usedWhile(t, b, late, p, rdb, coherent(t, s.Client(t), tiered.Options{Namespace: p.client.Namespace}))
				if !b.fired.Load() && !row.spares && (!row.early || !late) {
					t.Error("it was never called")
				}
				if b.fired.Load() && row.counted && panics == 0 {
					t.Error("no panic was counted")
				}
			})
		}
	}
}

// On a Cluster changes and announcements go to several nodes at once.
func TestPanics_ofHooksOfAClusterEndNoProcess(t *testing.T) {
	c := redistest.StartCluster(t, 3)
	for _, row := range everything {
		if !strings.HasPrefix(row.name, "hook/") {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := &bomb{}
			p := passing{load: func() {}}
			p.client = tiered.Options{Namespace: namespace(t), Lanes: 3, RetryBackoff: 20 * time.Millisecond, MaxStaleness: time.Second, RemoteTimeout: time.Second}
			row.set(&p, b)
			rdb := c.Client(t)
			rdb.AddHook(p.hook)
			t.Cleanup(func() { b.armed.Store(false) })
			usedWhile(t, b, true, p, rdb, coherent(t, c.Client(t), tiered.Options{Namespace: p.client.Namespace, Lanes: 3}))
		})
	}
}

// usedWhile uses a client while the bomb is armed, from the beginning or once the client is ready, and gives how many
// panics were counted. What calls return is not looked at.
func usedWhile(t *testing.T, b *bomb, late bool, p passing, rdb redis.UniversalClient, other *tiered.Client) uint64 {
	t.Helper()
	ctx := t.Context()
	b.armed.Store(!late)
	c, err := tiered.New(rdb, p.client)
	if err != nil {
		return 0 // refused
	}
	closed := false
	defer func() {
		if !closed {
			closeQuietly(t, c)
		}
	}()
	cache, err := tiered.NewCache[string](c, "c", p.cache)
	if err != nil {
		return 0
	}
	// The other instance changes what this one has.
	theirs := newCache[string](t, other, "c", tiered.CacheOptions{Codec: p.cache.Codec})
	if late {
		patient, cancel := context.WithTimeout(ctx, 2*time.Second)
		_ = c.Ready(patient)
		cancel()
		_ = cache.Set(ctx, "k", "v")
		_, _ = cache.Get(ctx, "k")
		b.armed.Store(true)
	}
	load := func(context.Context) (string, error) { p.load(); return "loaded", nil }
	loadMany := func(_ context.Context, missing []string) (map[string]string, error) {
		p.load()
		out := make(map[string]string)
		for _, k := range missing {
			out[k] = "loaded"
		}
		return out, nil
	}
	keys := []string{"a", "b", "c", "d", "e", "f"}
	var items []tiered.Item[string]
	for _, k := range keys {
		items = append(items, tiered.Item[string]{Key: k, Value: "v", Tags: []string{"t"}})
	}
	use := func() {
		_, _ = cache.Get(ctx, "missing")
		_, _ = cache.GetOrSet(ctx, "loaded", load)
		_, _ = cache.GetOrSet(ctx, "tagged", load, tiered.Tags("t"))
		_ = cache.Set(ctx, "k", "v", tiered.Tags("t"))
		_, _ = cache.Get(ctx, "k")
		_, _ = cache.SetMany(ctx, items)
		_, _ = cache.GetMany(ctx, keys)
		_, _ = cache.GetOrSetMany(ctx, append(keys, "x", "y"), loadMany)
		_, _ = cache.DeleteMany(ctx, keys)
		_, _ = cache.Exists(ctx, "k")
		_, _ = cache.SetIfAbsent(ctx, "absent", "v")
		_ = cache.InvalidateTags(ctx, "t")
		b.armed.Store(false)
		_ = theirs.Set(ctx, "k", "w")
		b.armed.Store(true)
		_, _ = cache.Get(ctx, "k")
		// Refreshes run in the background.
		for end := time.Now().Add(600 * time.Millisecond); time.Now().Before(end) && c.Stats().Refreshes == 0; time.Sleep(20 * time.Millisecond) {
			_, _ = cache.GetOrSet(ctx, "loaded", load)
		}
		_, _ = cache.Clear(ctx, "")
		_, _ = cache.Delete(ctx, "k")
	}
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		use()
	}()
	select {
	case r := <-done:
		if r != nil {
			t.Errorf("a call panicked: %v", r)
		}
	case <-time.After(patience):
		t.Fatal("a call hangs")
	}
	closed = true
	closeQuietly(t, c)
	return c.Stats().Panics
}

// closeQuietly closes a client whose Close may report what panicked.
func closeQuietly(t *testing.T, c *tiered.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = c.Close(ctx)
	if ctx.Err() != nil {
		t.Error("Close hangs")
	}
}

// A field of options that is called has a row in everything, or a reason why it needs none.
func TestPanics_isTestedWithEveryOptionThatIsCalled(t *testing.T) {
	t.Parallel()
	spared := map[string]string{
		"Options.Local.Clock":            "refused",
		"redis.ClientSideCache":          "refused",
		"redis.ClientSideCacheConfig":    "refused",
		"redis.AutoPipelineOptions":      "no functions",
		"redis.MaintNotificationsConfig": "no functions",
		"CacheOptions.Keyring":           "no functions",
	}
	rows := make(map[string]bool)
	for _, row := range everything {
		name, _, _ := strings.Cut(row.name, "/")
		rows[name] = true
	}
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := prefix + "." + f.Name
			switch f.Type.Kind() {
			case reflect.Func, reflect.Interface, reflect.Pointer:
			case reflect.Struct:
				if f.Type == reflect.TypeFor[local.Options]() {
					walk(name, f.Type)
				}
				continue
			default:
				continue
			}
			if _, ok := spared[name]; f.IsExported() && !rows[name] && !ok {
				t.Errorf("%s, of type %s, is called and has no row", name, f.Type)
			}
		}
	}
	walk("Options", reflect.TypeFor[tiered.Options]())
	walk("CacheOptions", reflect.TypeFor[tiered.CacheOptions]())
	walk("redis", reflect.TypeFor[redis.Options]())
}

type bombHandler struct {
	slog.Handler
	b *bomb
}

func (h bombHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h bombHandler) Handle(context.Context, slog.Record) error { h.b.touch(); return nil }
func (h bombHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h bombHandler) WithGroup(string) slog.Handler             { return h }

type bombTracers struct {
	tracenoop.TracerProvider
	b               *bomb
	provider, start bool
}

func (p bombTracers) Tracer(string, ...trace.TracerOption) trace.Tracer {
	if p.provider {
		p.b.touch()
	}
	return bombTracer{tracenoop.Tracer{}, p}
}

type bombTracer struct {
	tracenoop.Tracer
	p bombTracers
}

func (t bombTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t.p.start {
		t.p.b.touch()
	}
	span := bombSpan{tracenoop.Span{}, t.p.b}
	return trace.ContextWithSpan(ctx, span), span
}

type bombSpan struct {
	tracenoop.Span
	b *bomb
}

func (s bombSpan) End(...trace.SpanEndOption)              { s.b.touch() }
func (s bombSpan) IsRecording() bool                       { s.b.touch(); return true }
func (s bombSpan) AddEvent(string, ...trace.EventOption)   { s.b.touch() }
func (s bombSpan) RecordError(error, ...trace.EventOption) { s.b.touch() }

type bombMeters struct {
	noop.MeterProvider
	b        *bomb
	provider bool
}

func (p bombMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	if p.provider {
		p.b.touch()
	}
	return bombMeter{noop.Meter{}, p.b}
}

type bombMeter struct {
	noop.Meter
	b *bomb
}

func (m bombMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return bombRegistration{noop.Registration{}, m.b}, nil
}

type bombRegistration struct {
	noop.Registration
	b *bomb
}

func (r bombRegistration) Unregister() error { r.b.touch(); return nil }

type bombCodec struct {
	b    *bomb
	name bool
}

func (c bombCodec) ID() uint8 { return 99 }
func (c bombCodec) Name() string {
	if c.name {
		c.b.touch()
	}
	return "bomb"
}

func (c bombCodec) Append(dst []byte, v any) ([]byte, error) {
	c.b.touch()
	return append(dst, v.(string)...), nil
}

func (c bombCodec) Decode(data []byte, into any) error {
	c.b.touch()
	*into.(*string) = string(data)
	return nil
}

type bombHook struct {
	b                       *bomb
	dial, process, pipeline bool
}

func (h bombHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h.dial {
			h.b.touch()
		}
		return next(ctx, network, addr)
	}
}

func (h bombHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.process {
			h.b.touch()
		}
		return next(ctx, cmd)
	}
}

func (h bombHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.pipeline {
			h.b.touch()
		}
		return next(ctx, cmds)
	}
}

type bombConn struct {
	net.Conn
	b *bomb
}

func (c bombConn) Read(p []byte) (int, error)  { c.b.touch(); return c.Conn.Read(p) }
func (c bombConn) Write(p []byte) (int, error) { c.b.touch(); return c.Conn.Write(p) }

type bombCredentials struct{ b *bomb }

func (c bombCredentials) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	c.b.touch()
	return auth.NewBasicCredentials("", ""), func() error { return nil }, nil
}

type bombLimiter struct{ b *bomb }

func (l bombLimiter) Allow() error       { l.b.touch(); return nil }
func (l bombLimiter) ReportResult(error) { l.b.touch() }

type bombPush struct {
	push.NotificationProcessor
	b *bomb
}

func (p bombPush) GetHandler(name string) push.NotificationHandler {
	p.b.touch()
	return p.NotificationProcessor.GetHandler(name)
}
