//go:build linux

package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// fleet is the instances, their source, and the history that they write.
type fleet struct {
	dir    string
	config workerConfig // what all have in common
	log    *history.Writer
	source *source
	slots  []*slot

	mu        sync.Mutex
	processes []*process // all that ever were
	early     error      // what ended by itself before it was killed
}

const (
	maxStaleness = 500 * time.Millisecond
	hotKeys      = 8
	// Clocks may run apart by the first; the second is for what lies between an event and its line in a log.
	clockError, slack = 0.01, 10 * time.Millisecond
)

// bound is how old a read may be. Instances with a gutter have the same: it keeps nothing for longer than MaxStaleness.
func (f *fleet) bound() time.Duration {
	d := f.config.MaxStaleness
	return d + time.Duration(float64(d)*clockError) + slack
}

// startFleet starts instances of a kind, which reach servers by ways of their own.
func startFleet(config workerConfig, instances int, servers []string) (f *fleet, err error) {
	f = &fleet{config: config}
	if f.dir, err = os.MkdirTemp("", "doppio-attack-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	f.config.Source = filepath.Join(f.dir, "source")
	if f.log, err = history.Create(filepath.Join(f.dir, "parent.log"), "parent", 0); err != nil {
		return f, err
	}
	if f.source, err = serveSource(f.config.Source, config.Keys, f.log); err != nil {
		return f, err
	}
	for i := range instances {
		s := &slot{number: i, bypass: i%2 == 1, ways: map[string]*way{}}
		f.slots = append(f.slots, s)
		for _, addr := range servers {
			if s.ways[addr], err = newWay(addr, false); err != nil {
				return f, err
			}
		}
	}
	for _, s := range f.slots {
		if err = f.start(s); err != nil {
			return f, err
		}
	}
	timer := time.NewTimer(endPatience)
	defer timer.Stop()
	for _, s := range f.slots {
		select {
		case <-s.current().ready:
		case <-timer.C:
			return f, fmt.Errorf("%s was not coherent within %v\n%s", s.current().name, endPatience, s.current().tail())
		}
	}
	return f, nil
}

// failed tells of processes that ended by themselves.
func (f *fleet) failed() error {
	f.mu.Lock()
	err := f.early
	f.mu.Unlock()
	for _, p := range f.all() {
		err = errors.Join(err, p.unexpected())
	}
	return err
}

func (f *fleet) all() []*process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.processes
}

// stopAll ends the fleet in order.
func (f *fleet) stopAll() error {
	errs := make([]error, len(f.slots))
	var wg sync.WaitGroup
	for i, s := range f.slots {
		wg.Go(func() { errs[i] = f.stop(s) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	for _, p := range f.all() {
		if p.raced() {
			err = errors.Join(err, fmt.Errorf("%s raced:\n%s", p.name, p.tail()))
		}
	}
	return err
}

// close ends whatever still runs, and waits for it. The logs stay.
func (f *fleet) close() error {
	for _, p := range f.all() {
		p.expect()
		_ = p.cmd.Process.Kill() // most have ended
		<-p.done
	}
	for _, s := range f.slots {
		for _, w := range s.ways {
			w.close()
		}
	}
	if f.source != nil {
		f.source.close()
	}
	if f.log != nil {
		return f.log.Close()
	}
	return nil
}

// history reads what all wrote, or, before close, have written so far: the parent's log, which has the commits, is the last by
// its name, so that all versions were committed there that were read.
func (f *fleet) history() ([]*history.Log, error) { return history.ReadDir(f.dir) }

// lost is how many messages disappeared on the ways.
func (f *fleet) lost() (n int64) {
	for _, s := range f.slots {
		for _, w := range s.ways {
			n += w.lost.Load()
		}
	}
	return n
}
