package tiered_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// fields gives what an error's OptionErrors are about.
func fields(err error) map[string]bool {
	out := make(map[string]bool)
	var collect func(error)
	collect = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				collect(e)
			}
			return
		}
		var fault *tiered.OptionError
		if errors.As(err, &fault) && fault.Reason != "" {
			out[fault.Field] = true
		}
	}
	collect(err)
	return out
}

// wantFaults requires that every fault of a struct is reported at once, by field, and that no field of the struct is
// forgotten here: each has a wrong value, or a reason to have none.
func wantFaults(t *testing.T, options any, err error, free ...string) {
	t.Helper()
	wantErr(t, err, tiered.ErrInvalidOptions)
	got := fields(err)
	for f := range reflect.TypeOf(options).Fields() {
		if reported, exempt := got[f.Name] || anyPrefix(got, f.Name+"."), contains(free, f.Name); reported == exempt {
			t.Errorf("field %s: reported %t, documented to take anything %t", f.Name, reported, exempt)
		}
	}
}

func anyPrefix(names map[string]bool, prefix string) bool {
	for n := range names {
		if strings.HasPrefix(n, prefix) {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	return strings.Contains(","+strings.Join(list, ",")+",", ","+s+",")
}

func TestOptions_reportsEveryFault(t *testing.T) {
	t.Parallel()
	o := tiered.Options{
		Namespace: "a:b", Local: local.Options{MaxEntries: -1, MaxBytes: -1, Engine: 99, Clock: func() int64 { return 0 }}, MaxStaleness: 1, WhenIncoherent: tiered.ServeStale(-1), Lanes: tiered.MaxLanes + 1, MaxPending: -1,
		RemoteTimeout: -1, RemoteReadTimeout: -1, MaxLoads: -1, BreakerFailures: -1, BreakerPause: -1, RetryBackoff: 1,
	}
	_, err := tiered.New(nil, o)
	wantFaults(t, o, err, "Disabled", "TracerProvider", "TraceLocalHits", "MeterProvider", "Logger", "Tracking", "OnStateChange")
	got := fields(err)
	for _, f := range []string{"rdb", "Local.MaxEntries", "Local.MaxBytes", "Local.Engine", "Local.Clock"} {
		if !got[f] {
			t.Errorf("%s is not reported", f)
		}
	}
	o.Disabled = true
	_, err = tiered.New(nil, o)
	wantErr(t, err, tiered.ErrInvalidOptions)
}

func TestCacheOptions_reportsEveryFault(t *testing.T) {
	t.Parallel()
	client := newClient(t, nil, tiered.Options{Disabled: true})
	o := tiered.CacheOptions{
		TTL: -1, LocalTTL: -1, FailSafe: -1, RefreshAhead: -1, SoftTimeout: -1, HardTimeout: -1, NegativeTTL: -1, Jitter: -1,
		Codec: tiered.Raw(), Compression: 99, CompressAbove: -1, Keyring: &tiered.Keyring{}, MaxValueBytes: -1, WhenIncoherent: tiered.ServeStale(-1),
	}
	_, err := tiered.NewCache[user](client, "a:b", o)
	wantFaults(t, o, err)
	got := fields(err)
	if !got["name"] {
		t.Error("the name is not reported")
	}
	for f := range got {
		if _, ok := reflect.TypeOf(o).FieldByName(f); !ok && f != "name" && !strings.HasPrefix(f, "Keyring") {
			t.Errorf("fault of %q, which is no field", f)
		}
	}
}

func TestConfig_reportsEveryFault(t *testing.T) {
	t.Parallel()
	c := tiered.Config{RedisUsername: "u", RedisDB: -1, SentinelMaster: "m", ClusterAddrs: []string{"no port"}}
	err := c.Validate()
	wantFaults(t, c, err, "Enabled", "RedisUsername", "RedisSSL", "SentinelAddrs", "SentinelUsername", "SentinelPassword")
	for _, open := range []error{second(tiered.Open(c)), second(c.NewRedis())} {
		if !reflect.DeepEqual(fields(open), fields(err)) {
			t.Errorf("%v, want what Validate says", open)
		}
	}
	if got := fields(tiered.Config{SentinelAddrs: []string{"no port"}}.Validate()); !got["SentinelAddrs[0]"] || !got["SentinelMaster"] {
		t.Errorf("got %v", got)
	}
}

func TestNewCache_refusesInvalidNames(t *testing.T) {
	t.Parallel()
	client := newClient(t, nil, tiered.Options{Disabled: true})
	for _, name := range []string{"", "a:b", "{a", "a}", "a*", "a?", "[a", "a]", `a\b`, strings.Repeat("x", tiered.MaxNameBytes+1)} {
		_, err := tiered.NewCache[string](client, name, tiered.CacheOptions{})
		if got := fields(err); !got["name"] {
			t.Errorf("cache name %q: %v", name, err)
		}
		if name == "" {
			continue // the default
		}
		_, err = tiered.New(nil, tiered.Options{Disabled: true, Namespace: name})
		if got := fields(err); !got["Namespace"] {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
	for _, name := range []string{"a", "a/b-c.d_e", "世界", strings.Repeat("x", tiered.MaxNameBytes)} {
		newCache[string](t, client, name, tiered.CacheOptions{})
	}
}

func TestNew_refusesNilAndRing(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{})
	t.Cleanup(func() { _ = ring.Close() })
	var none *redis.Client
	for name, rdb := range map[string]redis.UniversalClient{"nil": nil, "nil pointer": none, "ring": ring} {
		_, err := tiered.New(rdb, tiered.Options{})
		if got := fields(err); !got["rdb"] {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptions_zeroMeansTheDocumentedDefaults(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	client := coherent(t, shared.Client(t), tiered.Options{Namespace: ns})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", "v"))
	if left, err := c.TTL(t.Context(), "k"); err != nil || left > tiered.DefaultTTL || left < tiered.DefaultTTL-time.Minute {
		t.Errorf("TTL = %v, %v, want DefaultTTL", left, err)
	}
	if tiered.DefaultTTL != time.Hour || tiered.DefaultMaxStaleness != 2*time.Second || tiered.DefaultNamespace != "doppio" || tiered.MaxKeyBytes != 1024 {
		t.Error("a documented default has changed")
	}
	for policy, want := range map[tiered.Incoherence]string{{}: "gutter", tiered.Gutter: "gutter", tiered.Bypass: "bypass", tiered.ServeStale(time.Second): "serve-stale(1s)"} {
		if got := policy.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The longest MaxStaleness must not overflow into "never".
func TestMaxStaleness_mayBeTheLongestDuration(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{MaxStaleness: tiered.MaxMaxStaleness})
	if !client.Stats().Coherent {
		t.Error("not coherent")
	}
}
