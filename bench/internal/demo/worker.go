package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// measures are the latencies of the requests that were answered.
type measures struct {
	reads   [instance.Tiers]*instance.Histogram
	updates *instance.Histogram
}

func newMeasures() *measures {
	m := &measures{updates: instance.NewHistogram()}
	for t := range m.reads {
		m.reads[t] = instance.NewHistogram()
	}
	return m
}

func (m *measures) merge(from *measures) {
	m.updates.Merge(from.updates)
	for t := range m.reads {
		m.reads[t].Merge(from.reads[t])
	}
}

// maxSamples is how many messages of errors a worker and an instance keep.
const maxSamples = 3

// body is what every item carries: about as much as a small record has.
var body = strings.Repeat("0123456789abcdef", 8)

// worker answers one request at a time. What it measures is its own until it ends.
type worker struct {
	*replayer
	*measures
	reads, updates, dropped, errors, invalidations int64
	samples                                        []string
	pending                                        [instance.NumCounters]uint64 // not yet in shared memory
}

func newWorker(i *replayer) *worker {
	return &worker{replayer: i, measures: newMeasures()}
}

// run answers batches until there are no more, or drops them once the demo is stopped.
func (w *worker) run(ctx context.Context, batches <-chan []request) {
	for batch := range batches {
		for _, r := range batch {
			switch {
			case ctx.Err() != nil || w.Shared.Raised(instance.Stop):
				w.dropped++
				continue
			case r.update:
				w.update(ctx, r)
			default:
				w.read(ctx, r)
			}
			w.pending[instance.Done]++
		}
		w.publish()
	}
}

// publish adds what was counted since the last time to the counters that the parent watches.
func (w *worker) publish() {
	for c, n := range w.pending {
		if n > 0 {
			w.Shared.Add(w.cfg.Index, instance.Counter(c), n)
		}
	}
	w.pending = [instance.NumCounters]uint64{}
}

// read reads a key through the cache and checks what it gets against what was acknowledged before it began.
func (w *worker) read(ctx context.Context, r request) {
	w.reads++
	key := strconv.FormatUint(r.key, 10)
	acked := w.Shared.Acked(r.slot)
	item, a, err := w.cache.Get(ctx, key, func(ctx context.Context) (instance.Item, error) {
		version, err := w.Source.Load(ctx, r.slot)
		return instance.Item{Key: r.key, Version: version, Body: body}, err
	})
	if err != nil {
		w.fail(fmt.Errorf("read: %w", err))
		return
	}
	if item.Key != r.key || item.Body != body {
		w.fail(fmt.Errorf("read: the value of key %d is another's, or spoilt", r.key))
		return
	}
	w.measures.reads[a.Tier].Record(a.Took)
	w.pending[instance.NearReads+instance.Counter(a.Tier)]++
	if item.Version < acked {
		w.Stale.Append(instance.Entry{Slot: r.slot, Version: item.Version, At: w.Clock.At(a.Begin), Tier: a.Tier})
		w.pending[instance.StaleReads]++
	}
}

// update commits a new version to the source, then invalidates. Once that is acknowledged, no read that begins later may
// return an older version.
func (w *worker) update(ctx context.Context, r request) {
	w.updates++
	begin := time.Now()
	version, err := w.Source.Update(ctx, r.slot)
	if err != nil {
		w.fail(fmt.Errorf("update: %w", err))
		return
	}
	if err := w.cache.invalidate(ctx, strconv.FormatUint(r.key, 10)); err != nil {
		w.fail(fmt.Errorf("invalidation: %w", err))
		return
	}
	now := time.Now()
	w.Acks.Append(instance.Entry{Slot: r.slot, Version: version, At: w.Clock.At(now)})
	w.Shared.Ack(r.slot, version)
	w.invalidations++
	w.measures.updates.Record(now.Sub(begin))
	w.pending[instance.Updates]++
}

func (w *worker) fail(err error) {
	w.errors++
	w.pending[instance.Errors]++
	if len(w.samples) < maxSamples {
		w.samples = append(w.samples, err.Error())
	}
}
