package server

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// Nodes is how many processes can be paused and restarted: none unless the run started them.
func (s *Server) Nodes() int { return len(s.started) }

// Pause freezes a node: connections stay open, and nothing answers.
func (s *Server) Pause(node int) error {
	return s.controlled(node, "pause", func(n *redistest.Server) { n.Pause() })
}

// Resume undoes Pause.
func (s *Server) Resume(node int) error {
	return s.controlled(node, "resume", func(n *redistest.Server) { n.Resume() })
}

// Restart ends a node and starts it again, after a while, at the same address. It comes back empty, as nothing is written to disk, and a
// Cluster is whole again when Restart returns well. When ctx ends, the node is started all the same, but a Cluster is not waited
// for.
func (s *Server) Restart(ctx context.Context, node int, after time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.controlled(node, "restart", func(n *redistest.Server) {
		n.Kill() // as a crash does; also one that is paused
		harness.Sleep(ctx, after)
		n.Restart()
	})
	if err != nil || s.cluster == nil {
		return err
	}
	if err := s.cluster.AwaitHealthyUntil(ctx); err != nil {
		return fmt.Errorf("server: restart of node %d: %w", node, err)
	}
	return nil
}

func (s *Server) controlled(node int, what string, f func(*redistest.Server)) error {
	if len(s.started) == 0 {
		return fmt.Errorf("%w: %s of an %s server", ErrNotOurs, what, s.kind)
	}
	if node < 0 || node >= len(s.started) {
		return fmt.Errorf("server: %s: node %d, of %d", what, node, len(s.started))
	}
	s.control.Lock()
	defer s.control.Unlock()
	if err := s.host.Do(func() { f(s.started[node]) }); err != nil {
		return fmt.Errorf("server: %s of node %d: %w", what, node, err)
	}
	return nil
}

// FlushAll empties every node. A given server may hold what is not the run's, and is left alone.
func (s *Server) FlushAll(ctx context.Context) error {
	return s.EachNode(ctx, "FLUSHALL")
}

// EachNode sends a command to every node. A given server is left alone.
func (s *Server) EachNode(ctx context.Context, args ...any) error {
	if s.kind == Given {
		return fmt.Errorf("%w: %v to a given server", ErrNotOurs, args)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Do(ctx, args...).Err() })
	if err != nil {
		return fmt.Errorf("server: %v: %w", args, err)
	}
	return nil
}
