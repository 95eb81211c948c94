package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/doppio-cache/doppio/bench/internal/trace"
)

// workload is the trace that is to be replayed. It is read twice: once to count it and to number its keys, then to
// deal it; it is never held in memory, its distinct keys are.
type workload struct {
	cfg      Config
	name     string
	format   string
	requests int64
	slots    map[uint64]uint32 // by key
}

// survey reads the trace to its end, which also tells at once whether it can be read.
func survey(ctx context.Context, cfg Config) (*workload, error) {
	w := &workload{cfg: cfg, name: cfg.Trace, slots: map[uint64]uint32{}}
	if cfg.Trace == "" {
		w.name = fmt.Sprintf("Zipf with exponent %g over %d keys, seed %d", cfg.Exponent, cfg.Keys, cfg.Seed)
		w.format = "generated"
	}
	err := w.each(ctx, func(key uint64) error {
		w.requests++
		if _, known := w.slots[key]; !known {
			if len(w.slots) == maxSlots {
				return fmt.Errorf("demo: %s has over %d distinct keys", w.name, maxSlots)
			}
			w.slots[key] = uint32(len(w.slots))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if w.requests == 0 {
		return nil, fmt.Errorf("demo: %s holds no requests", w.name)
	}
	return w, nil
}

// each calls f for each request.
func (w *workload) each(ctx context.Context, f func(key uint64) error) (err error) {
	source, err := w.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	for n := 0; w.cfg.Requests == 0 || n < w.cfg.Requests; n++ {
		key, err := source.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n%batchSize == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f(key); err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) open() (trace.Source, error) {
	if w.cfg.Trace == "" {
		return trace.NewZipf(trace.ZipfConfig{
			Requests: w.cfg.Requests, Keys: w.cfg.Keys, Exponent: w.cfg.Exponent, Seed: w.cfg.Seed,
		})
	}
	r, err := trace.Open(w.cfg.Trace, w.cfg.Format)
	if err != nil {
		return nil, err
	}
	w.format = string(r.Format())
	return r, nil
}

// deal passes the requests to the instances in turn, one each, and gathers them in batches. It ends with ctx, or with the trace.
func (w *workload) deal(ctx context.Context, to []chan<- []request) error {
	random := rand.New(rand.NewPCG(w.cfg.Seed, 0x646f7070696f)) // which requests are updates is the same each time
	batches := make([][]request, len(to))
	send := func(n int) error {
		if len(batches[n]) == 0 {
			return nil
		}
		select {
		case to[n] <- batches[n]:
			batches[n] = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	turn := 0
	err := w.each(ctx, func(key uint64) error {
		n := turn
		turn = (turn + 1) % len(to)
		batches[n] = append(batches[n], request{
			slot: w.slots[key], key: key, update: random.Float64() < w.cfg.UpdateShare,
		})
		if len(batches[n]) < batchSize {
			return nil
		}
		return send(n)
	})
	for n := range to {
		if err == nil {
			err = send(n)
		}
	}
	return err
}
