package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
	"sync/atomic"
	"time"
)

// Source is the slow truth behind the cache: a version per key that only rises. It lives in the parent and
// answers instances over a Unix socket.
type Source struct {
	listener net.Listener
	store    *Store
	serving  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
	err    error                 // guarded by mu; why accepting ended before close
}

// Store is what net/rpc exports of the source.
type Store struct {
	versions []atomic.Uint64 // by slot
	latency  time.Duration
	loads    atomic.Int64
	updates  atomic.Int64
}

// Load answers with the version of a key, after the source's latency. It looks halfway: what a loader gets is
// already old when it arrives, as with any database.
func (s *Store) Load(slot uint32, version *uint64) error {
	s.loads.Add(1)
	time.Sleep(s.latency / 2)
	if int(slot) >= len(s.versions) {
		return fmt.Errorf("no key of slot %d", slot)
	}
	*version = s.versions[slot].Load()
	time.Sleep(s.latency - s.latency/2)
	return nil
}

// Update commits a new version of a key and answers with it.
func (s *Store) Update(slot uint32, version *uint64) error {
	if int(slot) >= len(s.versions) {
		return fmt.Errorf("no key of slot %d", slot)
	}
	s.updates.Add(1)
	*version = s.versions[slot].Add(1)
	return nil
}

// ServeSource starts a source that listens on a Unix socket and holds so many keys, all of version 1.
func ServeSource(socket string, slots int, latency time.Duration) (*Source, error) {
	store := &Store{versions: make([]atomic.Uint64, slots), latency: latency}
	for i := range store.versions {
		store.versions[i].Store(1)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Source", store); err != nil {
		return nil, fmt.Errorf("instance: source: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("instance: source: %w", err)
	}
	s := &Source{listener: listener, store: store, conns: map[net.Conn]struct{}{}}
	s.serving.Go(func() { s.accept(server) })
	return s, nil
}

// Loads is how many loads were asked for.
func (s *Source) Loads() int64 { return s.store.loads.Load() }

// Updates is how many versions were committed.
func (s *Source) Updates() int64 { return s.store.updates.Load() }

func (s *Source) accept(server *rpc.Server) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			s.mu.Lock()
			if !s.closed {
				s.err = fmt.Errorf("instance: source: %w", err)
			}
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close() // nobody has used it
			continue
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() {
			server.ServeConn(conn) // returns when the connection is closed and its calls are done
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// Close ends all connections and waits for the calls on them.
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	err := errors.Join(s.err, s.listener.Close())
	for conn := range s.conns {
		_ = conn.Close() // ServeConn closes it too; whichever is second fails
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

// SourceClient is an instance's way to the source.
type SourceClient struct{ rpc *rpc.Client }

// DialSource connects to a source.
func DialSource(socket string) (*SourceClient, error) {
	client, err := rpc.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("instance: source: %w", err)
	}
	return &SourceClient{rpc: client}, nil
}

// Load gives the version of a key, after the source's latency.
func (c *SourceClient) Load(ctx context.Context, slot uint32) (uint64, error) {
	return c.call(ctx, "Source.Load", slot)
}

// Update commits a new version of a key and gives it.
func (c *SourceClient) Update(ctx context.Context, slot uint32) (uint64, error) {
	return c.call(ctx, "Source.Update", slot)
}

func (c *SourceClient) call(ctx context.Context, method string, slot uint32) (uint64, error) {
	version := new(uint64) // not read if the call outlives ctx
	call := c.rpc.Go(method, slot, version, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			return 0, fmt.Errorf("instance: %s: %w", method, call.Error)
		}
		return *version, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Close ends the connection.
func (c *SourceClient) Close() error { return c.rpc.Close() }
