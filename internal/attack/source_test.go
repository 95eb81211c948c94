//go:build linux

package attack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// source is the truth behind the cache: a version for each key, which only rises. It lives in the test's process and answers
// instances over a Unix socket, a line for a line:
//
//	hello <slot>     nothing; who is on the connection
//	load <key>       the version, after a few milliseconds; it is looked up somewhere between
//	commit <key>     the new version
//	take <key>       the new version, and the key's turn; "busy" while another has it
//	give <key>       "ok", and the turn is given back; the end of the connection does that, too
type source struct {
	listener net.Listener
	log      *history.Writer
	wg       sync.WaitGroup
	loads    atomic.Int64
	commits  atomic.Int64
	still    atomic.Bool  // nobody can commit
	slow     atomic.Int64 // how much longer a load takes, once it has read

	mu       sync.Mutex
	versions []uint64
	turns    []net.Conn // who has a key's turn
	conns    map[net.Conn]struct{}
	closed   bool
	traps    map[moment]func(slot int)
}

// moment is a point in an instance's life that the source sees.
type moment string

const (
	inLoad      moment = "load"      // its loader waits for the answer
	afterLoad   moment = "loaded"    // it is about to fill
	afterCommit moment = "committed" // it is about to tell the cache; the source has not answered it
)

func serveSource(socket string, keys int, log *history.Writer) (*source, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &source{
		listener: l, log: log, versions: make([]uint64, keys), turns: make([]net.Conn, keys),
		conns: map[net.Conn]struct{}{}, traps: map[moment]func(int){},
	}
	for key := range keys {
		s.commit(key)
	}
	s.wg.Go(s.accept)
	return s, nil
}

// commit is called with mu held, or before anybody else has s.
func (s *source) commit(key int) uint64 {
	s.versions[key]++
	s.log.Add(history.Op{Kind: history.Commit, Start: history.Now(), Key: uint32(key), Version: s.versions[key]})
	return s.versions[key]
}

// trap calls do once, with the slot of the next instance that reaches the moment, and keeps that instance waiting for it.
func (s *source) trap(m moment, do func(slot int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traps[m] = do
}

// release takes a trap away again.
func (s *source) release(m moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.traps, m)
}

func (s *source) reached(m moment, slot int) {
	s.mu.Lock()
	do := s.traps[m]
	delete(s.traps, m)
	s.mu.Unlock()
	if do != nil {
		do(slot)
	}
}

func (s *source) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(conn) })
	}
}

func (s *source) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
		for key, who := range s.turns {
			if who == conn {
				s.turns[key] = nil
			}
		}
	}()
	lines := bufio.NewScanner(conn)
	slot := -1
	for lines.Scan() {
		var verb string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &verb, &n); err != nil {
			return
		}
		var reply string
		switch verb {
		case "hello":
			slot = n
			continue
		case "load":
			reply = s.load(n, slot)
		case "commit", "take":
			reply = s.write(conn, n, slot, verb == "take")
		case "give":
			s.mu.Lock()
			s.turns[n] = nil
			s.mu.Unlock()
			reply = "ok"
		}
		if _, err := io.WriteString(conn, reply+"\n"); err != nil {
			return
		}
		if verb == "load" {
			s.reached(afterLoad, slot)
		}
	}
}

func (s *source) load(key, slot int) string {
	s.loads.Add(1)
	took := time.Millisecond + rand.N(4*time.Millisecond)
	before := rand.N(took)
	pause(context.Background(), before)
	s.mu.Lock()
	version := s.versions[key]
	s.mu.Unlock()
	pause(context.Background(), took-before+time.Duration(s.slow.Load()))
	s.reached(inLoad, slot)
	return fmt.Sprint(version)
}

func (s *source) write(conn net.Conn, key, slot int, take bool) string {
	s.mu.Lock()
	if s.still.Load() || take && s.turns[key] != nil {
		s.mu.Unlock()
		return "busy"
	}
	if take {
		s.turns[key] = conn
	}
	version := s.commit(key)
	s.mu.Unlock()
	s.commits.Add(1)
	s.reached(afterCommit, slot)
	return fmt.Sprint(version)
}

func (s *source) close() {
	s.mu.Lock()
	s.closed = true
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// register is an instance's way to the source. Each goroutine that calls it has a connection for as long as its call takes.
type register struct {
	socket string
	slot   int
	idle   chan *registerConn
}

type registerConn struct {
	net.Conn
	r *bufio.Reader
}

var errBusy = errors.New("attack: another has the key's turn")

func newRegister(socket string, slot int) *register {
	return &register{socket: socket, slot: slot, idle: make(chan *registerConn, 64)}
}

func (r *register) conn() (*registerConn, error) {
	select {
	case c := <-r.idle:
		return c, nil
	default:
	}
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "hello %d\n", r.slot); err != nil {
		conn.Close()
		return nil, err
	}
	return &registerConn{Conn: conn, r: bufio.NewReader(conn)}, nil
}

func (r *register) put(c *registerConn) {
	select {
	case r.idle <- c:
	default:
		c.Close()
	}
}

func (r *register) close() {
	for len(r.idle) > 0 {
		(<-r.idle).Close()
	}
}

// ask sends one request on c.
func (c *registerConn) ask(verb string, key int) (uint64, error) {
	if _, err := fmt.Fprintf(c, "%s %d\n", verb, key); err != nil {
		return 0, err
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	var version uint64
	switch line = strings.TrimSpace(line); line {
	case "ok":
		return 0, nil
	case "busy":
		return 0, errBusy
	default:
		_, err = fmt.Sscan(line, &version)
		return version, err
	}
}

// load is what a loader does.
func (r *register) load(ctx context.Context, key int) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c, err := r.conn()
	if err != nil {
		return 0, err
	}
	version, err := c.ask("load", key)
	if err != nil {
		c.Close()
		return 0, err
	}
	r.put(c)
	return version, nil
}
