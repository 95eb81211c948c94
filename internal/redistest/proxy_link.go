package redistest

import (
	"net"
	"sync"
	"time"
)

const chunkSize = 32 << 10

// link is one proxied connection.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	done   chan struct{} // closed by close

	// Guarded by proxy.mu.
	lossy    bool  // bytes have disappeared
	held     bool  // pumpReplies waits for ReleaseReplies
	awaiting *Trap // the next chunk of replies belongs to this trap

	mu     sync.Mutex
	server *net.TCPConn // nil until attach
	closed bool

	tail []byte // the end of what the client sent before; pumpCommands only
}

// attach sets the server's side, and returns false if the link has been closed meanwhile.
func (l *link) attach(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = server.Close() // nothing was sent on it
		return false
	}
	l.server = server
	return true
}

// close ends both sides, the client's with a reset if reset is set or bytes were lost. The server's side ends in
// order, so that it reads what was sent to it.
func (l *link) close(reset bool) {
	l.proxy.mu.Lock()
	reset = reset || l.lossy
	l.proxy.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	if reset {
		_ = l.client.SetLinger(0) // if it fails, the client sees an ordinary end
	}
	_ = l.client.Close() // there is nobody to tell
	if l.server != nil {
		_ = l.server.Close() // there is nobody to tell
	}
}

func (l *link) pumpCommands() {
	defer l.close(false)
	buf := make([]byte, chunkSize)
	for {
		n, err := l.client.Read(buf)
		if n > 0 {
			chunk := buf[:n]
			trap := l.springTrap(chunk)
			if trap != nil && trap.kind == holdCommand && !l.waitAt(trap) {
				return
			}
			if l.swallowCommand() {
				continue
			}
			if _, err := l.server.Write(chunk); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) pumpReplies() {
	defer l.close(false)
	buf := make([]byte, chunkSize)
	for {
		n, err := l.server.Read(buf)
		if n > 0 && !l.deliver(buf[:n], time.Now()) {
			return
		}
		if err != nil {
			l.waitOutBlackHole()
			return
		}
	}
}

// waitOutBlackHole returns once bytes pass again, or the link has ended: the server's end does not get through a
// black hole either.
func (l *link) waitOutBlackHole() {
	p := l.proxy
	for {
		p.mu.Lock()
		on, changed := p.mode.blackHole, p.changed
		l.lossy = l.lossy || on
		p.mu.Unlock()
		if !on {
			return
		}
		select {
		case <-changed:
		case <-l.done:
			return
		}
	}
}

// deliver takes one chunk from the server to the client, or to where the proxy's mode sends it. It returns false
// when the link has ended.
func (l *link) deliver(chunk []byte, arrived time.Time) bool {
	if trap := l.takeAwaiting(); trap != nil {
		if trap.kind == swallowReply {
			l.close(true)
			trap.spring()
			return false
		}
		if !l.waitAt(trap) {
			return false
		}
	}
	for {
		p := l.proxy
		p.mu.Lock()
		mode, changed, delay := p.mode, p.changed, p.delay
		if mode.swallowReplies || mode.blackHole || l.lossy {
			l.lossy, l.held = true, false
			p.mu.Unlock()
			return true
		}
		l.held = mode.holdReplies
		p.mu.Unlock()

		wait := time.Until(arrived.Add(delay))
		if !mode.holdReplies && wait <= 0 {
			_, err := l.client.Write(chunk)
			return err == nil
		}
		var due <-chan time.Time
		if !mode.holdReplies {
			due = time.After(wait)
		}
		select {
		case <-changed:
		case <-due:
		case <-l.done:
			return false
		}
	}
}

// swallowCommand reports whether the client's bytes disappear now.
func (l *link) swallowCommand() bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if l.proxy.mode.blackHole {
		l.lossy = true
	}
	// While replies are being swallowed, commands still pass on a link that has lost some.
	return l.proxy.mode.blackHole || (l.lossy && !l.proxy.mode.swallowReplies)
}

func (l *link) takeAwaiting() *Trap {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	trap := l.awaiting
	l.awaiting = nil
	return trap
}

// waitAt springs the trap and waits until it is released. It returns false when the link ends first.
func (l *link) waitAt(t *Trap) bool {
	t.spring()
	select {
	case <-t.released:
		return true
	case <-l.done:
		return false
	}
}
