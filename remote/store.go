package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/patient"
	"github.com/doppio-cache/doppio/internal/topology"
)

// Store is the far tier. It may be used by any number of goroutines.
type Store struct {
	rdb       redis.UniversalClient
	opts      Options
	masters   topology.Masters // nil where one server holds all keys
	servers   *topology.Topology
	lanes     []lane.Names  // nil where nothing is announced
	only      *breaker      // of the one server
	nodes     *nodes        // of a Cluster; nil where one server holds all keys
	straggler time.Duration // how long a Cluster's nodes wait for each other: see round
	tracer    tracing
	clock     clock
	times     serverTimes

	// waits and alarms are kept for each store, not for all: a timer and a channel belong to the synctest bubble that they were made in.
	waits  sync.Pool
	alarms sync.Pool

	heedsDeadlines bool // calls may stay in their caller's goroutine

	mu       sync.Mutex // guards closed, and inflight's rise from zero
	closed   bool
	closing  chan struct{} // closed with it
	inflight sync.WaitGroup
}

// New makes a store over rdb, which stays the caller's to close. It does not dial.
//
// A client that cannot be made to work is refused, be it itself or inside a type that embeds it. A *redis.Ring: a script
// publishes on the shard of its key, where subscribers do not listen. A Cluster client that reads from replicas, and a
// client with go-redis's client-side cache: what either still holds may have been invalidated before. All faults are
// reported at once, each as an *OptionError. What only the server can tell is asked at the first call: where it is a
// replica, or another kind of server than the client is for, every call fails with an *OptionError for rdb.
func New(rdb redis.UniversalClient, opts Options) (*Store, error) {
	wrong := opts.validate()
	opts = opts.withDefaults()
	servers := opts.Topology
	if servers == nil {
		var err error
		if servers, err = topology.Of(rdb, opts.Namespace, opts.Timeout); err != nil {
			wrong = errors.Join(clientFault(err), wrong)
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	s := &Store{
		straggler: defaultStraggler, rdb: patient.Bound(rdb, opts.Timeout), opts: opts, servers: servers, masters: servers.Masters(), closing: make(chan struct{}),
	}
	if s.opts.Namespace != "" {
		s.lanes = make([]lane.Names, s.opts.Lanes)
		for i := range s.lanes {
			s.lanes[i] = lane.Of(s.opts.Namespace, i).In(servers.Database())
		}
	}
	s.waits.New, s.alarms.New = newWait, newAlarm
	s.heedsDeadlines = heedsDeadlines(rdb)
	s.tracer = newTracing(opts.TracerProvider)
	s.tracer.panics = opts.Panics
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

// clientFault says of a client that it was refused.
func clientFault(err error) error { return &OptionError{Field: "rdb", Reason: err.Error()} }

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
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
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
