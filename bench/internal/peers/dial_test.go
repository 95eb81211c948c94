package peers

import (
	"context"
	"maps"
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"
)

// clientOf gives the go-redis client of a subject, or nil.
func clientOf(cache Cache[Account]) *redis.Client {
	switch c := cache.(type) {
	case *doppio[Account]:
		return c.rdb
	case *sturdycCache[Account]:
		return c.storage.rdb
	case *goRedisCache[Account]:
		return c.rdb
	case *remote[Account]:
		return c.rdb
	case *byHand[Account]:
		return c.remote.rdb
	default:
		return nil
	}
}

// plain are the options that can be compared: numbers, texts and switches.
func plain(o *redis.Options) map[string]any {
	fields := make(map[string]any)
	v := reflect.ValueOf(*o)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Type.Comparable() && f.Type.Kind() != reflect.Interface && f.Type.Kind() != reflect.Pointer {
			fields[f.Name] = v.Field(i).Interface()
		}
	}
	return fields
}

func TestAllWhoGoOverGoRedisHaveTheSameClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const want = 7 // doppio twice, sturdyc, go-redis/cache, go-redis twice, by hand
	clients, first := 0, map[string]any(nil)
	for _, s := range All[Account]() {
		if !s.Remote {
			continue
		}
		cache, err := s.Open(ctx, config(s.Local))
		check(t, err)
		t.Cleanup(func() { check(t, cache.Close()) })
		rdb := clientOf(cache)
		if rdb == nil {
			continue
		}
		clients++
		options := plain(rdb.Options())
		if first == nil {
			first = options
		}
		if !maps.Equal(options, first) {
			t.Errorf("%s: a client of %v, and the first has %v", s.Info.Name, options, first)
		}
		if o := rdb.Options(); !o.ContextTimeoutEnabled || o.MaxRetries != 1 || o.DialerRetries != 1 {
			t.Errorf("%s: a client of other options than doppio's README advises: %+v", s.Info.Name, o)
		}
	}
	if clients != want {
		t.Errorf("%d clients were compared, want %d", clients, want)
	}
}
