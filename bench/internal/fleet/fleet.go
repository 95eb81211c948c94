package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

const (
	grace     = 10 * time.Second // that instances have to end once they are told to
	haste     = time.Second      // that a server has to say what it counted, to a run that was interrupted
	listeners = 4                // instances that measure the lag: more would only cost more
)

// Progress is told how far a run has come, from one goroutine at a time. It may be nil.
type Progress func(share float64, text string)

// Outcome is what a run measured, in the form of results, and what only some commands report.
type Outcome struct {
	Run       result.FleetRun
	Counts    [NumCounters]uint64 // of the instances together
	Samples   []string            // of errors, a few
	WithinHop int64               // of the stale reads, those that trailed by 50 ms or less
	StaleBy   [Tiers]int64        // of the stale reads, by what answered
	Injected  int                 // faults
	After     After               // after the last of so many injections
	Recovery  *Histogram          // from a fault's end until every instance was coherent
}

// After is what a fleet did once nothing went wrong any more.
type After struct{ Reads, Errors int64 }

// Run runs a fleet over a server, which stays the caller's. If ctx ends, it stops and returns what was measured so far: an
// error beside an Outcome says why the run is not whole.
func Run(ctx context.Context, cfg Config, s *server.Server, progress Progress) (_ *Outcome, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &fleet{cfg: cfg, server: s, recovery: NewHistogram()}
	if f.command, err = cfg.command(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.owned.Close()) }()
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	return f.run(ctx, progress)
}

// fleet is the parent's side of a run.
type fleet struct {
	cfg       Config
	command   []string
	server    *server.Server
	namespace string
	dir       string
	shared    *Shared
	source    *harness.Source
	seats     []*seat // of the instances, and last of the writer
	owned     possessions

	watching sync.WaitGroup // of what waits for processes
	stop     context.CancelCauseFunc
	restarts atomic.Int64
	injected atomic.Int64
	lost     atomic.Int64 // faults from which the fleet did not recover in time
	after    After
	recovery *Histogram // the injector's
}

func (f *fleet) open(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.namespace = f.server.Namespace() + "-" + strings.ToLower(rand.Text()[:6])
	// A short name: the path of a socket has little room.
	if f.dir, err = os.MkdirTemp("", "doppio-"); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	f.owned.add(func() error { return os.RemoveAll(f.dir) })
	if f.shared, err = CreateShared(f.path("shared"), f.cfg.Keys); err != nil {
		return err
	}
	f.owned.add(f.shared.Close)
	before := f.cfg.Source / 2
	f.source, err = harness.ServeSource(f.path("source"), harness.SourceOptions{
		Keys: f.cfg.Keys, Takes: func() (time.Duration, time.Duration) { return before, f.cfg.Source - before },
	})
	if err != nil {
		return err
	}
	f.owned.add(f.source.Close)
	for n := range f.cfg.processes() {
		s := &seat{index: n}
		if f.cfg.paths() && n < f.cfg.Instances {
			if s.ways, err = f.server.Ways(); err != nil {
				return fmt.Errorf("fleet: %w", err)
			}
			f.owned.add(func() error {
				s.ways.Close()
				return nil
			})
		}
		f.seats = append(f.seats, s)
	}
	return nil
}

func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fleet) instanceConfig(s *seat, generation int, name string) instanceConfig {
	c := instanceConfig{
		Index: s.index, Instances: f.cfg.Instances, Seed: f.cfg.Seed + uint64(s.index)<<32 + uint64(generation)<<16,
		Workers: f.cfg.Workers, First: s.index * f.cfg.Workers, Writers: f.cfg.writers(), Listens: s.index < listeners,
		Keys: f.cfg.Keys, Skew: f.cfg.Skew, ReadShare: f.cfg.ReadShare, Write: f.cfg.Write, ValueSize: f.cfg.ValueSize,
		Rate:     f.cfg.Rate / float64(f.cfg.Instances),
		RedisURL: f.server.URL(), Namespace: f.namespace, Engine: f.cfg.Engine, LocalEntries: f.cfg.LocalEntries, TTL: f.cfg.TTL,
		LocalTTL: f.cfg.LocalTTL, Fresh: f.cfg.Fresh,
		MaxStaleness: f.cfg.MaxStaleness,
		Paths:        paths{Source: f.path("source"), Shared: f.path("shared"), Name: name, Log: f.path(name + history.LogEnding)},
	}
	if s.ways != nil {
		c.Routes = s.ways.Map()
	}
	if f.cfg.Dealt != nil {
		c.Dealt, c.Listens = f.cfg.Dealt.Path, false
	}
	if s.index == f.cfg.Instances {
		c.Writer, c.Listens, c.Workers, c.Rate = true, false, changers, f.cfg.Invalidations
	}
	return c
}

// fail ends the run. The first cause stays.
func (f *fleet) fail(err error) { f.stop(err) }

// run starts the instances, lets them work, and waits for all that it started.
func (f *fleet) run(ctx context.Context, progress Progress) (*Outcome, error) {
	ctx, f.stop = context.WithCancelCause(ctx)
	defer f.stop(nil)
	began, ended, err := f.measure(ctx, progress)
	for _, s := range f.seats {
		if p := s.Process(); p != nil {
			f.watching.Go(func() {
				if err := p.Stop(grace); err != nil {
					f.fail(err)
				}
			})
		}
	}
	f.watching.Wait()
	if err == nil {
		err = context.Cause(ctx) // an instance that failed while it ended
	}
	if ended == nil {
		return nil, err
	}
	out, resultErr := f.outcome(began, ended)
	if err = errors.Join(err, resultErr); resultErr != nil {
		return nil, err
	}
	return out, err
}

// measure lets the fleet work, and gives what had been counted when the measurement began and when it ended: nil if it did not
// come to that.
func (f *fleet) measure(ctx context.Context, progress Progress) (began, ended *mark, err error) {
	for _, s := range f.seats {
		if err := f.start(s); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range f.seats {
		select {
		case <-s.Process().Ready:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	shown := f.show(progress)
	defer shown()
	if !harness.Sleep(ctx, f.cfg.Warmup) {
		return nil, nil, context.Cause(ctx)
	}
	if began, err = f.mark(ctx); err != nil {
		return nil, nil, err
	}
	f.shared.Raise(Measure)
	disturbing, calm := context.WithCancel(ctx)
	var disturbances sync.WaitGroup
	over := make(chan struct{})
	disturbances.Go(func() { f.churn(disturbing) })
	disturbances.Go(func() { f.inject(disturbing, over) })
	switch {
	case f.cfg.Injections > 0:
		select {
		case <-over:
			f.settle(ctx)
		case <-ctx.Done():
		}
	case f.cfg.Dealt != nil:
		f.awaitDealt(ctx)
	default:
		harness.Sleep(ctx, f.cfg.Duration)
	}
	f.shared.Lower(Measure)
	// What a server counted is asked for even if ctx has ended.
	patience := grace
	if ctx.Err() != nil {
		patience = haste
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	calm()
	disturbances.Wait()
	ended, err = f.mark(last)
	if cause := context.Cause(ctx); cause != nil {
		return began, ended, cause // a server may have ended for the same reason
	}
	return began, ended, err
}

// settle looks at what a fleet does after the last fault: nothing may fail then, and what is stale beyond the bound would show.
func (f *fleet) settle(ctx context.Context) {
	if f.lost.Load() > 0 {
		return
	}
	if !f.reach(ctx) {
		if ctx.Err() == nil {
			f.lost.Add(1)
		}
		return
	}
	if !harness.Sleep(ctx, settling) {
		return
	}
	reads := f.reads()
	f.shared.Raise(Calm)
	harness.Sleep(ctx, f.cfg.MaxStaleness+time.Second/2)
	f.shared.Lower(Calm)
	f.after.Reads = f.reads() - reads
}

// reads are all that were answered.
func (f *fleet) reads() int64 {
	n := f.counts()
	return int64(n[LocalReads] + n[RemoteReads] + n[LoadReads])
}

// churn replaces an instance, in turn, every so often.
func (f *fleet) churn(ctx context.Context) {
	if f.cfg.Churn == 0 {
		return
	}
	for n := 0; harness.Sleep(ctx, f.cfg.Churn); n++ {
		s := f.seats[n%f.cfg.Instances]
		var err error
		if f.cfg.ChurnBy == Abruptly {
			s.Process().Kill()
		} else {
			err = s.Process().Stop(grace)
		}
		if err == nil {
			err = f.replace(ctx, s)
		}
		if err != nil {
			f.fail(err)
			return
		}
	}
}

// inject injects the faults in turn, with a calm before each, and waits after each until the fleet has recovered. It closes
// over when it is through.
func (f *fleet) inject(ctx context.Context, over chan<- struct{}) {
	defer close(over)
	if len(f.cfg.Faults) == 0 {
		return
	}
	r := mathrand.New(mathrand.NewPCG(f.cfg.Seed, 0x6661756c74))
	for n := 0; f.cfg.Injections == 0 || n < f.cfg.Injections; n++ {
		if !harness.Sleep(ctx, calmest+time.Duration(r.Int64N(int64(calmest)))) {
			return
		}
		what := f.cfg.Faults[n%len(f.cfg.Faults)]
		shot := fault.Shot{Seat: r.IntN(f.cfg.Instances), Node: r.IntN(maxNodes), Length: shortest + time.Duration(r.Int64N(int64(longest-shortest)))}
		if err := what.Inject(ctx, f, shot); err != nil {
			if ctx.Err() == nil {
				f.fail(fmt.Errorf("fleet: fault %s: %w", what.Name, err))
			}
			return
		}
		f.injected.Add(1)
		undone := time.Now()
		patience, cancel := context.WithTimeout(ctx, f.cfg.Patience)
		err := f.AwaitCoherent(patience)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				f.lost.Add(1)
			}
			return
		}
		f.recovery.Record(time.Since(undone))
	}
}

// reach waits until each instance reaches all of Redis. That it is coherent shows that it reaches the node of the lane, and
// others of a Cluster may take a little longer. It tells false if an instance does not in time.
func (f *fleet) reach(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reachable)
	defer cancel()
	f.shared.Raise(Reach)
	for n := range f.cfg.Instances {
		for f.shared.Count(n, Reached) == 0 {
			if !harness.Sleep(ctx, reportEvery) {
				return false
			}
		}
	}
	return true
}

// reachable is how long after a recovery an instance may take until it reaches all of Redis. A node that could not be dialed
// is dialed again after a second, by go-redis, and the breaker waits for as long.
const reachable = 3 * time.Second

// settling is how long after that a request may still fail because of the fault: instances ask again for what they could not
// reach after half as long.
const settling = 2 * retryBackoff

// Faults are held for a time between these, so that some end before a subscription is given up for silence, and some after.
const (
	shortest = 100 * time.Millisecond
	longest  = 1500 * time.Millisecond
)

// maxNodes is above how many there are of any server.
const maxNodes = 1 << 16

// calmest is the shortest time without a fault before the next one; the longest is twice as long.
const calmest = 300 * time.Millisecond
