package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// SourceOptions configure a source.
type SourceOptions struct {
	Keys int // all of version 1 when it begins
	// Takes returns how long a load takes before the source looks at the version, and after: the
	// version that a loader gets is already old when it arrives, as with any database.
	Takes func() (before, after time.Duration)
	// Log, if set, is where every version is written before it can be seen.
	Log *history.Writer
}

// Source is the truth behind the cache: a version for each key, which only rises. It lives in the
// parent and answers instances over a Unix socket, a line for a line:
//
//	hello <instance>   nothing; whose connection it is
//	load <key>         the version, after a while; it is looked up somewhere between
//	commit <key>       the new version
//	take <key>         the new version, and the key's turn; "busy" while another has it
//	give <key>         the version, and the turn is given back; so it is when the connection ends
type Source struct {
	o        SourceOptions
	listener net.Listener
	serving  sync.WaitGroup
	loads    atomic.Int64
	commits  atomic.Int64
	still    atomic.Bool  // nobody can commit
	slow     atomic.Int64 // how much longer a load takes, once it has read

	mu       sync.Mutex
	versions []uint64
	turns    map[int]net.Conn // whose turn of a key it is
	conns    map[net.Conn]struct{}
	traps    map[Moment]func(instance int)
	closed   bool
	err      error // why accepting ended before Close
}

// Moment is a point in an instance's life that the source sees.
type Moment string

// The moments.
const (
	InLoad      Moment = "load"      // its loader waits for the answer
	AfterLoad   Moment = "loaded"    // it is about to fill
	AfterCommit Moment = "committed" // it is about to tell the cache, and waits for the answer
)

// ServeSource starts a source that listens on a Unix socket.
func ServeSource(socket string, o SourceOptions) (*Source, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("harness: source: %w", err)
	}
	s := &Source{
		o: o, listener: l, versions: make([]uint64, o.Keys),
		turns: map[int]net.Conn{}, conns: map[net.Conn]struct{}{}, traps: map[Moment]func(int){},
	}
	for key := range s.versions {
		s.commit(key)
	}
	s.serving.Go(s.accept)
	return s, nil
}

// Loads returns how many loads were asked for.
func (s *Source) Loads() int64 { return s.loads.Load() }

// Commits returns how many versions instances have committed.
func (s *Source) Commits() int64 { return s.commits.Load() }

// Hold refuses all commits, as if the key were busy, or accepts them again.
func (s *Source) Hold(on bool) { s.still.Store(on) }

// Slow makes every load take so much longer, once the source has looked.
func (s *Source) Slow(by time.Duration) { s.slow.Store(int64(by)) }

// Trap calls do once, with the number of the next instance that reaches the moment, and keeps that
// instance waiting for it.
func (s *Source) Trap(m Moment, do func(instance int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traps[m] = do
}

// Release takes a trap away again.
func (s *Source) Release(m Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.traps, m)
}

func (s *Source) reached(m Moment, instance int) {
	if instance < 0 {
		return
	}
	s.mu.Lock()
	do := s.traps[m]
	delete(s.traps, m)
	s.mu.Unlock()
	if do != nil {
		do(instance)
	}
}

// commit is called with mu held, or before anybody else has s.
func (s *Source) commit(key int) uint64 {
	s.versions[key]++
	if s.o.Log != nil {
		s.o.Log.Add(history.Op{
			Kind: history.Commit, Start: history.Now(), Key: uint32(key), Version: s.versions[key],
		})
	}
	return s.versions[key]
}

func (s *Source) accept() {
	for {
		conn, err := s.listener.Accept()
		s.mu.Lock()
		if err != nil {
			if !s.closed {
				s.err = fmt.Errorf("harness: source: %w", err)
			}
			s.mu.Unlock()
			return
		}
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close() // nobody has used it
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() { s.serve(conn) })
	}
}

func (s *Source) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close() // Close may have closed it
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
		for key, who := range s.turns {
			if who == conn {
				delete(s.turns, key)
			}
		}
	}()
	lines := bufio.NewScanner(conn)
	instance := -1
	for lines.Scan() {
		verb, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return
		}
		if verb == "hello" {
			instance = n
			continue
		}
		reply := "absent"
		if n >= 0 && n < len(s.versions) {
			reply = s.answer(conn, verb, n, instance)
		}
		if _, err := conn.Write([]byte(reply + "\n")); err != nil {
			return
		}
		if verb == "load" {
			s.reached(AfterLoad, instance)
		}
	}
}

func (s *Source) answer(conn net.Conn, verb string, key, instance int) string {
	var version uint64
	ok := true
	switch verb {
	case "load":
		version = s.load(key, instance)
	case "give":
		s.mu.Lock()
		delete(s.turns, key)
		version = s.versions[key]
		s.mu.Unlock()
	default:
		version, ok = s.write(conn, key, instance, verb == "take")
	}
	if !ok {
		return "busy"
	}
	return strconv.FormatUint(version, 10)
}

func (s *Source) load(key, instance int) uint64 {
	s.loads.Add(1)
	before, after := s.o.Takes()
	Sleep(context.Background(), before)
	s.mu.Lock()
	version := s.versions[key]
	s.mu.Unlock()
	Sleep(context.Background(), after+time.Duration(s.slow.Load()))
	s.reached(InLoad, instance)
	return version
}

func (s *Source) write(conn net.Conn, key, instance int, take bool) (version uint64, ok bool) {
	s.mu.Lock()
	if s.still.Load() || take && s.turns[key] != nil {
		s.mu.Unlock()
		return 0, false
	}
	if take {
		s.turns[key] = conn
	}
	version = s.commit(key)
	s.mu.Unlock()
	s.commits.Add(1)
	s.reached(AfterCommit, instance)
	return version, true
}

// Close ends all connections and waits for the calls on them.
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	err := errors.Join(s.err, s.listener.Close())
	for conn := range s.conns {
		_ = conn.Close() // it may have ended
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

// ErrBusy reports that another has the key's turn, or that nobody can commit.
var ErrBusy = errors.New("harness: another has the key's turn")

// SourceClient is an instance's way to the source. Each call has a connection for as long as it
// takes.
type SourceClient struct {
	socket   string
	instance int
	idle     chan *SourceConn
}

// SourceConn is a connection of one goroutine, to which turns belong.
type SourceConn struct {
	conn net.Conn
	r    *bufio.Reader
}

// DialSource returns the client of an instance, for the source on a socket. One whose number is
// below 0 springs no traps.
func DialSource(socket string, instance int) (*SourceClient, error) {
	const kept = 64
	c := &SourceClient{socket: socket, instance: instance, idle: make(chan *SourceConn, kept)}
	conn, err := c.Conn() // whether it can be reached shows at once
	if err != nil {
		return nil, err
	}
	c.put(conn)
	return c, nil
}

// Conn returns a connection of the caller's own.
func (c *SourceClient) Conn() (*SourceConn, error) {
	select {
	case conn := <-c.idle:
		return conn, nil
	default:
	}
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("harness: source: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "hello %d\n", c.instance); err != nil {
		return nil, fmt.Errorf("harness: source: %w", errors.Join(err, conn.Close()))
	}
	return &SourceConn{conn: conn, r: bufio.NewReader(conn)}, nil
}

func (c *SourceClient) put(conn *SourceConn) {
	select {
	case c.idle <- conn:
	default:
		_ = conn.Close() // nothing is on its way
	}
}

// Close ends the connections that are not in use.
func (c *SourceClient) Close() error {
	var err error
	for len(c.idle) > 0 {
		err = errors.Join(err, (<-c.idle).Close())
	}
	return err
}

// Load returns the version of a key, as a loader does.
func (c *SourceClient) Load(ctx context.Context, key uint32) (uint64, error) {
	return c.ask(ctx, "load", key)
}

// Commit commits a new version of a key and returns it.
func (c *SourceClient) Commit(ctx context.Context, key uint32) (uint64, error) {
	return c.ask(ctx, "commit", key)
}

func (c *SourceClient) ask(ctx context.Context, verb string, key uint32) (uint64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	conn, err := c.Conn()
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends the call
	version, err := conn.ask(verb, key)
	switch {
	case !stop():
		return 0, context.Cause(ctx)
	case err != nil:
		_ = conn.Close() // the error that matters is the one above
	default:
		c.put(conn)
	}
	return version, err
}

// Commit commits a new version of a key and returns it. It returns ErrBusy while nobody can.
func (c *SourceConn) Commit(key uint32) (uint64, error) { return c.ask("commit", key) }

// Take is Commit, and takes the key's turn. It returns ErrBusy while another has it.
func (c *SourceConn) Take(key uint32) (uint64, error) { return c.ask("take", key) }

// Give gives a key's turn back.
func (c *SourceConn) Give(key uint32) error {
	_, err := c.ask("give", key)
	return err
}

// Close ends the connection, which gives all turns back.
func (c *SourceConn) Close() error { return c.conn.Close() }

// ask sends a request and returns the number in the answer.
func (c *SourceConn) ask(verb string, key uint32) (uint64, error) {
	if _, err := fmt.Fprintf(c.conn, "%s %d\n", verb, key); err != nil {
		return 0, fmt.Errorf("harness: source: %s: %w", verb, err)
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("harness: source: %s: %w", verb, err)
	}
	switch line = strings.TrimSpace(line); line {
	case "busy":
		return 0, ErrBusy
	case "absent":
		return 0, fmt.Errorf("harness: source: %s: there is no key %d", verb, key)
	}
	version, err := strconv.ParseUint(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("harness: source: %s: %w", verb, err)
	}
	return version, nil
}
