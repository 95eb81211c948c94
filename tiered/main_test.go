package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// shared is the server of all tests that do not harm their server. Each test has a namespace of its own on it.
var shared *redistest.Server

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(
		redistest.Shared(m, func(h redistest.Host) { shared = redistest.Start(h) }),
		// The Cluster client that redis.NewFailoverClusterClient makes leaves these behind when it is closed. Nothing of this
		// library calls PubSub.Channel.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*sentinelFailover).listen"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*channel).initMsgChan.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*channel).initHealthCheck.func1"),
	)
}

// quiet keeps go-redis's complaints about servers that tests have stopped out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// user is a plain value of six fields.
type user struct {
	ID    int64
	Name  string
	Email string
	Age   int
	Admin bool
	Score float64
}

var ada = user{ID: 42, Name: "Ada", Email: "ada@example.org", Age: 36, Admin: true, Score: 1.5}

var namespaces atomic.Int64

// namespace is new for every run of a test, -count included.
func namespace(t testing.TB) string {
	name := strings.NewReplacer("*", "_", "?", "_", "[", "_", "]", "_", "{", "_", "}", "_", ":", "_", `\`, "_").Replace(t.Name())
	return fmt.Sprintf("%.100s-%d", name, namespaces.Add(1))
}

// newClient gives a client over rdb, closed with the test. It is not waited for: see coherent.
func newClient(t testing.TB, rdb redis.UniversalClient, o tiered.Options) *tiered.Client {
	t.Helper()
	if o.Namespace == "" {
		o.Namespace = namespace(t)
	}
	if o.MaxStaleness == 0 {
		o.MaxStaleness = 20 * time.Second // nor is it a silent subscription
	}
	if o.RemoteTimeout == 0 {
		o.RemoteTimeout = 20 * time.Second // a busy machine is no outage
	}
	if o.RemoteReadTimeout == 0 {
		o.RemoteReadTimeout = o.RemoteTimeout
	}
	c, err := tiered.New(rdb, o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { closeClient(t, c) })
	return c
}

func closeClient(t testing.TB, c *tiered.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// coherent gives a client whose local tier can be trusted.
func coherent(t testing.TB, rdb redis.UniversalClient, o tiered.Options) *tiered.Client {
	t.Helper()
	c := newClient(t, rdb, o)
	ready(t, c)
	return c
}

func ready(t testing.TB, c *tiered.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Ready(ctx); err != nil {
		t.Fatalf("Ready: %v", err)
	}
}

func newCache[V any](t testing.TB, c *tiered.Client, name string, o tiered.CacheOptions) *tiered.Cache[V] {
	t.Helper()
	cache, err := tiered.NewCache[V](c, name, o)
	if err != nil {
		t.Fatalf("NewCache: %v", err)
	}
	return cache
}

// one gives a cache of a client of its own on the shared server.
func one[V any](t testing.TB, o tiered.CacheOptions) (*tiered.Client, *tiered.Cache[V]) {
	t.Helper()
	c := coherent(t, shared.Client(t), tiered.Options{})
	return c, newCache[V](t, c, "c", o)
}

// fleet gives the same cache on n instances that share a server and a namespace, which is returned, too.
func fleet[V any](t testing.TB, n int, o tiered.CacheOptions) (string, []*tiered.Client, []*tiered.Cache[V]) {
	t.Helper()
	ns := namespace(t)
	clients, caches := make([]*tiered.Client, n), make([]*tiered.Cache[V], n)
	for i := range n {
		clients[i] = coherent(t, shared.Client(t), tiered.Options{Namespace: ns})
		caches[i] = newCache[V](t, clients[i], "c", o)
	}
	return ns, clients, caches
}

// remote reads past every local tier.
func remoteOnly[V any](t testing.TB, ns, name string) *tiered.Cache[V] {
	t.Helper()
	// It never subscribes, and with Bypass it does not keep what it reads.
	c := newClient(t, shared.Client(t, func(o *redis.Options) { o.DB = 0 }), tiered.Options{Namespace: ns, WhenIncoherent: tiered.Bypass, Local: local.Options{MaxEntries: 1}})
	return newCache[V](t, c, name, tiered.CacheOptions{LocalTTL: 1})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("error %v, want one that matches %v", err, w)
		}
	}
}

// wantGet requires what Get gives.
func wantGet[V comparable](t testing.TB, c *tiered.Cache[V], key string, want V) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); err != nil || got != want {
		t.Fatalf("Get(%q) = %v, %v, want %v", key, got, err, want)
	}
}

func wantMissing[V any](t testing.TB, c *tiered.Cache[V], key string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key); !errors.Is(err, tiered.ErrNotFound) {
		t.Fatalf("Get(%q) = %v, %v, want ErrNotFound", key, got, err)
	}
}

// await waits for a signal.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if ok() {
			return nil
		}
		return errors.New(what)
	})
}

// result is what a call in another goroutine gave.
type result[V any] struct {
	v   V
	err error
}

// async runs a call in another goroutine.
func async[V any](call func() (V, error)) <-chan result[V] {
	out := make(chan result[V], 1)
	go func() {
		v, err := call()
		out <- result[V]{v, err}
	}()
	return out
}

func receive[V any](t testing.TB, what string, c <-chan result[V]) result[V] {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		return result[V]{}
	}
}

// blocked is a loader that says when it runs and waits to be let go.
type blocked[V any] struct {
	value   V
	err     error
	running chan struct{} // closed when it runs for the first time
	release chan struct{}
	calls   atomic.Int64
	ended   chan struct{} // closed when its context ended, if it heeds it
	deaf    bool          // it ignores its context
}

func newBlocked[V any](t testing.TB, value V) *blocked[V] {
	b := &blocked[V]{value: value, running: make(chan struct{}), release: make(chan struct{}), ended: make(chan struct{})}
	t.Cleanup(b.letGo) // before the client is closed, which waits for it
	return b
}

func (b *blocked[V]) letGo() {
	select {
	case <-b.release:
	default:
		close(b.release)
	}
}

func (b *blocked[V]) load(ctx context.Context) (V, error) {
	if b.calls.Add(1) == 1 {
		close(b.running)
	}
	if b.deaf {
		<-b.release
		return b.value, b.err
	}
	select {
	case <-b.release:
		return b.value, b.err
	case <-ctx.Done():
		if b.calls.Load() == 1 {
			close(b.ended)
		}
		return *new(V), ctx.Err()
	}
}

func constant[V any](v V) func(context.Context) (V, error) {
	return func(context.Context) (V, error) { return v, nil }
}

// forbidden is a loader that must not run.
func forbidden[V any](t testing.TB) func(context.Context) (V, error) {
	return func(context.Context) (V, error) {
		t.Error("the loader ran")
		return *new(V), errors.New("the loader ran")
	}
}
