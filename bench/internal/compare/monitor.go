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

// count counts the commands that f makes the server run, between two marks that MONITOR shows among them. Commands that name
// another namespace of this run are left out: the instances of other subjects are idle but alive.
func (s *session) count(ctx context.Context, namespace string, f func() error) (counted, error) {
	conn, err := (&net.Dialer{Timeout: monitorPatience}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return counted{}, fmt.Errorf("monitor: %w", err)
	}
	lines := bufio.NewReader(conn)
	begin, end := rand.Text(), rand.Text()
	result := make(chan monitored, 1)
	if err := beginMonitor(conn, lines, monitorPatience); err != nil {
		return counted{}, errors.Join(err, conn.Close())
	}
	go func() {
		result <- readMonitor(lines, begin, end, s.srv.Namespace(), namespace)
	}()
	mark := func(token string) error { return s.srv.Client().Echo(ctx, token).Err() }
	if err = mark(begin); err == nil {
		err = f()
	}
	if err == nil {
		err = s.quiet(ctx)
	}
	if err == nil {
		err = mark(end)
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
	return n.counted, n.err
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

// monitored is what MONITOR shows between the marks, or why it shows no end.
type monitored struct {
	counted
	err error
}

// readMonitor counts the lines between the one that holds begin and the one that holds end. All of the run's namespaces begin
// with run, and own is the one that counts. The samples of quiet are not counted.
func readMonitor(lines *bufio.Reader, begin, end, run, own string) monitored {
	var m monitored
	begun := false
	ours := false // the last command that a client sent; the commands of its script follow it at once
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			m.err = fmt.Errorf("monitor: %w", err)
			return m
		}
		if strings.Contains(line, end) {
			return m
		}
		if !begun {
			begun = strings.Contains(line, begin)
			continue
		}
		// +1339518083.107412 [0 lua] "get" "key"
		_, rest, _ := strings.Cut(line, "[")
		client, command, ok := strings.Cut(rest, "]")
		switch scripted := strings.HasSuffix(client, " lua"); {
		case !ok:
		case scripted && ours:
			m.scripted++
		case scripted:
		default:
			foreign := strings.Contains(command, run) && !strings.Contains(command, own)
			if ours = !foreign && !strings.HasPrefix(command, ` "info" "all"`); ours {
				m.sent++
			}
		}
	}
}

// quiet waits until the server runs no more commands, for instances send some a moment after an operation has returned.
func (s *session) quiet(ctx context.Context) error {
	const pause, looks = 5 * time.Millisecond, 100
	last := -1.0
	for range looks {
		now, err := s.calls(ctx)
		if err != nil {
			return err
		}
		if now == last {
			break
		}
		last = now
		if err := pass(ctx, pause); err != nil {
			return err
		}
	}
	return nil
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
