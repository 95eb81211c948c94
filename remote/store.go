package remote

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/patient"
)

// Store is the far tier. It may be used by any number of goroutines.
type Store struct {
	rdb     redis.UniversalClient
	opts    Options
	masters masterWalker // nil where one server holds all keys
	lanes   []lane.Names // nil where nothing is announced
	only    *breaker     // of the one server
	nodes   *nodes       // of a Cluster; nil where one server holds all keys
	tracer  tracing
	clock   clock
	servers serverTimes

	// waits and alarms are kept for each store, not for all: a timer and a channel belong to the synctest bubble that they were made in.
	waits  sync.Pool
	alarms sync.Pool

	heedsDeadlines bool // calls may stay in their caller's goroutine

	mu       sync.Mutex // guards closed, and inflight's rise from zero
	closed   bool
	inflight sync.WaitGroup
}

// masterWalker is what a client of several masters offers.
type masterWalker interface {
	ForEachMaster(ctx context.Context, fn func(ctx context.Context, master *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
}

// New makes a store over rdb, which stays the caller's to close. It does not dial.
//
// A *redis.Ring is refused: a script publishes on the shard of its key, where subscribers do not listen. So is a
// Cluster client that reads from replicas: what one of them still holds may have been invalidated before. All faults
// are reported at once, each as an *OptionError.
func New(rdb redis.UniversalClient, opts Options) (*Store, error) {
	if err := errors.Join(validateClient(rdb), opts.validate()); err != nil {
		return nil, err
	}
	s := &Store{opts: opts.withDefaults()}
	s.rdb = patient.Bound(rdb, s.opts.Timeout)
	s.masters, _ = rdb.(masterWalker)
	if s.opts.Namespace != "" {
		s.lanes = make([]lane.Names, s.opts.Lanes)
		for i := range s.lanes {
			s.lanes[i] = lane.Of(s.opts.Namespace, i).In(lane.Database(rdb))
		}
	}
	s.waits.New, s.alarms.New = newWait, newAlarm
	s.heedsDeadlines = heedsDeadlines(rdb)
	s.tracer = newTracing(opts.TracerProvider)
	fresh := func(addr string) *breaker {
		return &breaker{node: addr, failures: s.opts.BreakerFailures, pause: s.opts.BreakerPause, log: s.opts.Logger}
	}
	if s.masters == nil {
		s.only = fresh("")
	} else {
		s.nodes = &nodes{find: s.masters, fresh: fresh, lost: fresh(""), byAddr: make(map[string]*breaker)}
	}
	return s, nil
}

func validateClient(rdb redis.UniversalClient) error {
	fault := func(reason string) error { return &OptionError{Field: "rdb", Reason: reason} }
	if v := reflect.ValueOf(rdb); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return fault("must not be nil")
	}
	switch c := rdb.(type) {
	case *redis.Ring:
		return fault("a redis.Ring cannot announce changes to all instances; use a standalone, Sentinel or Cluster client")
	case *redis.ClusterClient:
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return fault("a Cluster client that reads from replicas serves what was invalidated; leave ReadOnly, RouteByLatency and RouteRandomly off")
		}
	}
	return nil
}

// OneStep tells whether a change and its announcement are one step, as they are on one server; on a Cluster one may be made
// without the other.
func (s *Store) OneStep() bool { return s.masters == nil }

// BreakerOpen tells whether calls fail at once because the last ones met an outage: on a Cluster, those to one node or
// more.
func (s *Store) BreakerOpen() bool {
	if s.nodes == nil {
		return s.only.isOpen()
	}
	return s.nodes.anyOpen()
}

// Close refuses further calls and waits for those under way, or for ctx; it may be called again to wait on.
// The Redis client is left open.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.inflight.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inflight.Add(1)
	return true
}
