package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// Relay stands between one instance and all nodes of a server, and misbehaves on request. It passes bytes on as they are,
// so TLS goes through it too. Its methods are safe for concurrent use.
type Relay struct {
	host    *host
	routes  map[string]string
	proxies []*redistest.Proxy

	mu     sync.Mutex
	closed bool
}

// Relay makes one. It ends with the server at the latest.
func (s *Server) Relay() (*Relay, error) {
	r := &Relay{host: &host{log: s.host.log}, routes: make(map[string]string)}
	err := r.host.do(func() {
		for _, addr := range slices.Concat(s.addrs, s.seeds) {
			if _, ok := r.routes[addr]; ok {
				continue
			}
			p := redistest.NewProxy(r.host, addr)
			r.proxies = append(r.proxies, p)
			r.routes[addr] = p.Addr()
		}
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server: relay: %w", err), r.Close())
	}
	s.host.Cleanup(func() {
		if err := r.Close(); err != nil {
			s.host.fail(err)
		}
	})
	return r, nil
}

// Map is the address to dial for each address of a node: see [DialThrough].
func (r *Relay) Map() map[string]string {
	out := make(map[string]string, len(r.routes))
	for node, proxy := range r.routes {
		out[node] = proxy
	}
	return out
}

// DialThrough is the dialer of an instance that reaches every node through its relay. A node without one is an error: what
// a fault does must not be gone around.
func DialThrough(routes map[string]string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		through, ok := routes[addr]
		if !ok {
			return nil, fmt.Errorf("server: no relay leads to %s", addr)
		}
		return dialTCP(ctx, network, through)
	}
}

// CutAll resets every connection. New ones are accepted.
func (r *Relay) CutAll() {
	for _, p := range r.proxies {
		p.CutAll()
	}
}

// Refuse refuses new connections, or takes them again. Those that exist stay.
func (r *Relay) Refuse(on bool) error {
	return r.host.do(func() {
		for _, p := range r.proxies {
			p.Refuse(on)
		}
	})
}

// BlackHole makes all bytes disappear, both ways: a half-open path. What has lost bytes is cut when that ends.
func (r *Relay) BlackHole(on bool) {
	for _, p := range r.proxies {
		p.BlackHole(on)
	}
}

// SwallowReplies lets commands through and makes their replies disappear. What has lost some is cut when that ends.
func (r *Relay) SwallowReplies(on bool) {
	for _, p := range r.proxies {
		p.SwallowReplies(on)
	}
}

// Delay keeps whatever the server sends back for d; 0 ends it.
func (r *Relay) Delay(d time.Duration) {
	for _, p := range r.proxies {
		p.Delay(d)
	}
}

// Connections is how many are open.
func (r *Relay) Connections() int {
	n := 0
	for _, p := range r.proxies {
		n += p.Connections()
	}
	return n
}

// Close ends everything that goes through. Closing again does nothing.
func (r *Relay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.host.close()
}
