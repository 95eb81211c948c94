package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	firstPort = 11000
	lastPort  = 20999
	// busOffset is where a Cluster node listens for its peers unless told otherwise. Client ports end below the
	// first bus port, and both ranges end below 32768, where Linux begins to number outgoing connections.
	busOffset = 10000
)

// port is a reserved TCP port of 127.0.0.1 with its Cluster bus port.
//
// The mark is a bound UDP socket of the same number: other test processes that allocate here respect it, it stays
// while the server is stopped and restarted, and it goes when the process does, however it ends.
type port struct {
	number int
	mark   *net.UDPConn
}

func reservePort() (port, error) {
	for range 1000 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		mark, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n})
		if err != nil {
			continue
		}
		if tcpFree(n) && tcpFree(n+busOffset) {
			return port{number: n, mark: mark}, nil
		}
		_ = mark.Close()
	}
	return port{}, errors.New("no free port")
}

func tcpFree(n int) bool {
	l, err := net.Listen("tcp4", addr(n))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func (p port) addr() string { return addr(p.number) }

func (p port) release() error {
	if err := p.mark.Close(); err != nil {
		return fmt.Errorf("release port %d: %w", p.number, err)
	}
	return nil
}

func addr(n int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n)) }
