package server

import (
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how exactly entries of the embedded server expire.
const tick = 100 * time.Millisecond

// clock lets the entries of an embedded server expire as time goes by. miniredis has a clock of its own (ClockTTL), but
// that one visits every key at every command, which is most of what a run would measure.
type clock struct {
	server  *miniredis.Miniredis
	over    chan struct{}
	ticking sync.WaitGroup
	once    sync.Once
}

func startClock(m *miniredis.Miniredis) *clock {
	c := &clock{server: m, over: make(chan struct{})}
	c.ticking.Go(c.run)
	return c
}

func (c *clock) run() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
			now := time.Now()
			c.server.FastForward(now.Sub(last))
			last = now
		case <-c.over:
			return
		}
	}
}

// stop ends the clock and its server.
func (c *clock) stop() {
	c.once.Do(func() {
		close(c.over)
		c.ticking.Wait()
		c.server.Close()
	})
}
