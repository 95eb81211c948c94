package remote

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// faults are the fields that err complains of.
func faults(err error) map[string]bool {
	found := make(map[string]bool)
	var walk func(error)
	walk = func(err error) {
		if e, ok := err.(*OptionError); ok { //nolint:errorlint // each level is looked at
			found[e.Field] = e.Reason != ""
			return
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return found
}

// A field that is added later must not lack its default or its check.
func TestOptions_haveADefaultAndACheckEach(t *testing.T) {
	rdb := shared.Client(t)
	var all Options
	every := reflect.ValueOf(&all).Elem()
	completed := reflect.ValueOf(Options{}.withDefaults())
	checked := 0
	for i := range every.NumField() {
		name := every.Type().Field(i).Name
		switch name {
		case "Namespace", "TracerProvider", "Topology", "Panics": // nothing is what they default to
			continue
		}
		if completed.Field(i).IsZero() {
			t.Errorf("%s has no default", name)
		}
		if every.Field(i).Kind() != reflect.Int && every.Field(i).Type() != reflect.TypeFor[time.Duration]() {
			continue
		}
		var one Options
		reflect.ValueOf(&one).Elem().Field(i).SetInt(-1)
		every.Field(i).SetInt(-1)
		if _, err := New(rdb, one); !faults(err)[name] || len(faults(err)) != 1 {
			t.Errorf("%s of -1: %v", name, err)
		}
		checked++
	}
	_, err := New(nil, all)
	if got := faults(err); len(got) != checked+1 || !got["rdb"] {
		t.Errorf("not all faults are reported at once: %v", err)
	}
	set := Options{Timeout: 1, BatchSize: 2, ScanPage: 3, BreakerFailures: 4, BreakerPause: 5, Lanes: 6}
	if got := set.withDefaults(); got.Timeout != 1 || got.BatchSize != 2 || got.ScanPage != 3 || got.BreakerFailures != 4 || got.BreakerPause != 5 || got.Lanes != 6 {
		t.Errorf("defaults replaced what was set: %+v", got)
	}
}

func TestNew_refusesOptionsThatCannotWork(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": shared.Addr}})
	defer ring.Close()
	cluster := func(mutate func(*redis.ClusterOptions)) redis.UniversalClient {
		o := &redis.ClusterOptions{Addrs: []string{shared.Addr}}
		mutate(o)
		c := redis.NewClusterClient(o)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for name, rdb := range map[string]redis.UniversalClient{
		"nil":              nil,
		"nil client":       (*redis.Client)(nil),
		"nil cluster":      (*redis.ClusterClient)(nil),
		"nil ring":         (*redis.Ring)(nil),
		"ring":             ring,
		"reads replicas":   cluster(func(o *redis.ClusterOptions) { o.ReadOnly = true }),
		"routes by chance": cluster(func(o *redis.ClusterOptions) { o.RouteRandomly = true }),
		"routes by time":   cluster(func(o *redis.ClusterOptions) { o.RouteByLatency = true }),
	} {
		s, err := New(rdb, Options{})
		var fault *OptionError
		if s != nil || !errors.As(err, &fault) || fault.Field != "rdb" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for name, rdb := range map[string]redis.UniversalClient{"client": shared.Client(t), "cluster": cluster(func(*redis.ClusterOptions) {})} {
		if _, err := New(rdb, Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
