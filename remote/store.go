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

// Store is the remote tier. It may be used by any number of goroutines.
type Store struct {
	rdb           redis.UniversalClient
	opts          Options
	servers       *topology.Topology
	routes        routes
	lanes         []lane.Names  // nil: nothing is announced
	stragglerWait time.Duration // how long the nodes of a Cluster wait for each other: see clusterWrite
	tracer        tracer
	clock         serverClock
	times         timeEstimates

	// Each store has pools of its own: a timer and a channel belong to the synctest bubble in which
	// they were made.
	waiters       sync.Pool
	timeoutTimers sync.Pool

	honorsDeadlines bool // calls may run in their caller's goroutine

	mu       sync.Mutex // guards closed, and the rise of inflight from zero
	closed   bool
	closing  chan struct{} // closed with it
	inflight sync.WaitGroup
}

// New returns a store over rdb, which the caller closes. It does not dial.
//
// It returns an error for a client that cannot work, also inside a type that embeds it. These are a
// *redis.Ring: a script publishes on the shard of its key, which the receivers do not subscribe to.
// A Cluster client that reads from replicas, and a client with go-redis's client-side cache: both
// may return values that were invalidated before. The error joins an *OptionError for every fault.
//
// The first call asks the server what it is. If it is a replica, or of another kind than the client
// is for, every call fails with an *OptionError for rdb.
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
		stragglerWait: defaultStragglerWait, rdb: patient.Bound(rdb, opts.Timeout), opts: opts, servers: servers, closing: make(chan struct{}),
	}
	if s.opts.Namespace != "" {
		s.lanes = make([]lane.Names, s.opts.Lanes)
		for i := range s.lanes {
			s.lanes[i] = servers.Lane(s.opts.Namespace, i)
		}
	}
	s.waiters.New, s.timeoutTimers.New = newWaiter, newTimeoutTimer
	s.honorsDeadlines = honorsDeadlines(rdb)
	s.tracer = newTracing(opts.TracerProvider)
	s.tracer.panics = opts.Panics
	s.routes = newRoutes(servers.Masters(), func(addr string) *breaker {
		return &breaker{node: addr, failures: s.opts.BreakerFailures, pause: s.opts.BreakerPause, logger: s.opts.Logger}
	})
	return s, nil
}

// clientFault returns the error for a client that is refused.
func clientFault(err error) error { return &OptionError{Field: "rdb", Reason: err.Error()} }

// Close refuses further calls and waits until those under way have ended, or ctx has; it may be
// called again to go on waiting. It does not close the Redis client.
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

func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inflight.Add(1)
	return true
}
