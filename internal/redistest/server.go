package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	redisBinary  = "redis-server"
	valkeyBinary = "valkey-server"

	// startPatience is generous: a loaded machine with the race detector on is slow.
	startPatience = 20 * time.Second
	stopPatience  = 3 * time.Second
)

// errPortTaken says that a stranger took the port between the check and the server's own bind.
var errPortTaken = errors.New("port taken")

// Server is one server process. Its methods are for one goroutine at a time, besides PID and what makes clients.
type Server struct {
	// Addr is host:port, and stays the same over Restart.
	Addr string
	// Version is what the server says of itself, for example "7.0.15".
	Version string

	host Host
	cfg  *config
	port port
	dir  string
	tls  *tls.Config // nil without WithTLS

	mu   sync.Mutex
	proc *process // nil while stopped
}

// Start starts a standalone redis-server, which answers when Start returns.
func Start(h Host, opts ...Option) *Server {
	h.Helper()
	return mustStart(h, newConfig(redisBinary, opts))
}

// StartValkey is Start for valkey-server.
func StartValkey(h Host, opts ...Option) *Server {
	h.Helper()
	return mustStart(h, newConfig(valkeyBinary, opts))
}

// ValkeyInstalled reports whether StartValkey finds its binary.
func ValkeyInstalled() bool {
	_, err := exec.LookPath(valkeyBinary)
	return err == nil
}

func mustStart(h Host, cfg *config) *Server {
	h.Helper()
	s, err := start(h, cfg)
	if err != nil {
		h.Fatalf("redistest: %v", err)
	}
	return s
}

// start is safe to call from any goroutine as long as h does not fail in TempDir.
func start(h Host, cfg *config) (*Server, error) {
	if _, err := exec.LookPath(cfg.binary); err != nil {
		return nil, fmt.Errorf("%w (scripts/install-servers.sh installs the servers)", err)
	}
	const attempts = 5
	var last error
	for range attempts {
		s, err := startOnce(h, cfg)
		if err == nil {
			h.Cleanup(s.cleanup)
			return s, nil
		}
		last = err
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, last
}

func startOnce(h Host, cfg *config) (*Server, error) {
	p, err := reservePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: p.addr(), host: h, cfg: cfg, port: p, dir: h.TempDir()}
	err = s.writeConfig()
	if err == nil {
		err = s.launch()
	}
	if err != nil {
		_ = p.release() // the error that matters is the one above
		return nil, err
	}
	return s, nil
}

func (s *Server) writeConfig() error {
	lines := []string{
		"bind 127.0.0.1",
		"protected-mode no",
		"daemonize no",
		"dir " + quote(s.dir),
		fmt.Sprintf("port %d", s.port.number),
	}
	if !s.cfg.sentinel {
		lines = append(lines, `save ""`, "appendonly no", "loglevel notice")
	}
	if s.cfg.tls {
		ca, err := processAuthority()
		if err != nil {
			return err
		}
		tlsLines, err := ca.writeServer(s.dir, s.port.number)
		if err != nil {
			return err
		}
		lines = append(lines, tlsLines...)
		s.tls = ca.clientConfig()
	}
	lines = append(lines, s.cfg.directive...)
	return os.WriteFile(s.confPath(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// launch runs the server and waits until it, and not a stranger on the same port, answers.
func (s *Server) launch() error {
	args := []string{s.confPath()}
	if s.cfg.sentinel {
		args = append(args, "--sentinel")
	}
	args = append(args, s.cfg.args...)
	proc, err := startProcess(s.cfg.binary, args, s.dir, s.logPath())
	if err != nil {
		return err
	}
	c := redis.NewClient(s.options())
	defer c.Close()
	err = eventually(startPatience, func() error {
		if proc.exited() {
			return nil
		}
		if err := s.listening(); err != nil { // asked first because go-redis logs every dial that fails
			return err
		}
		return s.identify(c, proc.pid())
	})
	if proc.exited() {
		err = fmt.Errorf("%s ended: %w", s.cfg.binary, proc.err)
		log := s.logTail()
		if strings.Contains(log, "Address already in use") {
			return fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return fmt.Errorf("%w; its log ends with:\n%s", err, log)
	}
	if err != nil {
		proc.kill()
		return fmt.Errorf("%s is not ready after %v: %w; its log ends with:\n%s", s.cfg.binary, startPatience, err, s.logTail())
	}
	s.mu.Lock()
	s.proc = proc
	s.mu.Unlock()
	return nil
}

func (s *Server) listening() error {
	conn, err := net.DialTimeout("tcp4", s.Addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// identify makes sure that it is the process with this pid that answers.
func (s *Server) identify(c *redis.Client, pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := c.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	fields := info["Server"]
	if got := fields["process_id"]; got != strconv.Itoa(pid) {
		return fmt.Errorf("process %s answers on %s, not %d", got, s.Addr, pid)
	}
	s.Version = fields["redis_version"]
	if v, ok := fields["valkey_version"]; ok {
		s.Version = v
	}
	if s.cfg.sentinel {
		return nil
	}
	return c.Ping(ctx).Err() // fails while a data set is being loaded
}

// options are what a client of this server needs, made to fail fast: no retries, short timeouts, and no handshake
// besides HELLO.
func (s *Server) options() *redis.Options {
	return &redis.Options{
		Addr:                     s.Addr,
		Password:                 s.cfg.password,
		TLSConfig:                s.TLSConfig(),
		DialTimeout:              3 * time.Second,
		DialerRetries:            1,
		ReadTimeout:              3 * time.Second,
		WriteTimeout:             3 * time.Second,
		PoolTimeout:              5 * time.Second,
		MaxRetries:               -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Options returns what Client uses, for tests that make their own client.
func (s *Server) Options() *redis.Options { return s.options() }

// Client returns a client that fails fast: it does not retry and its timeouts are 3 s. mutate may change its
// options. It is closed in h's Cleanup.
func (s *Server) Client(h Host, mutate ...func(*redis.Options)) *redis.Client {
	h.Helper()
	o := s.options()
	for _, m := range mutate {
		m(o)
	}
	c := redis.NewClient(o)
	h.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}

// ClientAs is Client for a user of [WithACLUser].
func (s *Server) ClientAs(h Host, user, password string) *redis.Client {
	h.Helper()
	return s.Client(h, func(o *redis.Options) { o.Username, o.Password = user, password })
}

// TLSConfig returns a new configuration that trusts the server, or nil if it was started without [WithTLS].
func (s *Server) TLSConfig() *tls.Config { return s.tls.Clone() }

// PID returns the number of the running process, or 0 while it is stopped.
func (s *Server) PID() int {
	if p := s.running(); p != nil {
		return p.pid()
	}
	return 0
}

// Stop asks the server to end and waits for it. Restart brings it back.
func (s *Server) Stop() {
	if p := s.take(); p != nil {
		p.stop(stopPatience)
	}
}

// Kill ends the server as a crash would (SIGKILL) and waits for it. Restart brings it back.
func (s *Server) Kill() {
	if p := s.take(); p != nil {
		p.kill()
	}
}

// Restart stops the server if it runs and starts it with the same port and directory. What it held is lost unless
// [WithArgs] turned persistence on.
func (s *Server) Restart() {
	s.host.Helper()
	s.Stop()
	// A stranger that took the port meanwhile is waited for: the address must stay the same.
	err := eventually(startPatience, func() error {
		if !tcpFree(s.port.number) {
			return fmt.Errorf("%w: %s", errPortTaken, s.Addr)
		}
		return nil
	})
	if err == nil {
		err = s.launch()
	}
	if err != nil {
		s.host.Fatalf("redistest: restart: %v", err)
	}
}

// Pause freezes the server (SIGSTOP): connections stay open and new ones are accepted by the kernel, but nothing
// answers.
func (s *Server) Pause() { s.signal("pause", pause) }

// Resume undoes Pause.
func (s *Server) Resume() { s.signal("resume", resume) }

func (s *Server) signal(what string, send func(*os.Process) error) {
	s.host.Helper()
	p := s.running()
	if p == nil {
		s.host.Fatalf("redistest: %s: the server on %s is not running", what, s.Addr)
		return
	}
	if err := send(p.cmd.Process); err != nil {
		s.host.Fatalf("redistest: %s: %v", what, err)
	}
}

func (s *Server) running() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *Server) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
}

func (s *Server) cleanup() {
	s.Kill() // nothing it holds outlives the test
	if s.host.Failed() {
		s.host.Logf("the log of the server on %s ends with:\n%s", s.Addr, s.logTail())
	}
	if err := s.port.release(); err != nil {
		s.host.Logf("redistest: %v", err)
	}
}

func (s *Server) confPath() string { return filepath.Join(s.dir, "server.conf") }
func (s *Server) logPath() string  { return filepath.Join(s.dir, "server.log") }

func (s *Server) logTail() string {
	const limit = 4 << 10
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	if len(log) > limit {
		log = log[len(log)-limit:]
	}
	return string(log)
}

// quote writes a string as the configuration file reads it.
func quote(s string) string { return strconv.Quote(s) }
