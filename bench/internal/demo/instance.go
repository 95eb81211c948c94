package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// instanceResult is what an instance measured.
type instanceResult struct {
	Reads         int64
	Updates       int64
	Dropped       int64 // requests that came after the demo was told to stop
	Errors        int64
	ErrorSamples  []string
	Latency       [instance.Tiers][]byte // of reads that were answered, by tier
	UpdateLatency []byte
	Invalidations int64 // acknowledged to this instance
	Received      int64 // invalidations that arrived here
	Losses        int64 // of the subscription to them
	RedisCommands int64
}

// RunInstance is the main of an instance: it takes its configuration and its requests from in, and reports to out.
func RunInstance(ctx context.Context, in io.Reader, out io.Writer) error {
	return runInstance(ctx, in, out, openItems)
}

func runInstance(ctx context.Context, in io.Reader, out io.Writer, open openCache) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	r := bufio.NewReaderSize(in, 64<<10)
	var cfg instanceConfig
	if err := instance.Begin(r, &cfg); err != nil {
		return err
	}
	inst, err := openInstance(cfg, open)
	if err != nil {
		return err
	}
	result, err := inst.run(ctx, cancel, r, json.NewEncoder(out))
	if err := errors.Join(err, inst.Close()); err != nil {
		return err
	}
	// Only now is it known that all was logged.
	return json.NewEncoder(out).Encode(message{Result: result})
}

// cache is what an instance needs of the cache under demonstration.
type cache interface {
	// Ready waits until the near tier is coherent.
	Ready(ctx context.Context) error
	// Get reads through the cache, and tells which tier answered.
	Get(ctx context.Context, key string, load func(context.Context) (instance.Item, error)) (instance.Item, instance.Answer, error)
	// invalidate removes a key from both tiers of all instances. It returns when that is acknowledged.
	invalidate(ctx context.Context, key string) error
	// received tells how many invalidations have arrived, and how often the subscription to them was lost.
	received() (invalidations, losses int64)
	// commands tells how many commands were sent to Redis.
	commands() int64
	Close() error
}

type openCache func(instanceConfig) (cache, error)

// replayer is an instance: it replays the requests that it is dealt.
type replayer struct {
	*instance.Base
	cfg   instanceConfig
	cache cache
}

func openInstance(cfg instanceConfig, open openCache) (*replayer, error) {
	base, err := instance.OpenBase(cfg.Paths)
	if err != nil {
		return nil, err
	}
	c, err := open(cfg)
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	base.Add(c.Close) // waits for loads, which use all the others
	return &replayer{Base: base, cfg: cfg, cache: c}, nil
}

// run answers requests until their end, and returns what it measured.
func (i *replayer) run(ctx context.Context, cancel context.CancelCauseFunc, in *bufio.Reader, out *json.Encoder) (*instanceResult, error) {
	if err := i.cache.Ready(ctx); err != nil {
		return nil, err
	}
	if err := out.Encode(message{Ready: true}); err != nil {
		return nil, err
	}
	batches := make(chan []request, i.cfg.Workers)
	workers := make([]*worker, i.cfg.Workers)
	var working sync.WaitGroup
	for n := range workers {
		w := newWorker(i)
		workers[n] = w
		working.Go(func() { w.run(ctx, batches) })
	}
	err := receive(in, batches)
	if err != nil {
		cancel(err)
	}
	close(batches)
	working.Wait()
	if err != nil {
		return nil, err
	}
	// Others may still invalidate; what arrives of that counts.
	if err := out.Encode(message{Drained: true}); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("demo: the end of the input: %w", err)
	}
	return i.result(workers)
}

// receive passes requests on to the workers until their end.
func receive(in *bufio.Reader, batches chan<- []request) error {
	for {
		batch, err := readBatch(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		batches <- batch // workers drain it whatever happens
	}
}

func (i *replayer) result(workers []*worker) (*instanceResult, error) {
	r := &instanceResult{RedisCommands: i.cache.commands()}
	r.Received, r.Losses = i.cache.received()
	all := newMeasures()
	for _, w := range workers {
		r.Reads += w.reads
		r.Updates += w.updates
		r.Dropped += w.dropped
		r.Errors += w.errors
		r.Invalidations += w.invalidations
		for _, sample := range w.samples {
			if len(r.ErrorSamples) < maxSamples {
				r.ErrorSamples = append(r.ErrorSamples, sample)
			}
		}
		all.merge(w.measures)
	}
	var err error
	for t := range r.Latency {
		if r.Latency[t], err = all.reads[t].Encode(); err != nil {
			return nil, err
		}
	}
	r.UpdateLatency, err = all.updates.Encode()
	return r, err
}
