package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/internal/harness"
)

// Ways starts an instance's ways to all nodes. They are the caller's to close.
func (s *Server) Ways() (harness.Ways, error) {
	const secure = "rediss" // its bytes are encrypted
	return harness.NewWays(slices.Concat(s.addrs, s.seeds), strings.HasPrefix(s.url, secure))
}

// DialThrough is the dialer of an instance that reaches every node through its ways. A node without
// one is an error: an instance must not go around a fault.
func DialThrough(routes map[string]string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		through, ok := routes[addr]
		if !ok {
			return nil, fmt.Errorf("server: no way leads to %s", addr)
		}
		d := net.Dialer{Timeout: timeout}
		return d.DialContext(ctx, network, through)
	}
}
