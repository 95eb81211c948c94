package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// reportEvery is how often an instance puts what it counted, and how it is, into the shared memory.
const reportEvery = 5 * time.Millisecond

// RunInstance is the main of an instance: it takes its configuration and its end from in, and reports to out.
func RunInstance(ctx context.Context, in io.Reader, out io.Writer) error {
	return runInstance(ctx, in, out, openItems)
}

func runInstance(ctx context.Context, in io.Reader, out io.Writer, open openCache) error {
	r := bufio.NewReader(in)
	var cfg instanceConfig
	if err := instance.Begin(r, &cfg); err != nil {
		return err
	}
	m, err := openMember(cfg, open)
	if err != nil {
		return err
	}
	says := json.NewEncoder(out)
	result, err := m.run(ctx, r, says)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	return says.Encode(instance.Message[instanceResult]{Result: result})
}

// member is an instance of the fleet, from inside.
type member struct {
	*instance.Base
	cfg   instanceConfig
	keys  *population
	body  string
	cache cache
}

func openMember(cfg instanceConfig, open openCache) (*member, error) {
	base, err := instance.OpenBase(cfg.Paths)
	if err != nil {
		return nil, err
	}
	c, err := open(cfg)
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	base.Add(c.Close) // waits for loads, which use all the others
	return &member{Base: base, cfg: cfg, keys: newPopulation(cfg.Keys, cfg.Skew), body: bodyOf(cfg.ValueSize), cache: c}, nil
}

// run works until it is told to end, and returns what it measured.
func (m *member) run(ctx context.Context, in io.Reader, out *json.Encoder) (*instanceResult, error) {
	if err := m.cache.Ready(ctx); err != nil {
		return nil, err
	}
	if err := out.Encode(instance.Message[instanceResult]{Ready: true}); err != nil {
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
	working.Go(func() { m.report(ctx) })
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
	err := awaitOrder(in)
	end()
	working.Wait()
	if err != nil {
		return nil, err
	}
	return m.result(all)
}

// awaitOrder waits for the order to end.
func awaitOrder(in io.Reader) error {
	var b [1]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return instance.ParentGone(err)
	}
	return nil
}

func (m *member) result(all *measures) (*instanceResult, error) {
	r := &instanceResult{Latency: make(map[string][]byte), ErrorKinds: all.kinds, Drops: maps.Clone(m.cache.state().drops)}
	var err error
	for name, h := range all.latency {
		if r.Latency[name], err = h.Encode(); err != nil {
			return nil, err
		}
	}
	r.Lag, err = all.lag.Encode()
	return r, err
}

// report keeps the shared memory up to date with what the workers do not count themselves.
func (m *member) report(ctx context.Context) {
	var last state
	var cpu uint64
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		applied := m.cache.applied()
		s := m.cache.state()
		m.Shared.Add(m.cfg.Index, instance.Received, s.invalidations-last.invalidations)
		m.Shared.Add(m.cfg.Index, instance.Lost, s.losses-last.losses)
		last = s
		at := uint64(0)
		if s.coherent {
			at = uint64(m.Clock.Now())
		}
		// In this order: who sees that a change was applied, and then looks for coherence, sees what was found once it was.
		m.Shared.Set(m.cfg.Index, instance.CoherentAt, at)
		m.Shared.Set(m.cfg.Index, instance.Applied, applied)
		if used := processorTime(); used > cpu {
			m.Shared.Add(m.cfg.Index, instance.CPU, used-cpu)
			cpu = used
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// processorTime is what this process has used, in microseconds.
func processorTime() uint64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return uint64((u.Utime.Nano() + u.Stime.Nano()) / 1000)
}
