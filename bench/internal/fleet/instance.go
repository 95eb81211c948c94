package fleet

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/doppio-cache/doppio/internal/harness"
)

// RunInstance is the main of an instance: it takes its configuration and its end from in, and reports to out.
func RunInstance(ctx context.Context, in io.Reader, out io.Writer) error {
	return runInstance(ctx, in, out, openItems)
}

func runInstance(ctx context.Context, in io.Reader, out io.Writer, open openCache) error {
	var cfg instanceConfig
	parent, err := harness.Begin(in, out, &cfg)
	if err != nil {
		return err
	}
	m, err := openMember(cfg, open)
	if err != nil {
		return err
	}
	result, err := m.run(ctx, parent)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	return parent.TellResult(result)
}

// member is an instance of the fleet, from inside.
type member struct {
	possessions
	Shared *Shared
	Source *harness.SourceClient
	Log    *harness.Recorder
	cfg    instanceConfig
	keys   *population
	body   string
	cache  cache
	hand   *hand // nil: workers choose their requests
}

func openMember(cfg instanceConfig, open openCache) (_ *member, err error) {
	m := &member{cfg: cfg, body: bodyOf(cfg.ValueSize)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.Shared, err = OpenShared(cfg.Paths.Shared); err != nil {
		return nil, err
	}
	m.add(m.Shared.Close)
	if m.Log, err = harness.Record(cfg.Paths.Log, cfg.Paths.Name, 0); err != nil {
		return nil, err
	}
	m.add(m.Log.Close)
	number := cfg.Index
	if cfg.Writer {
		number = -1 // faults do not hit it
	}
	if m.Source, err = harness.DialSource(cfg.Paths.Source, number); err != nil {
		return nil, err
	}
	m.add(m.Source.Close)
	if cfg.Dealt == "" {
		m.keys = newPopulation(cfg.Keys, cfg.Skew)
	} else {
		if m.hand, err = openHand(cfg.Dealt, cfg.Index, cfg.Instances); err != nil {
			return nil, err
		}
		m.add(m.hand.close)
	}
	if m.cache, err = open(cfg); err != nil {
		return nil, err
	}
	m.add(m.cache.Close) // waits for loads, which use all the others
	return m, nil
}

// run works until it is told to end, and returns what it measured.
func (m *member) run(ctx context.Context, parent *harness.Parent) (*instanceResult, error) {
	if err := m.cache.ready(ctx); err != nil {
		return nil, err
	}
	told := &status{member: m}
	told.tell() // what it took to become ready is known before anything is measured
	if err := parent.TellReady(); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	all := newMeasures()
	var mu sync.Mutex // guards all
	add := func(s *measures) {
		mu.Lock()
		defer mu.Unlock()
		all.merge(s)
	}
	var working sync.WaitGroup
	working.Go(func() { told.keep(ctx) })
	for n := range m.cfg.Workers {
		w := newWorker(m, n)
		work := w.run
		if m.cfg.Writer {
			work = w.change
		}
		working.Go(func() { add(work(ctx)) })
	}
	if m.cfg.Writer {
		working.Go(func() { m.probe(ctx) })
		working.Go(func() { m.answer(ctx) })
	}
	if m.cfg.Listens {
		working.Go(func() { m.listen(ctx, all.lag) })
	}
	parent.AwaitEnd()
	end()
	working.Wait()
	return m.result(all)
}

func (m *member) result(all *measures) (*instanceResult, error) {
	r := &instanceResult{Latency: make(map[string][]byte), Samples: all.samples}
	var err error
	for name, h := range all.latency {
		if r.Latency[name], err = h.Encode(); err != nil {
			return nil, err
		}
	}
	r.Lag, err = all.lag.Encode()
	return r, err
}
