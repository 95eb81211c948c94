package topology

import (
	"reflect"

	"github.com/redis/go-redis/v9"
)

// client is the client of go-redis that another one is or wraps: at most one of the three.
type client struct {
	single  *redis.Client
	cluster *redis.ClusterClient
	ring    *redis.Ring
}

var (
	universal   = reflect.TypeFor[redis.UniversalClient]()
	singleType  = reflect.TypeFor[*redis.Client]()
	clusterType = reflect.TypeFor[*redis.ClusterClient]()
	ringType    = reflect.TypeFor[*redis.Ring]()
)

// maxDepth bounds how deep wrappers are looked into: one may hold itself.
const maxDepth = 32

// unwrap finds the client of go-redis in rdb: rdb itself, or what a struct embeds, whose methods
// are then the struct's, or the only client among a struct's fields. A client that shows none may
// still work; the server is asked about it.
func unwrap(rdb redis.UniversalClient) (client, error) {
	v := reflect.ValueOf(rdb)
	for depth := 0; depth < maxDepth; depth++ {
		for v.IsValid() && v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
			if depth == 0 {
				return client{}, &RefusedError{"must not be nil"}
			}
			return client{}, &RefusedError{"wraps a client that is nil"}
		}
		// The value may come from a field that is not exported, whose pointer may be read all the same.
		switch v.Type() {
		case singleType:
			return client{single: (*redis.Client)(v.UnsafePointer())}, nil
		case clusterType:
			return client{cluster: (*redis.ClusterClient)(v.UnsafePointer())}, nil
		case ringType:
			return client{ring: (*redis.Ring)(v.UnsafePointer())}, nil
		}
		next, ok := wrapped(v)
		if !ok {
			return client{}, nil
		}
		v = next
	}
	return client{}, nil
}

// wrapped gives the client that a struct, or what a pointer points to, embeds or holds.
func wrapped(v reflect.Value) (reflect.Value, bool) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	var held []reflect.Value
	for i := range v.NumField() {
		f, ok := asClient(v.Field(i))
		if !ok {
			continue
		}
		if v.Type().Field(i).Anonymous {
			return f, true // two would leave the struct without methods
		}
		held = append(held, f)
	}
	if len(held) != 1 {
		return reflect.Value{}, false
	}
	return held[0], true
}

// asClient gives a field's value if it is a client, or a pointer to it if that is one.
func asClient(f reflect.Value) (reflect.Value, bool) {
	switch {
	case f.Type().Implements(universal):
		return f, true
	case f.CanAddr() && reflect.PointerTo(f.Type()).Implements(universal):
		return f.Addr(), true
	case f.Kind() == reflect.Interface && !f.IsNil() && f.Elem().Type().Implements(universal):
		return f.Elem(), true
	}
	return reflect.Value{}, false
}

// check reports a client that reads elsewhere than where changes are made, or that cannot announce them.
func (c client) check() error {
	switch {
	case c.ring != nil:
		return &RefusedError{"a redis.Ring cannot announce changes to all instances; use a standalone, Sentinel or Cluster client"}
	case c.cluster != nil:
		if o := c.cluster.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return &RefusedError{"a Cluster client that reads from replicas serves what was invalidated; leave ReadOnly, ReplicaOnly, RouteByLatency and RouteRandomly off"}
		}
	case c.single != nil:
		if o := c.single.Options(); o.ClientSideCache != nil || o.ClientSideCacheConfig != nil {
			return &RefusedError{"go-redis's own client-side cache serves what was invalidated; leave ClientSideCache and ClientSideCacheConfig nil"}
		}
	}
	return nil
}

func (c client) database() int {
	if c.single != nil {
		return c.single.Options().DB
	}
	return 0
}

// asks reports whether the server has to be asked what it is. A node of a Cluster answers for the slots of which it is
// the master, and for no others. Where a function gives the slots, there need not be a Cluster: Sentinel's client for
// several nodes is made so.
func (c client) asks() bool { return c.cluster == nil || c.cluster.Options().ClusterSlots != nil }

// placed reports whether the type tells the database: what runs when a connection is made may choose another.
func (c client) placed() bool {
	switch {
	case c.single != nil:
		return c.single.Options().OnConnect == nil
	case c.cluster != nil:
		return c.cluster.Options().ClusterSlots == nil || c.cluster.Options().OnConnect == nil
	}
	return false
}
