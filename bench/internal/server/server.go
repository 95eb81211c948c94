package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// Kind says where a server comes from.
type Kind string

// The kinds of server.
const (
	Embedded   Kind = "embedded"   // in this process: nothing to install, and nothing to measure by
	Given      Kind = "given"      // the user's
	Standalone Kind = "standalone" // started for the run
	Cluster    Kind = "cluster"    // three masters, started for the run
)

// Kinds are all of them.
var Kinds = []Kind{Embedded, Given, Standalone, Cluster}

const (
	nodes   = 3 // of a Cluster that is started
	timeout = 5 * time.Second
)

// Errors of options and of what a server cannot be asked for.
var (
	ErrOptions = errors.New("server: invalid options")
	ErrNotOurs = errors.New("server: only what the run itself started can be paused, restarted or emptied")
)

// Options say which server.
type Options struct {
	Kind Kind
	// URL of a given one: see [NewClient]. Empty for the others.
	URL string
	// Log is told what a server that failed had to say. Defaults to nothing.
	Log io.Writer
}

func (o Options) validate() error {
	var faults []error
	if !slices.Contains(Kinds, o.Kind) {
		faults = append(faults, fmt.Errorf("%w: Kind %q is none of %v", ErrOptions, o.Kind, Kinds))
	}
	if o.Kind == Given {
		if err := CheckURL(o.URL); err != nil {
			faults = append(faults, fmt.Errorf("%w: URL: %w", ErrOptions, err))
		}
	} else if o.URL != "" {
		faults = append(faults, fmt.Errorf("%w: URL is for a given server, not for kind %q", ErrOptions, o.Kind))
	}
	return errors.Join(faults...)
}

// Server is a Redis for one run. Its methods are safe for concurrent use.
type Server struct {
	kind      Kind
	url       string
	version   string
	namespace string
	addrs     []string // of masters
	seeds     []string // by which the URL names them
	client    redis.UniversalClient
	host      *redistest.Owner
	started   []*redistest.Server // self-started nodes
	cluster   *redistest.Cluster  // nil unless self-started
	clock     *clock              // of an embedded one

	control sync.Mutex // one process is controlled at a time
	closing sync.Once
	closed  error // what the first Close gave
}

// Open starts or dials a server, which answers when Open returns.
func Open(ctx context.Context, o Options) (_ *Server, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	s := &Server{kind: o.Kind, url: o.URL, namespace: "doppio-run-" + strings.ToLower(rand.Text()[:10]), host: redistest.NewOwner(o.Log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("server: start %s: %w", o.Kind, err)
	}
	if err := s.dial(ctx); err != nil {
		return nil, fmt.Errorf("server: %s: %w", o.Kind, err)
	}
	return s, nil
}

// start starts what this run has to start.
func (s *Server) start() error {
	switch s.kind {
	case Embedded:
		m := miniredis.NewMiniRedis()
		if err := m.Start(); err != nil {
			return err
		}
		s.clock = startClock(m)
		s.url = "redis://" + m.Addr()
	case Standalone:
		err := s.host.Do(func() { s.started = []*redistest.Server{redistest.Start(s.host)} })
		if err != nil {
			return err
		}
		s.url = "redis://" + s.started[0].Addr
	case Cluster:
		if err := s.host.Do(func() { s.cluster = redistest.StartCluster(s.host, nodes) }); err != nil {
			return err
		}
		s.started = s.cluster.Nodes
		s.url = "redis+cluster://" + strings.Join(s.cluster.Addrs(), ",")
	}
	return nil
}

// dial makes the client, and learns what it speaks with.
func (s *Server) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := NewClient(s.url, func(o *redis.UniversalOptions) { s.seeds = slices.Clone(o.Addrs) })
	if err != nil {
		return err
	}
	s.client = client
	if err := client.Ping(ctx).Err(); err != nil {
		return err
	}
	err = s.eachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		s.addrs = append(s.addrs, node.Options().Addr)
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(s.addrs)
	if s.kind == Cluster { // in the order of the nodes
		s.addrs = s.cluster.Addrs()
	}
	if s.kind == Embedded {
		s.version = "miniredis"
		return nil
	}
	s.version, err = versionOf(ctx, client)
	return err
}

// eachMaster calls f for each node that holds keys, one after the other.
func (s *Server) eachMaster(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	var one sync.Mutex
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			one.Lock()
			defer one.Unlock()
			return f(ctx, node)
		})
	case *redis.Client:
		return f(ctx, c)
	default:
		return fmt.Errorf("server: a client of type %T", c)
	}
}

func versionOf(ctx context.Context, client redis.UniversalClient) (string, error) {
	text, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	fields := infoFields(text)
	if v := fields["valkey_version"]; v != "" {
		return "Valkey " + v, nil
	}
	return "Redis " + fields["redis_version"], nil
}

// Addrs are host:port of each node that holds keys.
func (s *Server) Addrs() []string { return slices.Clone(s.addrs) }

// URL is for [NewClient], in this process or another. It may hold a password: it is not to be shown.
func (s *Server) URL() string { return s.url }

// Version is what the server says it is: "Redis 7.0.15".
func (s *Server) Version() string { return s.version }

// Kind is where the server comes from.
func (s *Server) Kind() Kind { return s.kind }

// Name is for people. It holds no credentials.
func (s *Server) Name() string {
	switch {
	case s.kind == Embedded:
		return "embedded " + s.version
	case s.kind == Given && len(s.addrs) > 1:
		return fmt.Sprintf("%s, Cluster of %d at %s", s.version, len(s.addrs), s.seeds[0])
	case s.kind == Given:
		return fmt.Sprintf("%s at %s", s.version, s.seeds[0])
	case s.kind == Cluster:
		return fmt.Sprintf("%s, Cluster of %d", s.version, len(s.addrs))
	default:
		return "standalone " + s.version
	}
}

// Namespace is of this run alone. Close removes its keys from a given server.
func (s *Server) Namespace() string { return s.namespace }

// Client is for administration, and closed with the server.
func (s *Server) Client() redis.UniversalClient { return s.client }

// Close removes what this run left on a given server, and ends what it started. Closing again gives the same.
func (s *Server) Close() error {
	s.closing.Do(func() {
		if s.kind == Given {
			s.closed = s.removeKeys()
		}
		s.closed = errors.Join(s.closed, s.release())
	})
	return s.closed
}

func (s *Server) release() error {
	var err error
	if s.client != nil {
		err = s.client.Close()
	}
	if s.clock != nil {
		s.clock.stop()
	}
	if failure := s.host.Close(); failure != nil {
		err = errors.Join(err, failure)
	}
	return err
}

// removeKeys removes the keys of the run's namespace, also those that lanes have, whose names begin with a hash tag.
func (s *Server) removeKeys() error {
	ctx, cancel := context.WithTimeout(context.Background(), 12*timeout) // also when the run was interrupted
	defer cancel()
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		const page = 1000
		var cursor uint64
		for {
			keys, next, err := node.Scan(ctx, cursor, "*"+s.namespace+"*", page).Result()
			if err != nil {
				return err
			}
			_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, key := range keys {
					p.Unlink(ctx, key)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	if err != nil {
		return fmt.Errorf("server: removing the keys of %s: %w", s.namespace, err)
	}
	return nil
}
