package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// The names of latencies that are not a tier's.
const (
	// WriteLatency is that of a commit to the source and the change of the cache.
	WriteLatency = "write"

	responseLatency = "response" // in an open loop: of all requests, those that failed too, from when they were to begin
)

// flushEvery is after how many requests a worker adds its counts to the shared memory, and flushAfter how long at most.
const (
	flushEvery = 64
	flushAfter = 20 * time.Millisecond
)

// measures are what one goroutine measured.
type measures struct {
	latency map[string]*Histogram
	lag     *Histogram
	samples []string // of errors
}

// maxSamples is how many messages of errors are kept.
const maxSamples = 3

func (m *measures) sample(messages ...string) {
	m.samples = append(m.samples, messages[:min(len(messages), maxSamples-len(m.samples))]...)
}

func newMeasures() *measures {
	m := &measures{latency: make(map[string]*Histogram), lag: NewHistogram()}
	for t := range Tiers {
		m.latency[t.String()] = NewHistogram()
	}
	m.latency[WriteLatency] = NewHistogram()
	m.latency[responseLatency] = NewHistogram()
	return m
}

func (m *measures) merge(from *measures) {
	for name, h := range from.latency {
		m.latency[name].Merge(h)
	}
	m.sample(from.samples...)
}

// bodyOf is what every value carries.
func bodyOf(size int) string {
	const digits = "0123456789abcdef"
	return strings.Repeat(digits, size/len(digits)+1)[:size]
}

// worker sends one request at a time.
type worker struct {
	*member
	*measures
	random  *rand.Rand
	reads   [Tiers]*Histogram   // those of latency, found quickly
	number  int                 // among all that write
	asked   int                 // fresh names
	pending [NumCounters]uint64 // not yet in shared memory
	waiting int
	flushed time.Time
}

func newWorker(m *member, n int) *worker {
	w := &worker{
		member: m, measures: newMeasures(), random: rand.New(rand.NewPCG(m.cfg.Seed, uint64(n))), number: m.cfg.First + n,
		flushed: time.Now(),
	}
	for t := range w.reads {
		w.reads[t] = w.latency[Tier(t).String()]
	}
	return w
}

// run sends requests until ctx ends.
func (w *worker) run(ctx context.Context) *measures {
	p := newPace(w.cfg.Rate/float64(w.cfg.Workers), w.random)
	defer p.end()
	defer w.flush()
	if w.hand != nil && !w.awaitMeasurement(ctx) {
		return w.measures
	}
	for {
		intended, ok := p.wait(ctx)
		if !ok {
			return w.measures
		}
		k, update, ok := w.next()
		if !ok {
			return w.measures
		}
		measured, calm := w.Shared.Raised(Measure), w.Shared.Raised(Calm)
		var ended time.Time
		errorsBefore := w.pending[Errors]
		if update {
			w.pending[Writes]++
			ended = w.write(ctx, k, measured, Updates)
		} else {
			ended = w.read(ctx, k, measured)
		}
		// Those that failed too: somebody waited for them as long. One that the end of the run broke off would have taken longer.
		if w.cfg.Rate > 0 && measured {
			w.latency[responseLatency].Record(ended.Sub(intended))
		}
		if calm {
			w.pending[CalmErrors] += w.pending[Errors] - errorsBefore
		}
		w.pending[Done]++
		if w.waiting++; w.waiting >= flushEvery || intended.Sub(w.flushed) > flushAfter {
			w.flush()
			w.flushed = intended
		}
	}
}

// next is the key of the next request, and whether that is an update. It returns false when all that were dealt are answered.
func (w *worker) next() (k int, update, ok bool) {
	if w.hand != nil {
		return w.hand.next()
	}
	return w.keys.pick(w.random), w.random.Float64() >= w.cfg.ReadShare, true
}

// flush adds what was counted since the last time to the counters that the parent watches.
func (w *worker) flush() {
	for c, n := range w.pending {
		if n > 0 {
			w.Shared.Add(w.cfg.Index, Counter(c), n)
		}
	}
	w.pending, w.waiting = [NumCounters]uint64{}, 0
}

// keyName is the name of a key of the source.
func (m *member) keyName(k int) string {
	if m.keys == nil {
		return strconv.Itoa(k)
	}
	return m.keys.names[k]
}

// name is by which a key is asked for. A fresh one is nobody else's, and of this process, which may have come in another's place.
func (w *worker) name(k int) string {
	if !w.cfg.Fresh {
		return w.keyName(k)
	}
	w.asked++
	return fmt.Sprintf("%s-%x-%d-%d", w.keys.names[k], w.cfg.Seed, w.number, w.asked)
}

// read reads a key through the cache and checks what it gets against what was acknowledged before it began. It gives when
// it ended.
func (w *worker) read(ctx context.Context, k int, measured bool) time.Time {
	slot := uint32(k)
	acked := w.Shared.Acked(slot)
	item, a, err := w.cache.get(ctx, w.name(k), func(ctx context.Context) (Item, error) {
		version, err := w.Source.Load(ctx, slot)
		if err != nil {
			err = fmt.Errorf("%w: %w", errSource, err)
		}
		return Item{Key: uint64(k), Version: version, Body: w.body}, err
	})
	if err == nil && (item.Key != uint64(k) || item.Body != w.body) {
		err = errSpoilt
	}
	if err != nil {
		w.fail(ctx, err)
		return time.Now()
	}
	if measured {
		w.reads[a.tier].Record(a.took)
	}
	w.pending[LocalReads+Counter(a.tier)]++
	if item.Version < acked {
		w.Log.Add(history.Op{
			Kind: history.Read, Start: history.At(a.begin), End: history.At(a.begin.Add(a.took)), Key: slot, Tier: letters[a.tier],
			Result: history.Value, Version: item.Version,
		})
		w.Log.Flush() // the process may be killed, and the read has been counted
		w.pending[StaleReads]++
	}
	return a.begin.Add(a.took)
}

// write commits a new version to the source, then changes the cache. Once that is acknowledged, no read that begins later may
// return an older version.
func (w *worker) write(ctx context.Context, k int, measured bool, counter Counter) time.Time {
	how := w.cfg.Write
	if how == Set {
		// Versions that two writers set out of order would be the application's fault, so each key has one.
		k = owned(k, w.cfg.Keys, w.number, w.cfg.Writers)
	}
	slot := uint32(k)
	begin := time.Now()
	version, err := w.Source.Commit(ctx, slot)
	if err != nil {
		w.fail(ctx, fmt.Errorf("%w: %w", errSource, err))
		return time.Now()
	}
	method := history.Delete
	if how == Set {
		method = history.Set
	}
	_, err = w.Log.Change(method, slot, version, func() error {
		_, err := w.cache.change(ctx, how, w.keyName(k), Item{Key: uint64(k), Version: version, Body: w.body})
		return err
	})
	now := time.Now()
	if err != nil {
		w.fail(ctx, err)
		return now
	}
	w.Shared.Ack(slot, version)
	if measured && counter == Updates {
		w.latency[WriteLatency].Record(now.Sub(begin))
	}
	w.pending[counter]++
	return now
}

// fail counts an error, unless it is that of the end.
func (w *worker) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.sample(err.Error())
	w.pending[kindOf(err).counter()]++
	w.pending[Errors]++
}
