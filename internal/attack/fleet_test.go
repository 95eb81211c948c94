//go:build linux

package attack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// fleet is the instances, their source, and the history that they write.
type fleet struct {
	dir    string
	config workerConfig // what all have in common
	log    *history.Writer
	source *harness.Source
	seats  []*seat

	mu    sync.Mutex
	early error // what ended by itself before it was killed
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
	if f.source, err = harness.ServeSource(f.config.Source, harness.SourceOptions{Keys: config.Keys, Log: f.log, Takes: someTime}); err != nil {
		return f, err
	}
	for i := range instances {
		s := &seat{number: i, bypass: i%2 == 1}
		f.seats = append(f.seats, s)
		if s.ways, err = harness.NewWays(servers, false); err != nil {
			return f, err
		}
	}
	for _, s := range f.seats {
		if err = f.start(s); err != nil {
			return f, err
		}
	}
	timer := time.NewTimer(endPatience)
	defer timer.Stop()
	for _, s := range f.seats {
		select {
		case <-s.Process().Ready:
		case <-s.Process().Done: // f.failed says why
		case <-timer.C:
			return f, fmt.Errorf("%s was not coherent within %v%s", s.name, endPatience, s.Process().Tail())
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
		err = errors.Join(err, p.Unexpected())
	}
	return err
}

// all are the processes that ever were.
func (f *fleet) all() (all []*harness.Process) {
	for _, s := range f.seats {
		all = append(all, s.Processes()...)
	}
	return all
}

// someTime is how long a load takes before the source looks at the version, and after.
func someTime() (before, after time.Duration) {
	took := time.Millisecond + rand.N(4*time.Millisecond)
	before = rand.N(took)
	return before, took - before
}

// stopAll ends the fleet in order.
func (f *fleet) stopAll() error {
	errs := make([]error, len(f.seats))
	var wg sync.WaitGroup
	for i, s := range f.seats {
		wg.Go(func() { errs[i] = s.Process().Stop(endPatience) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	for _, p := range f.all() {
		if raced(p) {
			err = errors.Join(err, fmt.Errorf("a race%s", p.Tail()))
		}
	}
	return err
}

// close ends whatever still runs, and waits for it. The logs stay.
func (f *fleet) close() error {
	for _, p := range f.all() {
		p.Kill() // most have ended
	}
	for _, s := range f.seats {
		s.ways.Close()
	}
	var err error
	if f.source != nil {
		err = f.source.Close()
	}
	if f.log != nil {
		err = errors.Join(err, f.log.Close())
	}
	return err
}

// history reads what all wrote, or, before close, have written so far: the parent's log, which has the commits, is the last by
// its name, so that all versions were committed there that were read.
func (f *fleet) history() ([]*history.Log, error) { return history.ReadDir(f.dir) }

// lost is how many messages disappeared on the ways.
func (f *fleet) lost() (n int64) {
	for _, s := range f.seats {
		for _, w := range s.ways {
			n += w.Lost()
		}
	}
	return n
}
