package redistest

import (
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Embedded is a miniredis: Redis in this process, for what needs no real server.
type Embedded struct {
	// Addr is host:port.
	Addr string
	// Redis offers what only an embedded server can: time travel, injected errors.
	Redis *miniredis.Miniredis

	options func() *redis.Options
}

// Miniredis starts an embedded server whose TTLs elapse in real time, or in a synctest bubble's.
func Miniredis(h Host) *Embedded {
	h.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		h.Fatalf("redistest: %v", err)
	}
	h.Cleanup(m.Close)
	s := &Server{Addr: m.Addr(), cfg: &config{}}
	return &Embedded{Addr: s.Addr, Redis: m, options: s.options}
}

// Client is like [Server.Client].
func (e *Embedded) Client(h Host, mutate ...func(*redis.Options)) *redis.Client {
	h.Helper()
	o := e.options()
	for _, m := range mutate {
		m(o)
	}
	c := redis.NewClient(o)
	h.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}
