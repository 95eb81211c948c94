package redistest

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy stands between clients and one server and misbehaves when told to. What it does changes at once, for
// connections that exist and for new ones; its methods are safe for concurrent use.
//
// A connection that has lost bytes can never be right again: it carries nothing more and is closed when the loss is
// switched off, as TCP would have done. A client therefore never pairs a reply with another's command.
type Proxy struct {
	host   Host
	target string
	port   port

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever a field below changes
	mode     mode
	delay    time.Duration
	listener net.Listener // nil while refusing
	links    map[*link]struct{}
	traps    []*Trap
	accepted int
	closed   bool

	wg sync.WaitGroup // the accept loop and all pumps
}

// mode is what happens to bytes.
type mode struct {
	swallowReplies bool
	holdReplies    bool
	blackHole      bool
}

// NewProxy starts a proxy in front of target (host:port). It is closed in h's Cleanup.
func NewProxy(h Host, target string) *Proxy {
	h.Helper()
	p, err := newProxy(h, target)
	if err != nil {
		h.Fatalf("redistest: proxy: %v", err)
		return nil
	}
	h.Cleanup(p.Close)
	return p
}

func newProxy(h Host, target string) (*Proxy, error) {
	reserved, err := reservePort()
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		host:    h,
		target:  target,
		port:    reserved,
		changed: make(chan struct{}),
		links:   make(map[*link]struct{}),
	}
	if err := p.listen(); err != nil {
		_ = reserved.release() // the error that matters is the one above
		return nil, err
	}
	return p, nil
}

// Addr returns host:port, for clients. It never changes.
func (p *Proxy) Addr() string { return p.port.addr() }

// SwallowReplies makes the server's bytes disappear while the client's pass: commands take effect, and nobody
// learns of it. Switching it off closes the connections that lost something.
func (p *Proxy) SwallowReplies(on bool) {
	p.update(func() { p.mode.swallowReplies = on })
	if !on {
		p.cut(func(l *link) bool { return l.lossy })
	}
}

// BlackHole makes all bytes disappear, both ways. New connections are accepted, as by a kernel whose server hangs.
// Switching it off closes the connections that lost something.
func (p *Proxy) BlackHole(on bool) {
	p.update(func() { p.mode.blackHole = on })
	if !on {
		p.cut(func(l *link) bool { return l.lossy })
	}
}

// HoldReplies keeps the server's bytes back, in order, until ReleaseReplies. See Held.
func (p *Proxy) HoldReplies() { p.update(func() { p.mode.holdReplies = true }) }

// ReleaseReplies lets go what HoldReplies kept.
func (p *Proxy) ReleaseReplies() { p.update(func() { p.mode.holdReplies = false }) }

// Held returns how many connections have a reply, or more, that HoldReplies keeps back.
func (p *Proxy) Held() int { return p.count(func(l *link) bool { return l.held }) }

// Lossy returns how many connections have lost bytes and are open still.
func (p *Proxy) Lossy() int { return p.count(func(l *link) bool { return l.lossy }) }

// Delay keeps every chunk of the server's bytes back for d; 0 ends it.
func (p *Proxy) Delay(d time.Duration) { p.update(func() { p.delay = d }) }

// CutAll resets every connection and returns how many there were. New ones are accepted.
func (p *Proxy) CutAll() int { return p.cut(func(*link) bool { return true }) }

// Refuse closes the port, so that new connections are refused, or opens it again. Those that exist stay.
func (p *Proxy) Refuse(on bool) {
	p.host.Helper()
	if on {
		p.stopListening()
		return
	}
	// The number is reserved, so that at most a stranger could hold it, and not for long.
	if err := eventually(startPatience, p.listen); err != nil {
		p.host.Fatalf("redistest: proxy: %v", err)
	}
}

// Connections returns how many connections are open.
func (p *Proxy) Connections() int { return p.count(func(*link) bool { return true }) }

// Accepted returns how many connections have ever been accepted.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Close ends everything and waits for all goroutines. Closing again does nothing.
func (p *Proxy) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.mu.Unlock()
	p.stopListening()
	p.CutAll()
	p.wg.Wait()
	if err := p.port.release(); err != nil {
		p.host.Logf("redistest: proxy: %v", err)
	}
}

// listen opens the port if it is closed.
func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp4", p.Addr())
	if err != nil {
		return err
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
	return nil
}

func (p *Proxy) stopListening() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	_ = p.listener.Close() // it has nothing to lose
	p.listener = nil
}

func (p *Proxy) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(conn.(*net.TCPConn)) })
	}
}

// serve runs one connection from beginning to end.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{proxy: p, client: client, done: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = client.Close() // nobody listens any more
		return
	}
	p.accepted++
	p.links[l] = struct{}{}
	p.mu.Unlock()
	defer func() {
		l.close(false)
		p.update(func() { delete(p.links, l) })
	}()

	const patience = 5 * time.Second
	conn, err := net.DialTimeout("tcp4", p.target, patience)
	if err != nil {
		l.waitOutBlackHole()
		l.close(true) // the server is not there: pass that on
		return
	}
	if !l.attach(conn.(*net.TCPConn)) {
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(l.pumpCommands)
	pumps.Go(l.pumpReplies)
	pumps.Wait()
}

// update changes state under the lock and wakes whoever waits for a change.
func (p *Proxy) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) count(which func(*link) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if which(l) {
			n++
		}
	}
	return n
}

// cut resets the connections chosen by which, called with mu held, and returns how many.
func (p *Proxy) cut(which func(*link) bool) int {
	var chosen []*link
	p.mu.Lock()
	for l := range p.links {
		if which(l) {
			chosen = append(chosen, l)
		}
	}
	p.mu.Unlock()
	for _, l := range chosen {
		l.close(true)
	}
	return len(chosen)
}

// String names the proxy in a test's messages.
func (p *Proxy) String() string { return fmt.Sprintf("proxy %s → %s", p.Addr(), p.target) }
