package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	sentinels        = 3
	quorum           = 2
	sentinelPatience = 30 * time.Second
	sentinelWait     = 2 * time.Second

	// A server that a busy machine keeps waiting must not look dead, or the sentinels start failovers that no test
	// asked for. Only while a test kills the master do they make up their minds quickly.
	calmDownAfter = 20 * time.Second
	deadDownAfter = 800 * time.Millisecond
)

// Sentinel is a master with one replica, watched by three sentinels.
type Sentinel struct {
	// MasterName is what the sentinels call the group.
	MasterName string
	// Sentinels watch. Stop or Kill them like any server.
	Sentinels []*Server

	host   Host
	data   []*Server       // the master and the replica, whichever is which now
	admins []*redis.Client // one for each sentinel
}

// StartSentinel starts a group in which, when StartSentinel returns, the replica is in sync, every sentinel knows
// it and the other sentinels, and a failover can therefore succeed.
func StartSentinel(h Host, opts ...Option) *Sentinel {
	h.Helper()
	s := &Sentinel{MasterName: "redistest", host: h}
	// Without the delay, a replica's first synchronization does not wait for others to join.
	common := append([]Option{withDirective("repl-diskless-sync yes", "repl-diskless-sync-delay 0")}, opts...)
	master := mustStart(h, newConfig(redisBinary, common))
	s.data = []*Server{master}

	directives := []string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", s.MasterName, master.port.number, quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", s.MasterName, calmDownAfter.Milliseconds()),
		// Sentinels do not try again before twice this time has passed, be it after a split vote or a success.
		"sentinel failover-timeout " + s.MasterName + " 1500",
		"sentinel parallel-syncs " + s.MasterName + " 1",
	}
	replicaOf := []string{fmt.Sprintf("replicaof 127.0.0.1 %d", master.port.number)}
	if pw := master.cfg.password; pw != "" {
		replicaOf = append(replicaOf, "masterauth "+quote(pw))
		directives = append(directives, "sentinel auth-pass "+s.MasterName+" "+quote(pw))
	}
	servers, err := startAll(h, 1+sentinels, func(i int) *config {
		if i == 0 {
			return newConfig(redisBinary, append(common, withDirective(replicaOf...)))
		}
		cfg := newConfig(redisBinary, []Option{withDirective(directives...)})
		cfg.sentinel = true
		return cfg
	})
	if err != nil {
		h.Fatalf("redistest: %v", err)
	}
	s.data = append(s.data, servers[0])
	s.Sentinels = servers[1:]
	for _, n := range s.Sentinels {
		s.admins = append(s.admins, n.Client(h))
	}
	s.hurry()
	if err := eventually(sentinelPatience, func() error { return s.ready(master.Addr) }); err != nil {
		h.Fatalf("redistest: the sentinels are not ready after %v: %v", sentinelPatience, err)
	}
	return s
}

// hurry makes the sentinels gossip more often than every other second. Servers before 7.0 do not know the command,
// and are slower to get ready.
func (s *Sentinel) hurry() {
	ctx, cancel := context.WithTimeout(context.Background(), sentinelWait)
	defer cancel()
	for _, a := range s.admins {
		_ = a.Do(ctx, "SENTINEL", "DEBUG", "PUBLISH-PERIOD", 200, "INFO-PERIOD", 200).Err() // see above
	}
}

// ready reports why a failover from the master at addr could not succeed yet.
func (s *Sentinel) ready(addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sentinelWait)
	defer cancel()
	seen := 0
	for i, a := range s.admins {
		if s.Sentinels[i].running() == nil {
			continue
		}
		seen++
		m, err := a.Do(ctx, "SENTINEL", "MASTER", s.MasterName).Result()
		if err != nil {
			return err
		}
		master := stringMap(m)
		if got := net.JoinHostPort(master["ip"], master["port"]); got != addr {
			return fmt.Errorf("sentinel %d: the master is %s", i, got)
		}
		if master["flags"] != "master" || master["num-other-sentinels"] != strconv.Itoa(sentinels-1) {
			return fmt.Errorf("sentinel %d: master flags %q, %s other sentinels",
				i, master["flags"], master["num-other-sentinels"])
		}
		replicas, err := a.Do(ctx, "SENTINEL", "REPLICAS", s.MasterName).Slice()
		if err != nil {
			return err
		}
		if len(replicas) != len(s.data)-1 {
			return fmt.Errorf("sentinel %d: %d replicas", i, len(replicas))
		}
		replica := stringMap(replicas[0])
		if replica["flags"] != "slave" || replica["master-link-status"] != "ok" {
			return fmt.Errorf("sentinel %d: replica flags %q, link %s", i, replica["flags"], replica["master-link-status"])
		}
	}
	if seen < quorum {
		return fmt.Errorf("%d sentinels are running", seen)
	}
	return nil
}

// Addrs returns the addresses of the sentinels.
func (s *Sentinel) Addrs() []string {
	addrs := make([]string, len(s.Sentinels))
	for i, n := range s.Sentinels {
		addrs[i] = n.Addr
	}
	return addrs
}

// Client returns a client that asks the sentinels for the master and fails fast. mutate may change its options. It
// is closed in h's Cleanup.
func (s *Sentinel) Client(h Host, mutate ...func(*redis.FailoverOptions)) *redis.Client {
	h.Helper()
	node := s.data[0].options()
	o := &redis.FailoverOptions{
		MasterName:    s.MasterName,
		SentinelAddrs: s.Addrs(),
		Password:      node.Password,
		TLSConfig:     node.TLSConfig,
		DialTimeout:   node.DialTimeout,
		DialerRetries: node.DialerRetries,
		ReadTimeout:   node.ReadTimeout,
		WriteTimeout:  node.WriteTimeout,
		PoolTimeout:   node.PoolTimeout,
		MaxRetries:    node.MaxRetries,
	}
	for _, m := range mutate {
		m(o)
	}
	c := redis.NewFailoverClient(o)
	h.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}

// Master returns the server that the running sentinels agree to be the master.
func (s *Sentinel) Master() *Server {
	s.host.Helper()
	var master *Server
	Eventually(s.host, sentinelPatience, func() error {
		m, err := s.agreed()
		master = m
		return err
	})
	return master
}

// Replica returns the server that is not the master. It may be down.
func (s *Sentinel) Replica() *Server {
	s.host.Helper()
	master := s.Master()
	for _, d := range s.data {
		if d != master {
			return d
		}
	}
	return nil
}

func (s *Sentinel) agreed() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sentinelWait)
	defer cancel()
	var agreed string
	for i, a := range s.admins {
		if s.Sentinels[i].running() == nil {
			continue
		}
		pair, err := a.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.MasterName).StringSlice()
		if err != nil {
			return nil, err
		}
		if len(pair) != 2 {
			return nil, fmt.Errorf("sentinel %d: unexpected master address %q", i, pair)
		}
		got := net.JoinHostPort(pair[0], pair[1])
		if agreed != "" && got != agreed {
			return nil, fmt.Errorf("sentinels name %s and %s", agreed, got)
		}
		agreed = got
	}
	for _, d := range s.data {
		if d.Addr == agreed {
			return d, nil
		}
	}
	return nil, fmt.Errorf("the master %q is unknown", agreed)
}

// Failover kills the master and returns once every running sentinel names the other server and that one takes
// writes. The old master stays down: restart it with Restart, after which it becomes the replica, and see
// [Sentinel.AwaitReady].
func (s *Sentinel) Failover(h Host) {
	h.Helper()
	old := s.Master()
	s.setDownAfter(h, deadDownAfter)
	defer s.setDownAfter(h, calmDownAfter)
	old.Kill()
	err := eventually(sentinelPatience, func() error {
		master, err := s.agreed()
		if err != nil {
			return err
		}
		if master == old {
			return errors.New("no new master yet")
		}
		return master.writable()
	})
	if err != nil {
		h.Fatalf("redistest: no failover within %v: %v", sentinelPatience, err)
	}
}

func (s *Sentinel) setDownAfter(h Host, d time.Duration) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sentinelWait)
	defer cancel()
	for i, a := range s.admins {
		if s.Sentinels[i].running() == nil {
			continue
		}
		err := a.Do(ctx, "SENTINEL", "SET", s.MasterName, "down-after-milliseconds", d.Milliseconds()).Err()
		if err != nil {
			h.Fatalf("redistest: sentinel %d: %v", i, err)
		}
	}
}

// AwaitReady waits until another failover could succeed.
func (s *Sentinel) AwaitReady(h Host) {
	h.Helper()
	Eventually(h, sentinelPatience, func() error {
		master, err := s.agreed()
		if err != nil {
			return err
		}
		return s.ready(master.Addr)
	})
}

// writable reports why the server does not take writes.
func (s *Server) writable() error {
	ctx, cancel := context.WithTimeout(context.Background(), sentinelWait)
	defer cancel()
	c := redis.NewClient(s.options())
	defer c.Close()
	info, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if role := parseFields(info)["role"]; role != "master" {
		return fmt.Errorf("%s is a %s", s.Addr, role)
	}
	return nil
}

// parseFields reads lines of name:value.
func parseFields(s string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(s) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// stringMap reads a reply of names and values, which is a map in RESP3 and a list in RESP2.
func stringMap(v any) map[string]string {
	fields := make(map[string]string)
	switch v := v.(type) {
	case map[any]any:
		for name, value := range v {
			fields[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	case []any:
		for i := 0; i+1 < len(v); i += 2 {
			fields[fmt.Sprint(v[i])] = fmt.Sprint(v[i+1])
		}
	}
	return fields
}
