package conformance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
)

// fleet is what the rows of one server and one engine share: instances with one namespace.
type fleet struct {
	*deployment
	target *target
	engine local.EngineKind
	ns     string

	first, second *tiered.Client
	stranger      *tiered.Client       // in the same namespace, whose caches may have other types
	closed        *tiered.Cache[int64] // of a client that was closed while it had a local copy of "k"
	neighbour     *tiered.Client       // in a namespace whose name begins with this one's
}

type fleetKey struct {
	target *target
	engine local.EngineKind
}

var (
	fleetsMu sync.Mutex
	fleets   = make(map[fleetKey]*fleet)
	unique   atomic.Int64
)

// fleetOf gives the fleet of a target and an engine, which lives until the process ends: it outlives a failover.
func fleetOf(tg *target, engine local.EngineKind) *fleet {
	fleetsMu.Lock()
	defer fleetsMu.Unlock()
	key := fleetKey{tg, engine}
	if f := fleets[key]; f != nil {
		return f
	}
	f := &fleet{deployment: tg.start(), target: tg, engine: engine, ns: fmt.Sprintf("ns%d", unique.Add(1))}
	f.first, f.second, f.stranger = f.instance(host, f.ns), f.instance(host, f.ns), f.instance(host, f.ns)
	f.neighbour = f.instance(host, f.ns+"1")
	f.closed = closedCache(f)
	for _, c := range []*tiered.Client{f.first, f.second, f.stranger, f.neighbour} {
		ready(host, c)
	}
	fleets[key] = f
	return f
}

func closedCache(f *fleet) *tiered.Cache[int64] {
	ctx := context.Background()
	c := f.instance(host, f.ns)
	ready(host, c)
	out, err := tiered.NewCache[int64](c, "closed", tiered.CacheOptions{})
	if err == nil {
		err = out.Set(ctx, "k", oldValue)
	}
	if err == nil {
		_, err = out.Get(ctx, "k")
	}
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		host.Fatalf("a closed client: %v", err)
	}
	return out
}

// instance makes one more client.
func (f *fleet) instance(h redistest.Host, namespace string, change ...func(*tiered.Options)) *tiered.Client {
	h.Helper()
	o := tiered.Options{
		Namespace: namespace, Local: local.Options{Engine: f.engine, MaxEntries: 10_000},
		// A busy machine must look like neither an outage nor a silent subscription.
		RemoteTimeout: patience, RemoteReadTimeout: patience, MaxStaleness: patience, RetryBackoff: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	c, err := tiered.New(f.connect(h, namespace), o)
	if err != nil {
		h.Fatalf("new client: %v", err)
	}
	h.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			h.Logf("close: %v", err)
		}
	})
	return c
}

func ready(h redistest.Host, c *tiered.Client) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Ready(ctx); err != nil {
		h.Fatalf("ready: %v", err)
	}
	// One that found that Redis had lost something invalidates the remote tier first.
	redistest.Eventually(h, patience, func() error {
		if n := c.Stats().Pending; n > 0 {
			return fmt.Errorf("%d invalidations are pending", n)
		}
		return nil
	})
}

// env is what one run of a row has for itself.
type env struct {
	*fleet
	name  string // of its caches
	other bool   // it is the second instance that is asked
}

// asked is the client that the row is about; the first one prepares what it finds.
func (e *env) asked() *tiered.Client {
	if e.other {
		return e.second
	}
	return e.first
}

// pair gives the cache that writes and the one that is asked, which are one in mode "same".
func pair[V any](t *testing.T, e *env, opts ...tiered.CacheOptions) (w, r *tiered.Cache[V]) {
	t.Helper()
	w = cache[V](t, e.first, e.name, opts...)
	if !e.other {
		return w, w
	}
	return w, cache[V](t, e.second, e.name, opts...)
}

func cache[V any](t *testing.T, c *tiered.Client, name string, opts ...tiered.CacheOptions) *tiered.Cache[V] {
	t.Helper()
	var o tiered.CacheOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	out, err := tiered.NewCache[V](c, name, o)
	if err != nil {
		t.Fatalf("NewCache: %v", err)
	}
	return out
}

// remoteKey is the key in Redis.
func (e *env) remoteKey(key string) string { return e.ns + ":" + e.name + ":" + key }

// stored tells what the remote tier holds under key, looked at past the library.
func (e *env) stored(t *testing.T, key string) string {
	t.Helper()
	kind, err := e.raw.Type(t.Context(), e.remoteKey(key)).Result()
	check(t, err)
	switch kind {
	case "none":
		return "gone"
	case "string":
	default:
		return kind
	}
	data, err := e.raw.Get(t.Context(), e.remoteKey(key)).Bytes()
	if errors.Is(err, redis.Nil) {
		return "gone" // since
	}
	check(t, err)
	r, err := remote.ParseRecord(e.remoteKey(key), data)
	var later *remote.UnknownVersionError
	switch {
	case errors.As(err, &later):
		return "later"
	case err != nil:
		return string(data)
	case r.Kind == remote.KindLease:
		return "lease"
	case r.Kind == remote.KindNegative:
		return "negative"
	case r.Expired(time.Now()):
		return "expired"
	case !r.Number:
		return "envelope"
	}
	return string(r.Payload)
}

// sees waits until c has want under key, or the error.
func sees[V any](t *testing.T, c *tiered.Cache[V], key string, want V, wantErr error) {
	t.Helper()
	redistest.Eventually(t, patience, func() error { return seesNow(t, c, key, want, wantErr) })
}

func seesNow[V any](t *testing.T, c *tiered.Cache[V], key string, want V, wantErr error) error {
	t.Helper()
	got, err := c.Get(t.Context(), key)
	if wantErr != nil {
		if !matches(err, wantErr) {
			return fmt.Errorf("Get(%.40q) = %s, want %s", key, show(got, err), show(nil, wantErr))
		}
		return nil
	}
	if err != nil || !equal(got, want) {
		return fmt.Errorf("Get(%.40q) = %s, want %s", key, show(got, err), show(want, nil))
	}
	return nil
}

// finds is sees where nothing has to travel first.
func finds[V any](t *testing.T, c *tiered.Cache[V], key string, want V, wantErr error) {
	t.Helper()
	check(t, seesNow(t, c, key, want, wantErr))
}

// show writes an answer, but not 10 MiB of it.
func show(v any, err error) string {
	if err != nil {
		return fmt.Sprintf("error %.300v", err)
	}
	text := fmt.Sprintf("%v", v)
	if len(text) > 200 {
		text = fmt.Sprintf("%q… (%d bytes)", text[:200], len(text))
	}
	return text
}

// errDecode stands for any *tiered.DecodeError.
var errDecode = errors.New("a DecodeError")

func matches(err, want error) bool {
	if want == errDecode { //nolint:errorlint // a placeholder, which nothing wraps
		var d *tiered.DecodeError
		return errors.As(err, &d)
	}
	return errors.Is(err, want)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !matches(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// want checks an answer that must come without an error.
func want[T any](t *testing.T, expected T) func(got T, err error) {
	t.Helper()
	return func(got T, err error) {
		t.Helper()
		if err != nil || !equal(got, expected) {
			t.Fatalf("got %s, want %s", show(got, err), show(expected, nil))
		}
	}
}

// equal compares as users would: messages by their fields, times by their instant.
func equal(a, b any) bool {
	switch a := a.(type) {
	case proto.Message:
		b, ok := b.(proto.Message)
		return ok && reflect.ValueOf(a).IsNil() == reflect.ValueOf(b).IsNil() && proto.Equal(a, b)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	}
	if m, n := reflect.ValueOf(a), reflect.ValueOf(b); m.Kind() == reflect.Map && n.Kind() == reflect.Map && m.Type() == n.Type() && !m.IsNil() && !n.IsNil() {
		if m.Len() != n.Len() {
			return false
		}
		for it := m.MapRange(); it.Next(); {
			v := n.MapIndex(it.Key())
			if !v.IsValid() || !equal(it.Value().Interface(), v.Interface()) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// becomesTrue waits until ok.
func becomesTrue(t *testing.T, ok func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if !ok() {
			return errors.New("it is not")
		}
		return nil
	})
}
