package compare

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// counted is what the server was asked.
type counted struct {
	sent     float64 // by clients
	scripted float64 // by scripts that clients had it run
}

// monitorPatience is how long the server may take to say what it did.
const monitorPatience = 10 * time.Second

// count counts the commands that f makes the server run: INFO commandstats has them all, and MONITOR tells which of them
// scripts called, and which name another namespace than this one: instances of other subjects, which are idle but alive.
func (s *session) count(ctx context.Context, namespace string, f func() error) (counted, error) {
	conn, err := (&net.Dialer{Timeout: monitorPatience}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return counted{}, fmt.Errorf("monitor: %w", err)
	}
	lines := bufio.NewReader(conn)
	token := rand.Text()
	result := make(chan monitored, 1)
	if err := beginMonitor(conn, lines, monitorPatience); err != nil {
		return counted{}, errors.Join(err, conn.Close())
	}
	go func() {
		result <- readMonitor(lines, token, s.srv.Namespace(), namespace)
	}()
	all, err := s.countAll(ctx, f)
	if err == nil {
		err = s.srv.Client().Echo(ctx, token).Err()
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(monitorPatience))
	}
	if err != nil {
		err = errors.Join(err, conn.Close()) // ends the reader
		<-result
		return counted{}, err
	}
	n := <-result
	if n.err == nil {
		n.err = conn.Close()
	}
	return counted{sent: all - n.scripted - n.foreign, scripted: n.scripted - n.foreignScripted}, n.err
}

// beginMonitor asks for MONITOR, and returns when the server has agreed: from then on it tells of each command. How long it
// goes on is not limited.
func beginMonitor(conn net.Conn, lines *bufio.Reader, patience time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	reply, err := lines.ReadString('\n')
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if reply != "+OK\r\n" {
		return fmt.Errorf("%w: %s", errNoMonitor, strings.TrimSpace(reply))
	}
	return conn.SetDeadline(time.Time{})
}

var errNoMonitor = errors.New("monitor: the server refuses it")

// monitored is what MONITOR tells.
type monitored struct {
	scripted        float64 // all that scripts called
	foreign         float64 // sent for other namespaces
	foreignScripted float64 // called by their scripts
	err             error
}

// readMonitor reads lines until one holds token. All of the run's namespaces begin with run, and own is the one that counts.
func readMonitor(lines *bufio.Reader, token, run, own string) monitored {
	var m monitored
	foreign := false // what was sent last; what its script calls comes right behind it
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			m.err = fmt.Errorf("monitor: %w", err)
			return m
		}
		if strings.Contains(line, token) {
			return m
		}
		// +1339518083.107412 [0 lua] "get" "key"
		_, rest, _ := strings.Cut(line, "[")
		client, command, ok := strings.Cut(rest, "]")
		switch scripted := strings.HasSuffix(client, " lua"); {
		case !ok:
		case scripted:
			m.scripted++
			if foreign {
				m.foreignScripted++
			}
		default:
			if foreign = strings.Contains(command, run) && !strings.Contains(command, own); foreign {
				m.foreign++
			}
		}
	}
}

// countAll counts all commands, also those that f leaves to come a moment later.
func (s *session) countAll(ctx context.Context, f func() error) (float64, error) {
	const pause, looks = 5 * time.Millisecond, 100
	before, err := s.calls(ctx)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	last := -1.0
	for range looks {
		now, err := s.calls(ctx)
		if err != nil {
			return 0, err
		}
		if now == last {
			break
		}
		last = now
		if err := pass(ctx, pause); err != nil {
			return 0, err
		}
	}
	return last - before, nil
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
