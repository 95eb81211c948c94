package tieredtest

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// conn is a client's end of a pipe to the embedded Redis. A pipe has no buffer: the server, which
// answers the first command of a pipeline before it has read the rest, and the client, which writes
// the whole pipeline before it reads, would wait for each other. So what is written is kept here,
// and a goroutine passes it on until Close.
//
// Waits are of the kind that testing/synctest knows as durably blocking.
type conn struct {
	net.Conn // the pipe
	redis    *Redis
	done     chan struct{} // closed when pump has ended

	mu   sync.Mutex
	more sync.Cond // there is something in out, or err was set
	out  []byte
	err  error // why nothing can be written any more
}

func newConn(pipe net.Conn, r *Redis) *conn {
	c := &conn{Conn: pipe, redis: r, done: make(chan struct{})}
	c.more.L = &c.mu
	go c.pump()
	return c
}

func (c *conn) pump() {
	defer close(c.done)
	var chunk []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && c.err == nil {
			c.more.Wait()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		chunk, c.out = c.out, chunk[:0]
		c.mu.Unlock()
		if _, err := c.Conn.Write(chunk); err != nil {
			c.fail(err)
			return
		}
	}
}

// fail ends reads and writes.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.more.Broadcast()
	_ = c.Conn.Close() // a pipe's Close does not fail
}

func (c *conn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Write does not wait for the server.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.out = append(c.out, b...)
	c.more.Signal()
	return len(b), nil
}

// Close drops what the server has not read yet.
func (c *conn) Close() error {
	c.redis.forget(c)
	c.fail(net.ErrClosed)
	<-c.done
	return nil
}

// SetDeadline is about reads alone, as writes do not wait.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing, as writes do not wait.
func (c *conn) SetWriteDeadline(time.Time) error { return c.failed() }

// SyscallConn is how go-redis asks whether a connection of its pool still is one: without it, the
// calls after an outage would be given dead ones.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if err := c.failed(); err != nil {
		return nil, err
	}
	return noSocket{}, nil
}

// noSocket answers go-redis, which would look for data that nobody asked for, that there is none.
type noSocket struct{}

func (noSocket) Control(func(uintptr)) error    { return nil }
func (noSocket) Read(func(uintptr) bool) error  { return nil }
func (noSocket) Write(func(uintptr) bool) error { return nil }
