package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
)

// operation is a method of Cache that returns an error.
type operation struct {
	changes bool // it may send a change
	loads   bool // it does without the remote tier
	call    func(ctx context.Context, c *tiered.Cache[int64]) error
}

const (
	secretKey = "key-of-a-caller"
	secretTag = "tag-of-a-caller"
)

var operations = map[string]operation{
	"Get": {call: func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Get(ctx, secretKey); return err }},
	"GetMany": {call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.GetMany(ctx, []string{secretKey})
		return err
	}},
	"GetOrSet": {loads: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.GetOrSet(ctx, secretKey, constant(int64(7)))
		return err
	}},
	"GetOrSetMany": {loads: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.GetOrSetMany(ctx, []string{secretKey}, func(context.Context, []string) (map[string]int64, error) {
			return map[string]int64{secretKey: 7}, nil
		})
		return err
	}},
	"GetOrSetValue": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.GetOrSetValue(ctx, secretKey, 7)
		return err
	}},
	"Set": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error { return c.Set(ctx, secretKey, 7) }},
	"SetMany": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: secretKey, Value: 7}})
		return err
	}},
	"SetIfAbsent": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.SetIfAbsent(ctx, secretKey, 7)
		return err
	}},
	"Delete": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.Delete(ctx, secretKey)
		return err
	}},
	"DeleteMany": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.DeleteMany(ctx, []string{secretKey})
		return err
	}},
	"Exists": {call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.Exists(ctx, secretKey)
		return err
	}},
	"ExistsMany": {call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.ExistsMany(ctx, []string{secretKey})
		return err
	}},
	"Clear": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Clear(ctx, ""); return err }},
	"Count": {call: func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.Count(ctx, ""); return err }},
	"Increment": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.Increment(ctx, secretKey, 1)
		return err
	}},
	"TTL": {call: func(ctx context.Context, c *tiered.Cache[int64]) error { _, err := c.TTL(ctx, secretKey); return err }},
	"Expire": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error {
		_, err := c.Expire(ctx, secretKey, time.Minute)
		return err
	}},
	"InvalidateTags": {changes: true, call: func(ctx context.Context, c *tiered.Cache[int64]) error { return c.InvalidateTags(ctx, secretTag) }},
}

// internalWords are names of steps that no caller has asked for, and words of libraries and scripts below.
var internalWords = []string{
	"remote: ", "floor", "lane", "lease", "lift", "raise", "claim", "acquire", "announce", "sweep", "release", "fill", "presence", "renew", "too many requests",
	"circuit", "DOPPIO-", "get-many", "set-many", "set-if-absent", "user_script", secretKey, secretTag, "%!",
}

func TestOpError_isTestedWithEveryMethod(t *testing.T) {
	t.Parallel()
	fails := reflect.TypeFor[error]()
	for m := range reflect.TypeFor[*tiered.Cache[int64]]().Methods() {
		last := m.Type.NumOut() - 1
		if _, ok := operations[m.Name]; !ok && last >= 0 && m.Type.Out(last) == fails {
			t.Errorf("no row for %s", m.Name)
		}
	}
}

// fault is what calls meet.
type fault struct {
	// client gives a client. strike is called when it has its caches, and gives the context of the calls.
	client func(t *testing.T) (c *tiered.Client, strike func() context.Context)
	kinds  []error              // the errors match these
	not    []error              // and none of these
	spares func(op string) bool // operations that do not fail; nil: those that load
	sent   bool                 // changes are sent: their outcome is unknown
	unsure bool                 // they may have been
}

func TestOpError_namesTheMethodAndTheCache(t *testing.T) {
	t.Parallel()
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, strike := f.client(t)
			caches := make(map[string]*tiered.Cache[int64])
			for op := range operations {
				caches[op] = newCache[int64](t, client, "of-"+op, tiered.CacheOptions{}) // so that none meets another's pending change
			}
			ctx := strike()
			var wg sync.WaitGroup
			for op, o := range operations {
				wg.Go(func() { f.judge(t, op, o.call(ctx, caches[op])) })
			}
			wg.Wait()
		})
	}
}

// judge looks at the error of an operation.
func (f *fault) judge(t *testing.T, op string, err error) {
	t.Logf("%s: %v", op, err)
	o := operations[op]
	if spared := o.loads; f.spares == nil && spared || f.spares != nil && f.spares(op) {
		if err != nil && !errors.Is(err, tiered.ErrNotFound) {
			t.Errorf("%s failed: %v", op, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%s: no error", op)
		return
	}
	for _, k := range f.kinds {
		if !errors.Is(err, k) {
			t.Errorf("%s: %v does not match %v", op, err, k)
		}
	}
	for _, k := range append([]error{tiered.ErrNotFound}, f.not...) {
		if errors.Is(err, k) {
			t.Errorf("%s: %v matches %v", op, err, k)
		}
	}
	unknown := errors.Is(err, tiered.ErrUnknownOutcome)
	if may, must := o.changes && (f.sent || f.unsure), o.changes && f.sent; unknown && !may || !unknown && must {
		t.Errorf("%s: %v: unknown outcome %t", op, err, unknown)
	}
	for _, e := range parts(err) {
		var named *tiered.OpError
		if !errors.As(e, &named) || named.Op != op || named.Cache != "of-"+op || !strings.HasPrefix(e.Error(), fmt.Sprintf("doppio: %s of cache %q: ", op, "of-"+op)) {
			t.Errorf("%s: %q (%T) names another operation or cache", op, e, e)
		}
		wantPlain(t, op, e)
	}
	wantPlain(t, op, err)
}

// parts are the errors of a batch's keys, or the error itself.
func parts(err error) []error {
	var batch *tiered.BatchError
	if !errors.As(err, &batch) {
		return []error{err}
	}
	return slices.Collect(maps.Values(batch.Failed))
}

// wantPlain looks for words that no caller has asked for, in an error and in what it wraps.
func wantPlain(t *testing.T, op string, err error) {
	for _, word := range internalWords {
		if strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q has %q in it", op, err, word)
		}
	}
	if n := strings.Count(err.Error(), "doppio: "); n > 1 {
		t.Errorf("%s: %q names the library %d times", op, err, n)
	}
	var cause *remote.Error
	if errors.As(err, &cause) && cause.Op != "" {
		t.Errorf("%s: %v is also of the operation %s", op, err, cause.Op)
	}
}

// refused gives a client whose server's port nobody listens to.
func refused(t *testing.T, o tiered.Options) *tiered.Client {
	p := redistest.NewProxy(t, shared.Addr)
	p.Refuse(true)
	return newClient(t, shared.Client(t, func(o *redis.Options) {
		o.Addr, o.MaxRetries, o.DialerRetries = p.Addr(), -1, 1
	}), o)
}

// hung gives a client with idle connections enough for all operations, and the proxy to its server. go-redis keeps
// connections for pipelines apart from others.
func hung(t *testing.T, o tiered.Options) (*tiered.Client, *redistest.Proxy) {
	const enough = 40
	p := redistest.NewProxy(t, shared.Addr)
	rdb := shared.Client(t, func(o *redis.Options) {
		o.Addr, o.MaxRetries, o.PoolSize, o.PipelinePoolSize = p.Addr(), -1, 4*enough, 2*enough
	})
	p.HoldReplies()
	var wg sync.WaitGroup
	for range enough {
		wg.Go(func() { failed(t, rdb.Ping(t.Context()).Err()) })
		wg.Go(func() {
			_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Ping(t.Context()); return nil })
			failed(t, err)
		})
	}
	eventually(t, "as many connections", func() bool { return p.Held() == 2*enough })
	p.ReleaseReplies()
	wg.Wait()
	return coherent(t, rdb, o), p
}

// failed is check for other goroutines than the test's.
func failed(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

const never = 1_000_000 // failures in a row

var faults = map[string]fault{
	"connection refused": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			return refused(t, tiered.Options{BreakerFailures: never, BreakerPause: time.Nanosecond}), calmly(t)
		},
		kinds: []error{tiered.ErrRemoteUnavailable},
	},
	"breaker open": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			c := refused(t, tiered.Options{BreakerFailures: 1, BreakerPause: time.Hour})
			return c, func() context.Context {
				_, err := newCache[int64](t, c, "first", tiered.CacheOptions{}).Get(t.Context(), secretKey)
				wantErr(t, err, tiered.ErrRemoteUnavailable)
				return t.Context()
			}
		},
		kinds: []error{tiered.ErrRemoteUnavailable},
	},
	"frozen server": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			c, p := hung(t, tiered.Options{BreakerFailures: never, RemoteTimeout: time.Second})
			return c, func() context.Context { p.BlackHole(true); return t.Context() }
		},
		kinds: []error{tiered.ErrRemoteUnavailable},
		sent:  true,
	},
	"short deadline": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			c, p := hung(t, tiered.Options{BreakerFailures: never})
			return c, func() context.Context {
				p.BlackHole(true)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				t.Cleanup(cancel)
				return ctx
			}
		},
		kinds:  []error{context.DeadlineExceeded},
		not:    []error{tiered.ErrRemoteUnavailable},
		spares: nobody,
		unsure: true, // a busy machine may need longer than that to send them
	},
	"ended context": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			return coherent(t, shared.Client(t), tiered.Options{}), func() context.Context {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return ctx
			}
		},
		kinds:  []error{context.Canceled},
		not:    []error{tiered.ErrRemoteUnavailable},
		spares: nobody,
	},
	"out of memory": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			server := redistest.Start(t)
			c := coherent(t, server.Client(t), tiered.Options{})
			return c, func() context.Context {
				check(t, server.Client(t).ConfigSet(t.Context(), "maxmemory", "1").Err())
				return t.Context()
			}
		},
		kinds: []error{tiered.ErrWriteRefused},
		not:   []error{tiered.ErrRemoteUnavailable},
		spares: func(op string) bool {
			return !slices.Contains([]string{"Set", "SetMany", "SetIfAbsent", "GetOrSetValue", "Increment"}, op)
		},
	},
	"replica": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			server := redistest.Start(t)
			host, port, err := net.SplitHostPort(shared.Addr)
			check(t, err)
			check(t, server.Client(t).ReplicaOf(t.Context(), host, port).Err())
			return newClient(t, server.Client(t), tiered.Options{}), calmly(t)
		},
		kinds: []error{tiered.ErrRemoteUnavailable},
	},
	"no permission": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			server := redistest.Start(t, redistest.WithACLUser("nobody", "s3cret", "~*", "&*", "-@all", "+@connection"))
			return newClient(t, server.ClientAs(t, "nobody", "s3cret"), tiered.Options{}), calmly(t)
		},
		kinds: []error{tiered.ErrAccessDenied},
		not:   []error{tiered.ErrRemoteUnavailable},
	},
	"closed client": {
		client: func(t *testing.T) (*tiered.Client, func() context.Context) {
			c := coherent(t, shared.Client(t), tiered.Options{})
			return c, func() context.Context { closeClient(t, c); return t.Context() }
		},
		kinds:  []error{tiered.ErrClosed},
		not:    []error{tiered.ErrRemoteUnavailable},
		spares: nobody,
	},
}

func nobody(string) bool { return false }

// calmly changes nothing before the calls.
func calmly(t *testing.T) func() context.Context {
	return func() context.Context { return t.Context() }
}

// An error that an entry or a key is to blame for names the method, too, and no step of it.
func TestOpError_namesTheMethodForFaultsOfEntries(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{})
	c := newCache[any](t, client, "c", tiered.CacheOptions{})
	ctx := t.Context()
	check(t, c.Set(ctx, "text", "text"))
	check(t, c.Set(ctx, "most", int64(1<<63-1)))
	increment := func(key string) error { _, err := c.Increment(ctx, key, 1); return err }
	_, get := c.Get(ctx, "")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, row := range []struct {
		err, kind error
		text      string
	}{
		{increment("text"), tiered.ErrNotNumeric, `doppio: Increment of cache "c": value is not an integer`},
		{increment("most"), tiered.ErrOverflow, `doppio: Increment of cache "c": increment overflows`},
		{get, tiered.ErrInvalidKey, `doppio: Get of cache "c": invalid key: has 0 bytes, must have 1 to 1024`},
		{newClient(t, shared.Client(t), tiered.Options{Disabled: true}).Ready(ended), context.Canceled, `doppio: Ready: context canceled`},
	} {
		if !errors.Is(row.err, row.kind) || row.err.Error() != row.text {
			t.Errorf("%v, want %s", row.err, row.text)
		}
	}
	if _, err := c.Get(ctx, "there is none"); err != tiered.ErrNotFound { //nolint:errorlint // it is returned as it is
		t.Errorf("%T %v", err, err)
	}
}

// A read that is turned away for a change that failed before says so without that change's steps, and has no outcome.
func TestOpError_ofAReadBehindAPendingChangeNamesNoStep(t *testing.T) {
	t.Parallel()
	client := refused(t, tiered.Options{BreakerFailures: never})
	for name, fail := range map[string]func(c *tiered.Cache[int64]) error{
		"Set":   func(c *tiered.Cache[int64]) error { return c.Set(t.Context(), secretKey, 1) },
		"Clear": func(c *tiered.Cache[int64]) error { _, err := c.Clear(t.Context(), ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache[int64](t, client, "of-"+name, tiered.CacheOptions{})
			wantErr(t, fail(c), tiered.ErrRemoteUnavailable)
			_, err := c.Get(t.Context(), secretKey)
			wantErr(t, err, tiered.ErrRemoteUnavailable)
			wantPlain(t, "Get", err)
			if !strings.Contains(err.Error(), "an invalidation of this entry could not be delivered yet") || errors.Is(err, tiered.ErrUnknownOutcome) {
				t.Error(err)
			}
		})
	}
}

// The log shows a failure behind a load in the same words as the error.
func TestLogger_showsFailuresInTheUsersTerms(t *testing.T) {
	t.Parallel()
	var lines logged
	client := refused(t, tiered.Options{BreakerFailures: never, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	c := newCache[int64](t, client, "c", tiered.CacheOptions{})
	_, err := c.GetOrSet(t.Context(), secretKey, constant(int64(7)))
	check(t, err)
	text := lines.String()
	if !strings.Contains(text, "behind a load") {
		t.Fatalf("nothing was logged: %s", text)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "behind a load") && strings.Contains(line, "remote: ") {
			t.Error(line)
		}
	}
}
