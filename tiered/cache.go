package tiered

import (
	"fmt"
	"reflect"

	"github.com/doppio-cache/doppio/internal/codec"
	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/flight"
	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// Cache is a typed view of a client's two tiers under a name of its own. It may be used by any
// number of goroutines.
type Cache[V any] struct {
	shared   *shared[V]
	defaults settings
	after    []coherence.Position // what reads must see: see After
}

// shared is what all handles of one cache name have in common.
type shared[V any] struct {
	client    *Client
	name      string
	prefix    string // namespace:name:, before each key in the remote tier
	tagPrefix string // before each tag in the remote tier; no entry's key begins with it
	seed      uint64 // of the hashes of keys
	tagSeed   uint64
	scope     *local.Scope
	validity  *coherence.Cache // of its local copies; nil with Options.Disabled
	policy    Incoherence
	codec     *codec.Typed[V]
	bounds    *remote.Bounds // of numbers, where V is narrower than int64
	numeric   bool
	flights   flight.Group[callInfo[V], result[V]]
	recent    missRate
	counts    counters
	failures  failureLog
}

// NewCache gives the cache of that name. A name may be used again with the same type and codec, and
// other defaults; with another type or codec it is an error. A name may not hold any of : { } * ? [
// ] \ and is at most MaxNameBytes long.
func NewCache[V any](c *Client, name string, opts CacheOptions) (cache *Cache[V], err error) {
	if opts.Codec != nil {
		defer func() {
			if recover() != nil { // of its ID or its Name
				cache, err = nil, &OptionError{Field: "Codec", Reason: "panicked"}
			}
		}()
	}
	opts = opts.withDefaults(c.defaultTTL, c.opts.WhenIncoherent)
	var f faults
	f.name("name", name)
	f.check(name != coherence.NewestFloor, "name", "%q is the library's own", name)
	if err := opts.validate(); err != nil {
		f = append(f, err)
	}
	values, err := codec.New[V](opts.codecOptions())
	if err != nil {
		f = append(f, codecFaults(err))
	}
	if err := f.err(); err != nil {
		return nil, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, ErrClosed
	}
	valueType := reflect.TypeFor[V]()
	if r := c.caches[name]; r != nil {
		s, same := r.shared.(*shared[V])
		if !same || r.codec != values.Name() {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with type %v and codec %s, not %v and %s",
				name, r.valueType, r.codec, valueType, values.Name())}
		}
		if !sameEncoding(r.encoding, opts.codecOptions()) {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with another Codec, Compression, CompressAbove, Keyring or MaxValueBytes", name)}
		}
		if s.policy != opts.WhenIncoherent {
			return nil, &OptionError{Field: "name", Reason: fmt.Sprintf("%q is in use with another WhenIncoherent, %v", name, s.policy)}
		}
		return &Cache[V]{shared: s, defaults: opts.settings()}, nil
	}
	s := newShared(c, name, values)
	s.policy = opts.WhenIncoherent
	c.caches[name] = &registration{valueType: valueType, codec: values.Name(), encoding: opts.codecOptions(), shared: s, stats: s.stats}
	return &Cache[V]{shared: s, defaults: opts.settings()}, nil
}

func newShared[V any](c *Client, name string, values *codec.Typed[V]) *shared[V] {
	ns := c.opts.Namespace
	s := &shared[V]{
		client: c, name: name, prefix: ns + ":" + name + ":", tagPrefix: ns + "::tag:" + name + ":",
		codec: values,
	}
	s.failures.log = c.opts.Logger
	s.seed, s.tagSeed = coherence.Seed(ns, name), keyhash.Seed(s.tagPrefix)
	s.flights.Ended = func(f *call[V]) { f.Info.view.End() }
	numeric, lowest, highest, bounded := values.Numeric()
	s.numeric = numeric
	if bounded {
		s.bounds = &remote.Bounds{Min: lowest, Max: highest}
	}
	if !c.opts.Disabled {
		s.scope = c.local.NewScope()
		s.validity = c.co.Cache(name)
		s.validity.InspectBy(s.inspect)
	}
	return s
}

// Name is the cache's name.
func (c *Cache[V]) Name() string { return c.shared.name }

func (s *shared[V]) hash(key string) uint64 { return keyhash.Sum(s.seed, key) }

// checkKey refuses bad keys and closed clients. It is asked off the hot path only: such a key is
// never stored, so it never hits.
func (s *shared[V]) checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: has %d bytes, must have 1 to %d", ErrInvalidKey, len(key), MaxKeyBytes)
	}
	if s.client.isClosed() {
		return ErrClosed
	}
	return nil
}
