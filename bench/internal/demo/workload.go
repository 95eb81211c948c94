package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/trace"
)

// workload is the trace that is to be replayed: its requests with their keys numbered, in a file.
// In memory are its distinct keys, and only while they are numbered.
type workload struct {
	name   string
	format string
	keys   int
	dealt  *fleet.Dealt
}

// survey reads the trace, decides which of its requests are updates, and writes them to a file.
func survey(ctx context.Context, cfg Config, path string) (_ *workload, err error) {
	w := &workload{name: cfg.Trace}
	source, err := w.open(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	dealer, err := fleet.NewDealer(path)
	if err != nil {
		return nil, err
	}
	err = w.deal(ctx, cfg, source, dealer)
	dealt, closed := dealer.Close()
	if err = errors.Join(err, closed); err != nil {
		return nil, err
	}
	if dealt.Count == 0 {
		return nil, fmt.Errorf("demo: %s holds no requests", w.name)
	}
	w.dealt = dealt
	return w, nil
}

func (w *workload) open(cfg Config) (trace.Source, error) {
	if cfg.Trace == "" {
		w.name = fmt.Sprintf("Zipf with exponent %g over %d keys, seed %d", cfg.Exponent, cfg.Keys, cfg.Seed)
		w.format = "generated"
		return trace.NewZipf(trace.ZipfConfig{Requests: cfg.Requests, Keys: cfg.Keys, Exponent: cfg.Exponent, Seed: cfg.Seed})
	}
	r, err := trace.Open(cfg.Trace, trace.Options{Format: cfg.Format})
	if err != nil {
		return nil, err
	}
	w.format = string(r.Format())
	return r, nil
}

func (w *workload) deal(ctx context.Context, cfg Config, source trace.Source, to *fleet.Dealer) error {
	random := rand.New(rand.NewPCG(cfg.Seed, 0x646f7070696f)) // which requests are updates is the same each time
	numbers := make(map[uint64]uint32)
	for n := 0; cfg.Requests == 0 || n < cfg.Requests; n++ {
		key, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		const look = 64 // requests between two looks at ctx
		if n%look == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		number, known := numbers[key]
		if !known {
			if len(numbers) == fleet.MaxDealtKeys {
				return fmt.Errorf("demo: %s has over %d distinct keys", w.name, fleet.MaxDealtKeys)
			}
			number = uint32(len(numbers))
			numbers[key] = number
		}
		to.Deal(number, random.Float64() < cfg.UpdateShare)
	}
	w.keys = len(numbers)
	return nil
}
