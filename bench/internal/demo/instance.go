package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"
)

// instanceResult is what an instance measured.
type instanceResult struct {
	Reads         int64
	Updates       int64
	Dropped       int64 // requests that came after the demo was told to stop
	Errors        int64
	ErrorSamples  []string
	Latency       [tiers][]byte // of reads that were answered, by tier
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
	// An interrupt of the terminal reaches every process of the demo. The parent decides when an instance ends.
	signal.Ignore(os.Interrupt)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	r := bufio.NewReaderSize(in, 64<<10)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return parentGone(err)
	}
	var cfg instanceConfig
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fmt.Errorf("demo: configuration of an instance: %w", err)
	}
	inst, err := openInstance(cfg, open)
	if err != nil {
		return err
	}
	result, err := inst.run(ctx, cancel, r, json.NewEncoder(out))
	if err := errors.Join(err, inst.close()); err != nil {
		return err
	}
	// Only now is all that was logged in the files.
	return json.NewEncoder(out).Encode(message{Result: result})
}

// cache is what an instance needs of the cache under demonstration.
type cache interface {
	// ready waits until the near tier is coherent.
	ready(ctx context.Context) error
	// get reads through the cache, and tells which tier answered.
	get(ctx context.Context, key string, load func(context.Context) (Item, error)) (Item, answer, error)
	// invalidate removes a key from both tiers of all instances. It returns when that is acknowledged.
	invalidate(ctx context.Context, key string) error
	// received tells how many invalidations have arrived, and how often the subscription to them was lost.
	received() (invalidations, losses int64)
	// commands tells how many commands were sent to Redis.
	commands() int64
	close() error
}

type openCache func(instanceConfig) (cache, error)

// answer says when a read began, how long it took, and what answered it.
type answer struct {
	begin time.Time
	took  time.Duration
	tier  tier
}

// instance replays the requests that it is dealt.
type instance struct {
	cfg    instanceConfig
	clock  clock
	shared *shared
	source *sourceClient
	cache  cache
	acks   *entryLog
	stale  *entryLog
	owned  []func() error // closed in reverse
}

func openInstance(cfg instanceConfig, open openCache) (_ *instance, err error) {
	i := &instance{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	if i.clock, err = newClock(); err != nil {
		return nil, err
	}
	if i.shared, err = openShared(cfg.Shared); err != nil {
		return nil, err
	}
	i.owned = append(i.owned, i.shared.close)
	if i.acks, err = createLog(cfg.Acks); err != nil {
		return nil, err
	}
	i.owned = append(i.owned, i.acks.close)
	if i.stale, err = createLog(cfg.Stale); err != nil {
		return nil, err
	}
	i.owned = append(i.owned, i.stale.close)
	if i.source, err = dialSource(cfg.Source); err != nil {
		return nil, err
	}
	i.owned = append(i.owned, i.source.close)
	if i.cache, err = open(cfg); err != nil {
		return nil, err
	}
	i.owned = append(i.owned, i.cache.close) // waits for loads, which use all the others
	return i, nil
}

func (i *instance) close() error {
	var err error
	for len(i.owned) > 0 {
		last := len(i.owned) - 1
		err = errors.Join(err, i.owned[last]())
		i.owned = i.owned[:last]
	}
	return err
}

// run answers requests until their end, and returns what it measured.
func (i *instance) run(ctx context.Context, cancel context.CancelCauseFunc, in *bufio.Reader, out *json.Encoder) (*instanceResult, error) {
	if err := i.cache.ready(ctx); err != nil {
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

func (i *instance) result(workers []*worker) (*instanceResult, error) {
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
		if r.Latency[t], err = encodeHistogram(all.reads[t]); err != nil {
			return nil, err
		}
	}
	r.UpdateLatency, err = encodeHistogram(all.updates)
	return r, err
}
