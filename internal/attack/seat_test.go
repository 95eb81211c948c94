//go:build linux

package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// seat is a place in the fleet. The processes that take it one after another use the same ways to
// the servers.
type seat struct {
	harness.Seat
	number int
	bypass bool
	ways   harness.Ways
	name   string // of the present process
}

const endPatience = 30 * time.Second

// start starts a process for the seat.
func (f *fleet) start(s *seat) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = s.Start(func(generation int) harness.Spec {
		s.name = fmt.Sprintf("i%d.%d", s.number, generation)
		cfg := f.config
		cfg.Name, cfg.Seat, cfg.Bypass, cfg.Bound = s.name, s.number, s.bypass, f.bound()
		cfg.Log = filepath.Join(f.dir, s.name+history.LogEnding)
		cfg.Ways = s.ways.Map()
		return harness.Spec{
			Name: s.name, Command: []string{self}, Env: []string{workerEnv + "=1"}, Config: cfg,
			Errors: filepath.Join(f.dir, s.name+".err"),
		}
	})
	return err
}

// kill ends the seat's process as a crash would, and notes that in the history.
func (f *fleet) kill(s *seat) {
	p := s.Process()
	if err := p.Unexpected(); err != nil {
		f.mu.Lock()
		f.early = errors.Join(f.early, err)
		f.mu.Unlock()
	}
	p.Kill()
	f.log.Add(history.Op{Kind: history.Gone, Start: history.Now(), Instance: s.name})
}

// raced reports whether the race detector has reported something.
func raced(p *harness.Process) bool { return strings.Contains(p.Complaints(), "WARNING: DATA RACE") }
