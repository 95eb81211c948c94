//go:build linux

package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// way is an instance's proxy to one server. Unlike redistest.Proxy it knows a subscription from other connections, and where
// a reply ends, so that it can lose one message and keep the connection: a real network loses none, but a Cluster's
// bus does, and a subscriber that stayed on a master which is none any more. What it is told holds at once, for all connections.
type way struct {
	target   string
	raw      bool // it is not RESP that passes
	listener net.Listener
	wg       sync.WaitGroup
	lost     atomic.Int64 // messages

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed and replaced when mode changes
	links   map[*link]struct{}
	closed  bool
}

// mode is what happens to what.
type mode struct {
	which   which
	stall   bool          // bytes wait, both ways
	swallow bool          // replies disappear
	lose    float64       // the share of messages that disappear
	about   string        // of those that hold this, if anything
	delay   time.Duration // of replies
}

// which connections a mode is for.
type which int

const (
	allLinks which = iota
	subscriptions
	others
)

func (w which) String() string { return [...]string{"all", "subscription", "commands"}[w] }

type link struct {
	way            *way
	client, server net.Conn
	subscription   atomic.Bool
	hurt           atomic.Bool // stalled, or has lost something
}

func newWay(target string, raw bool) (*way, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &way{target: target, raw: raw, listener: l, changed: make(chan struct{}), links: map[*link]struct{}{}}
	w.wg.Go(w.accept)
	return w, nil
}

func (w *way) addr() string { return w.listener.Addr().String() }

// open is how many connections there are.
func (w *way) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.links)
}

func (w *way) set(m mode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = m
	close(w.changed)
	w.changed = make(chan struct{})
}

// cut ends the connections that a mode has hurt, and those that are all right, too, if all is set.
func (w *way) cut(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.links {
		if all || l.hurt.Load() {
			l.close()
		}
	}
}

func (w *way) close() {
	w.mu.Lock()
	w.closed = true
	w.listener.Close()
	for l := range w.links {
		l.close()
	}
	w.mu.Unlock()
	w.set(mode{})
	w.wg.Wait()
}

func (w *way) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		w.wg.Go(func() { w.serve(client) })
	}
}

func (w *way) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp4", w.target, time.Second)
	if err != nil {
		client.Close()
		return
	}
	l := &link{way: w, client: client, server: server}
	defer l.close()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.links[l] = struct{}{}
	w.mu.Unlock()
	var pumps sync.WaitGroup
	pumps.Go(l.up)
	pumps.Go(l.down)
	pumps.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.links, l)
}

func (l *link) close() {
	if c, ok := l.client.(*net.TCPConn); ok && l.hurt.Load() {
		_ = c.SetLinger(0) // if it fails, the client sees an ordinary end
	}
	l.client.Close()
	l.server.Close()
}

// current gives what holds for this link, and what is closed when that changes.
func (l *link) current() (mode, <-chan struct{}) {
	l.way.mu.Lock()
	defer l.way.mu.Unlock()
	m := l.way.mode
	if l.way.closed || m.which == subscriptions && !l.subscription.Load() || m.which == others && l.subscription.Load() {
		m = mode{}
	}
	return m, l.way.changed
}

// wait returns when the link does not stall any more.
func (l *link) wait() mode {
	for {
		m, changed := l.current()
		if !m.stall {
			return m
		}
		l.hurt.Store(true)
		<-changed
	}
}

// up takes commands to the server.
func (l *link) up() {
	defer l.close()
	buf := make([]byte, 16<<10)
	for {
		n, err := l.client.Read(buf)
		if n > 0 {
			if bytes.Contains(bytes.ToLower(buf[:n]), []byte("subscribe\r\n")) {
				l.subscription.Store(true)
			}
			l.wait()
			if _, err := l.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			l.wait() // the end does not get through either
			return
		}
	}
}

// down takes replies to the client, one at a time.
func (l *link) down() {
	defer l.close()
	r := bufio.NewReader(l.server)
	var frame []byte
	for {
		var err error
		if l.way.raw {
			frame, err = readSome(r, frame)
		} else {
			frame, err = readFrame(r, frame[:0])
		}
		if err != nil {
			l.wait() // the end does not get through either
			return
		}
		m := l.wait()
		if m.swallow {
			l.hurt.Store(true)
			continue
		}
		if l.subscription.Load() && m.loses(frame) {
			l.way.lost.Add(1)
			continue
		}
		if m.delay > 0 {
			timer := time.NewTimer(m.delay)
			<-timer.C
		}
		if _, err := l.client.Write(frame); err != nil {
			return
		}
	}
}

// loses tells whether a frame of a subscription disappears.
func (m mode) loses(frame []byte) bool {
	const head = 24 // ends behind the type of a push
	return bytes.Contains(frame[:min(len(frame), head)], []byte("message\r\n")) && bytes.Contains(frame, []byte(m.about)) && rand.Float64() < m.lose
}

// readSome gives what there is, but waits for a byte.
func readSome(r *bufio.Reader, buf []byte) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	buf = append(buf[:0], make([]byte, r.Buffered())...)
	_, err := io.ReadFull(r, buf)
	return buf, err
}

// readFrame appends the next reply or push of RESP, versions 2 and 3, to dst.
func readFrame(r *bufio.Reader, dst []byte) ([]byte, error) {
	begin := len(dst)
	for { // a line, which may be longer than the buffer
		part, err := r.ReadSlice('\n')
		dst = append(dst, part...)
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull { //nolint:errorlint // ReadSlice returns it as it is
			return dst, err
		}
	}
	line := dst[begin:]
	kind, count := line[0], bytes.TrimSuffix(line[1:], []byte("\r\n"))
	switch kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return dst, nil
	case '$', '=', '!', '*', '%', '~', '>', '|':
	default:
		return dst, fmt.Errorf("attack: no RESP: %q", line)
	}
	n, err := strconv.Atoi(string(count))
	if err != nil || n < 0 { // -1 is null
		return dst, err
	}
	switch kind {
	case '$', '=', '!':
		at := len(dst)
		dst = append(dst, make([]byte, n+2)...)
		_, err := io.ReadFull(r, dst[at:])
		return dst, err
	case '%', '|':
		n *= 2
	}
	if kind == '|' {
		n++ // attributes come before what they are of
	}
	for range n {
		if dst, err = readFrame(r, dst); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
