package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// measures are the latencies of the requests that were answered.
type measures struct {
	reads   [tiers]*hdrhistogram.Histogram
	updates *hdrhistogram.Histogram
}

func newMeasures() *measures {
	m := &measures{updates: newHistogram()}
	for t := range m.reads {
		m.reads[t] = newHistogram()
	}
	return m
}

func (m *measures) merge(from *measures) {
	m.updates.Merge(from.updates) // of the same bounds: nothing is dropped
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
	*instance
	*measures
	reads, updates, dropped, errors, invalidations int64
	samples                                        []string
	pending                                        [counters]uint64 // not yet in shared memory
}

func newWorker(i *instance) *worker {
	return &worker{instance: i, measures: newMeasures()}
}

// run answers batches until there are no more, or drops them once the demo is stopped.
func (w *worker) run(ctx context.Context, batches <-chan []request) {
	for batch := range batches {
		for _, r := range batch {
			switch {
			case ctx.Err() != nil || w.shared.stopped():
				w.dropped++
				continue
			case r.update:
				w.update(ctx, r)
			default:
				w.read(ctx, r)
			}
			w.pending[countDone]++
		}
		w.publish()
	}
}

// publish adds what was counted since the last time to the counters that the parent watches.
func (w *worker) publish() {
	for c, n := range w.pending {
		if n > 0 {
			w.shared.add(w.cfg.Index, counter(c), n)
		}
	}
	w.pending = [counters]uint64{}
}

// read reads a key through the cache and checks what it gets against what was acknowledged before it began.
func (w *worker) read(ctx context.Context, r request) {
	w.reads++
	key := strconv.FormatUint(r.key, 10)
	acked := w.shared.acked(r.slot)
	item, a, err := w.cache.get(ctx, key, func(ctx context.Context) (Item, error) {
		version, err := w.source.load(ctx, r.slot)
		return Item{Key: r.key, Version: version, Body: body}, err
	})
	if err != nil {
		w.fail(fmt.Errorf("read: %w", err))
		return
	}
	if item.Key != r.key || item.Body != body {
		w.fail(fmt.Errorf("read: the value of key %d is another's, or spoilt", r.key))
		return
	}
	record(w.measures.reads[a.tier], a.took)
	w.pending[countNear+counter(a.tier)]++
	if item.Version < acked {
		w.stale.append(entry{slot: r.slot, version: item.Version, at: w.clock.at(a.begin), tier: a.tier})
		w.pending[countStale]++
	}
}

// update commits a new version to the source, then invalidates. Once that is acknowledged, no read that begins later may
// return an older version.
func (w *worker) update(ctx context.Context, r request) {
	w.updates++
	begin := time.Now()
	version, err := w.source.update(ctx, r.slot)
	if err != nil {
		w.fail(fmt.Errorf("update: %w", err))
		return
	}
	if err := w.cache.invalidate(ctx, strconv.FormatUint(r.key, 10)); err != nil {
		w.fail(fmt.Errorf("invalidation: %w", err))
		return
	}
	now := time.Now()
	w.acks.append(entry{slot: r.slot, version: version, at: w.clock.at(now)})
	w.shared.ack(r.slot, version)
	w.invalidations++
	record(w.measures.updates, now.Sub(begin))
	w.pending[countUpdates]++
}

func (w *worker) fail(err error) {
	w.errors++
	w.pending[countErrors]++
	if len(w.samples) < maxSamples {
		w.samples = append(w.samples, err.Error())
	}
}
