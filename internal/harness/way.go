package harness

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

// Way is an instance's proxy to one server. Unlike redistest.Proxy it knows a subscription from
// other connections, and where a reply ends, so that it can lose one message and keep the
// connection: a real network loses none, but a Cluster's bus does, and a subscriber that stayed on
// a master which is none any more. A new mode holds at once, for all connections.
type Way struct {
	target   string
	raw      bool // it is not RESP that passes
	listener net.Listener
	wg       sync.WaitGroup
	lost     atomic.Int64 // messages

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed and replaced when mode changes
	links   map[*link]struct{}
	closed  bool
}

// Mode is how a way misbehaves.
type Mode struct {
	Which   Which
	Stall   bool          // bytes wait, both ways
	Swallow bool          // replies disappear
	Lose    float64       // the share of messages that disappear
	About   string        // of those that hold this, if anything
	Delay   time.Duration // of each reply, from when it came
	Apart   time.Duration // between replies: they pile up
}

// Which says which connections a mode is for.
type Which int

// The connections.
const (
	AllLinks Which = iota
	Subscriptions
	Commands // all but subscriptions
)

// String names the connections.
func (w Which) String() string { return [...]string{"all", "subscription", "commands"}[w] }

type link struct {
	way            *Way
	client, server net.Conn
	subscription   atomic.Bool
	hurt           atomic.Bool // stalled, has lost something, or is cut
}

// NewWay starts a way to target. If raw, it is not RESP that passes, but TLS or a Cluster's bus:
// bytes are passed on as they come.
func NewWay(target string, raw bool) (*Way, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("harness: a way: %w", err)
	}
	w := &Way{
		target: target, raw: raw, listener: l, changed: make(chan struct{}),
		links: map[*link]struct{}{},
	}
	w.wg.Go(w.accept)
	return w, nil
}

// Addr returns where it listens.
func (w *Way) Addr() string { return w.listener.Addr().String() }

// Lost returns how many messages have disappeared.
func (w *Way) Lost() int64 { return w.lost.Load() }

// Open returns how many connections there are.
func (w *Way) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.links)
}

// Set makes it misbehave; the zero Mode ends that.
func (w *Way) Set(m Mode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = m
	close(w.changed)
	w.changed = make(chan struct{})
}

// Cut resets the connections that a mode has hurt, and those that are all right, too, if all is
// set.
func (w *Way) Cut(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.links {
		if all {
			l.hurt.Store(true)
		}
		if l.hurt.Load() {
			l.close()
		}
	}
}

// Close ends all connections and waits for their goroutines.
func (w *Way) Close() {
	w.mu.Lock()
	w.closed = true
	w.listener.Close()
	for l := range w.links {
		l.close()
	}
	w.mu.Unlock()
	w.Set(Mode{})
	w.wg.Wait()
}

func (w *Way) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		w.wg.Go(func() { w.serve(client) })
	}
}

func (w *Way) serve(client net.Conn) {
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
	frames := make(chan frame, readAhead)
	pumps.Go(func() { l.read(frames) })
	pumps.Go(func() { l.down(frames) })
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

// current returns the mode of this link, and a channel that is closed when it changes.
func (l *link) current() (Mode, <-chan struct{}) {
	l.way.mu.Lock()
	defer l.way.mu.Unlock()
	m := l.way.mode
	subscription := l.subscription.Load()
	if l.way.closed || m.Which == Subscriptions && !subscription || m.Which == Commands && subscription {
		m = Mode{}
	}
	return m, l.way.changed
}

// wait returns when the link does not stall any more.
func (l *link) wait() Mode {
	for {
		m, changed := l.current()
		if !m.Stall {
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

// frame is a reply or a message, and when it came.
type frame struct {
	bytes []byte
	came  time.Time
}

// readAhead is how many frames are taken from a server while others wait to be passed on.
const readAhead = 256

// read reads the server's frames.
func (l *link) read(to chan<- frame) {
	defer close(to)
	r := bufio.NewReader(l.server)
	for {
		var bytes []byte
		var err error
		if l.way.raw {
			bytes, err = readSome(r)
		} else {
			bytes, err = readFrame(r, nil)
		}
		if err != nil {
			return
		}
		to <- frame{bytes, time.Now()}
	}
}

// down takes replies to the client, one at a time.
func (l *link) down(from <-chan frame) {
	defer func() {
		l.close()
		for range from { // it reads until the end that close made
		}
	}()
	for f := range from {
		m := l.wait()
		if m.Swallow {
			l.hurt.Store(true)
			continue
		}
		if l.subscription.Load() && m.loses(f.bytes) {
			l.way.lost.Add(1)
			continue
		}
		if late := max(time.Until(f.came.Add(m.Delay)), m.Apart); late > 0 {
			timer := time.NewTimer(late)
			<-timer.C
		}
		if _, err := l.client.Write(f.bytes); err != nil {
			return
		}
	}
	l.wait() // the end does not get through either
}

// loses reports whether a frame of a subscription disappears.
func (m Mode) loses(frame []byte) bool {
	const head = 24 // ends behind the type of a push
	return bytes.Contains(frame[:min(len(frame), head)], []byte("message\r\n")) &&
		bytes.Contains(frame, []byte(m.About)) && rand.Float64() < m.Lose
}

// readSome returns the bytes that are there, and waits for the first.
func readSome(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	buf := make([]byte, r.Buffered())
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
		return dst, fmt.Errorf("harness: no RESP: %q", line)
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

// Ways are an instance's ways to its servers, by their addresses.
type Ways map[string]*Way

// NewWays starts a way to each address: see [NewWay].
func NewWays(addrs []string, raw bool) (Ways, error) {
	ways := make(Ways)
	for _, addr := range addrs {
		if ways[addr] != nil {
			continue
		}
		w, err := NewWay(addr, raw)
		if err != nil {
			ways.Close()
			return nil, err
		}
		ways[addr] = w
	}
	return ways, nil
}

// Map returns the address to dial for each address of a server.
func (w Ways) Map() map[string]string {
	routes := make(map[string]string, len(w))
	for addr, way := range w {
		routes[addr] = way.Addr()
	}
	return routes
}

// Set makes all misbehave: see [Way.Set].
func (w Ways) Set(m Mode) {
	for _, way := range w {
		way.Set(m)
	}
}

// Cut resets connections of all: see [Way.Cut].
func (w Ways) Cut(all bool) {
	for _, way := range w {
		way.Cut(all)
	}
}

// Close ends all.
func (w Ways) Close() {
	for _, way := range w {
		way.Close()
	}
}
