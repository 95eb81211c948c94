package redistest

import (
	"bytes"
	"slices"
	"sync"
)

// tailSize bounds what a link remembers, and so how long the text of a trap may be.
const tailSize = 256

type trapKind int

const (
	swallowReply trapKind = iota
	holdReply
	holdCommand
)

// Trap is set for the first command that contains some text, on any connection, and springs once.
type Trap struct {
	kind  trapKind
	match []byte

	sprung      chan struct{}
	springOnce  sync.Once
	released    chan struct{}
	releaseOnce sync.Once
}

// Sprung is closed when the trap has done its work: the reply was swallowed and its connection reset, or the reply
// or the command is being held.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Release lets go what the trap holds, now or when it springs. Releasing again does nothing.
func (t *Trap) Release() { t.releaseOnce.Do(func() { close(t.released) }) }

func (t *Trap) spring() { t.springOnce.Do(func() { close(t.sprung) }) }

// SwallowNextReplyTo lets the next command that contains match reach the server, waits for the server to answer,
// and then resets the connection instead of passing the answer on: the command took effect and its sender cannot
// know. In a pipeline, match belongs to the last command: the server answers the earlier ones first, and the trap
// takes the first bytes that come.
func (p *Proxy) SwallowNextReplyTo(match string) *Trap { return p.setTrap(swallowReply, match) }

// HoldNextReplyTo lets the next command that contains match reach the server and keeps the answer back, and all
// that follows on the connection, until Release.
func (p *Proxy) HoldNextReplyTo(match string) *Trap { return p.setTrap(holdReply, match) }

// HoldNextCommand keeps the next command that contains match from the server, and all that follows on the
// connection, until Release.
func (p *Proxy) HoldNextCommand(match string) *Trap { return p.setTrap(holdCommand, match) }

func (p *Proxy) setTrap(kind trapKind, match string) *Trap {
	p.host.Helper()
	if match == "" || len(match) > tailSize {
		p.host.Fatalf("redistest: proxy: a trap's text has 1 to %d bytes", tailSize)
	}
	t := &Trap{kind: kind, match: []byte(match), sprung: make(chan struct{}), released: make(chan struct{})}
	p.update(func() { p.traps = append(p.traps, t) })
	return t
}

// springTrap takes the first trap whose text ends in this chunk of the client's bytes, arms the link for it, and
// returns it. The text may have begun in the chunks before.
func (l *link) springTrap(chunk []byte) *Trap {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	var found *Trap
	for i, t := range p.traps {
		before := l.tail[max(0, len(l.tail)-len(t.match)+1):]
		edge := chunk[:min(len(chunk), len(t.match)-1)]
		if !bytes.Contains(chunk, t.match) && !bytes.Contains(slices.Concat(before, edge), t.match) {
			continue
		}
		p.traps = slices.Delete(p.traps, i, i+1)
		found = t
		break
	}
	l.tail = append(l.tail, chunk[max(0, len(chunk)-tailSize):]...)
	l.tail = l.tail[max(0, len(l.tail)-tailSize):]
	if found != nil && found.kind != holdCommand {
		l.awaiting = found
	}
	return found
}
