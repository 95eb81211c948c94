package tiered

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/local"
)

// counters of one cache, all off the hot path; local hits are counted by its scope.
type counters struct {
	remoteHits, remoteMisses, remoteErrors, decodeErrors, foreign atomic.Uint64
	loads, loadErrors, joined, refreshes, staleServed             atomic.Uint64
	leasesBusy                                                    atomic.Uint64
	fills, fillsRefused, fillsSkipped, storeErrors                atomic.Uint64
	sets, deletes                                                 atomic.Uint64
}

// Stats is a snapshot of a client: plain numbers since it was made.
type Stats struct {
	CacheStats // of all caches together

	Caches map[string]CacheStats // by name
	Local  local.Stats           // the local tier, shared by all caches

	Coherent        bool   // the local tier can be trusted now
	BreakerOpen     bool   // calls to the remote tier fail at once
	Subscriptions   uint64 // how often a subscription to invalidations became Live
	Losses          uint64 // how often a Live one was lost
	SubscribeErrors uint64 // how often an attempt to make one failed
	Invalidations   uint64 // messages received, replayed ones included
	Tracked         uint64 // keys that Redis itself said to have changed (Options.Tracking)

	// Drops is how often the local tier was dropped, by reason: first-sync, gap, tail-lost,
	// trimmed, history-lost, unreadable, tracking. Reasons that did not occur are absent.
	Drops map[string]uint64
	Lanes []LaneStats

	Pending          int           // invalidations that could not be delivered yet
	PendingAge       time.Duration // since when the oldest of them waits
	PendingDelivered uint64        // how many were delivered by a retry
	PendingOverflows uint64        // how often there were too many, and a cache was invalidated instead
	NoticesDropped   uint64        // transitions that OnStateChange was too slow for

	// Panics is how many panics were caught in goroutines of the client, of code that was passed to
	// it: functions in Options, the Logger, the TracerProvider, the MeterProvider, and hooks and
	// dialers of the Redis client. Panics of loaders and codecs are errors of loads and of calls,
	// and counted as such.
	Panics uint64
}

// LaneStats is a snapshot of one lane.
type LaneStats struct {
	State   State
	Applied string // id of the stream up to which every invalidation is known
	Newest  string // newest id known
}

// CacheStats are the counters of one cache.
type CacheStats struct {
	LocalHits   uint64
	LocalMisses uint64 // nothing local
	LocalStale  uint64 // a local copy that could not be served: invalid, past its life, or not to be trusted

	RemoteHits   uint64
	RemoteMisses uint64
	// RemoteErrors is how many calls to the remote tier failed, or were not made since it did not
	// answer, whoever was told: one for each key that the call was about, or one where it was about
	// none. A failure is counted once: one that DecodeErrors or StoreErrors counts is not counted
	// here. A caller's own mistake, the end of its context, and calls after Close are no failures
	// of the remote tier.
	RemoteErrors uint64
	DecodeErrors uint64 // records that did not decode
	Foreign      uint64 // records of a later version, taken for misses

	Loads       uint64 // loader calls
	LoadErrors  uint64
	Joined      uint64 // callers that waited for another caller's load
	LeasesBusy  uint64 // loads that waited for another instance's
	Refreshes   uint64 // loads ahead of an entry's end
	StaleServed uint64 // values past their life given because a load failed or was slow

	Fills        uint64 // loaded values stored in the remote tier
	FillsRefused uint64 // because the key was changed while its load ran
	FillsSkipped uint64 // because another instance was loading still when HardTimeout had passed, or the remote tier could not be asked
	StoreErrors  uint64 // loaded values that could not be stored: they do not encode, or the remote tier did not take them

	Sets    uint64 // entries stored by Set, SetMany, SetIfAbsent, GetOrSetValue and Increment
	Deletes uint64 // deletions acknowledged, whether there was an entry or not
}

func (s *CacheStats) add(o CacheStats) {
	s.LocalHits += o.LocalHits
	s.LocalMisses += o.LocalMisses
	s.LocalStale += o.LocalStale
	s.RemoteHits += o.RemoteHits
	s.RemoteMisses += o.RemoteMisses
	s.RemoteErrors += o.RemoteErrors
	s.DecodeErrors += o.DecodeErrors
	s.Foreign += o.Foreign
	s.Loads += o.Loads
	s.LoadErrors += o.LoadErrors
	s.Joined += o.Joined
	s.LeasesBusy += o.LeasesBusy
	s.Refreshes += o.Refreshes
	s.StaleServed += o.StaleServed
	s.Fills += o.Fills
	s.FillsRefused += o.FillsRefused
	s.FillsSkipped += o.FillsSkipped
	s.StoreErrors += o.StoreErrors
	s.Sets += o.Sets
	s.Deletes += o.Deletes
}

func (s *shared[V]) stats() CacheStats {
	c := &s.counts
	out := CacheStats{
		RemoteHits: c.remoteHits.Load(), RemoteMisses: c.remoteMisses.Load(), RemoteErrors: c.remoteErrors.Load(), DecodeErrors: c.decodeErrors.Load(), Foreign: c.foreign.Load(),
		Loads: c.loads.Load(), LoadErrors: c.loadErrors.Load(), Joined: c.joined.Load(), LeasesBusy: c.leasesBusy.Load(), Refreshes: c.refreshes.Load(), StaleServed: c.staleServed.Load(),
		Fills: c.fills.Load(), FillsRefused: c.fillsRefused.Load(), FillsSkipped: c.fillsSkipped.Load(), StoreErrors: c.storeErrors.Load(),
		Sets: c.sets.Load(), Deletes: c.deletes.Load(),
	}
	if s.scope != nil {
		out.LocalHits, out.LocalMisses, out.LocalStale = s.scope.Stats()
	}
	return out
}

// Stats gives a snapshot. It may be called after Close.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	type named struct {
		name  string
		stats func() CacheStats
	}
	caches := make([]named, 0, len(c.caches))
	for name, r := range c.caches {
		caches = append(caches, named{name, r.stats})
	}
	c.mu.Unlock()
	out := Stats{Caches: make(map[string]CacheStats, len(caches)), Panics: c.panics.Count()}
	for _, cache := range caches {
		s := cache.stats()
		out.Caches[cache.name] = s
		out.add(s)
	}
	if c.opts.Disabled {
		return out
	}
	out.Local = c.local.Stats()
	out.Coherent = c.co.Trusted()
	out.BreakerOpen = c.remote.BreakerOpen()
	known := c.co.Stats()
	out.Subscriptions, out.Losses, out.SubscribeErrors = known.Synced, known.Lost, known.Refused
	out.Invalidations, out.Tracked, out.Drops = known.Received, known.Tracked, known.Drops
	for _, l := range known.Lanes {
		out.Lanes = append(out.Lanes, LaneStats(l))
	}
	out.Pending, out.PendingAge = known.Retries, known.RetryAge
	out.PendingDelivered, out.PendingOverflows = known.Retried, known.RetriesOverflown
	if c.notices != nil {
		out.NoticesDropped = c.notices.dropped.Load()
	}
	return out
}

// metrics report Stats to OpenTelemetry: one callback reads the counters that are kept anyway.
type metrics struct {
	registration metric.Registration
	panics       *guard.Panics
}

// meterPart is what panics of the meter are logged as.
const meterPart = "MeterProvider"

var errMeterPanicked = errors.New("doppio: the MeterProvider panicked")

// cacheMetrics are the counters of CacheStats that are reported.
var cacheMetrics = []struct {
	name, unit, description string
	read                    func(CacheStats) uint64
}{
	{"doppio.local.hits", "{hit}", "Reads answered by the local tier", func(s CacheStats) uint64 { return s.LocalHits }},
	{"doppio.local.misses", "{miss}", "Reads that found nothing local", func(s CacheStats) uint64 { return s.LocalMisses }},
	{"doppio.local.stale", "{entry}", "Local entries that could not be served", func(s CacheStats) uint64 { return s.LocalStale }},
	{"doppio.remote.hits", "{hit}", "Reads answered by the remote tier", func(s CacheStats) uint64 { return s.RemoteHits }},
	{"doppio.remote.misses", "{miss}", "Reads that found nothing in the remote tier", func(s CacheStats) uint64 { return s.RemoteMisses }},
	{"doppio.remote.errors", "{error}", "Failed calls to the remote tier", func(s CacheStats) uint64 { return s.RemoteErrors }},
	{"doppio.decode.errors", "{error}", "Records that did not decode", func(s CacheStats) uint64 { return s.DecodeErrors }},
	{"doppio.loads", "{load}", "Loader calls", func(s CacheStats) uint64 { return s.Loads }},
	{"doppio.load.errors", "{error}", "Failed loader calls", func(s CacheStats) uint64 { return s.LoadErrors }},
	{"doppio.load.joined", "{caller}", "Callers that waited for another caller's load", func(s CacheStats) uint64 { return s.Joined }},
	{"doppio.stale.served", "{value}", "Values served past their life", func(s CacheStats) uint64 { return s.StaleServed }},
	{"doppio.leases.busy", "{load}", "Loads that waited for another instance's", func(s CacheStats) uint64 { return s.LeasesBusy }},
	{"doppio.fills", "{fill}", "Loaded values stored in the remote tier", func(s CacheStats) uint64 { return s.Fills }},
	{"doppio.fills.refused", "{fill}", "Fills refused because the key was changed during the load", func(s CacheStats) uint64 { return s.FillsRefused }},
	{"doppio.store.errors", "{error}", "Loaded values that could not be stored", func(s CacheStats) uint64 { return s.StoreErrors }},
}

func newMetrics(c *Client) (m *metrics, err error) {
	defer func() {
		if c.panics.Caught(meterPart, recover()) {
			m, err = nil, errMeterPanicked
		}
	}()
	provider := c.opts.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scopeName)
	counters := make([]metric.Int64ObservableCounter, len(cacheMetrics))
	instruments := make([]metric.Observable, 0, len(cacheMetrics)+1)
	var errs []error
	for i, m := range cacheMetrics {
		counter, err := meter.Int64ObservableCounter(m.name, metric.WithUnit(m.unit), metric.WithDescription(m.description))
		errs = append(errs, err)
		counters[i] = counter
		instruments = append(instruments, counter)
	}
	received, err1 := meter.Int64ObservableCounter("doppio.invalidations", metric.WithUnit("{message}"), metric.WithDescription("Invalidation messages received"))
	drops, err2 := meter.Int64ObservableCounter("doppio.local.drops", metric.WithUnit("{drop}"), metric.WithDescription("Times the local tier was dropped, by reason"))
	losses, err3 := meter.Int64ObservableCounter("doppio.subscription.losses", metric.WithUnit("{loss}"), metric.WithDescription("Live subscriptions to invalidations that were lost"))
	depth, err4 := meter.Int64ObservableGauge("doppio.pending", metric.WithUnit("{invalidation}"), metric.WithDescription("Invalidations that could not be delivered yet"))
	age, err5 := meter.Float64ObservableGauge("doppio.pending.age", metric.WithUnit("s"), metric.WithDescription("Age of the oldest invalidation that could not be delivered yet"))
	coherent, err6 := meter.Int64ObservableGauge("doppio.coherent", metric.WithUnit("1"), metric.WithDescription("1 while the local tier can be trusted"))
	delivered, err7 := meter.Int64ObservableCounter("doppio.pending.delivered", metric.WithUnit("{invalidation}"), metric.WithDescription("Invalidations delivered by a retry"))
	overflows, err8 := meter.Int64ObservableCounter("doppio.pending.overflows", metric.WithUnit("{overflow}"), metric.WithDescription("Times there were too many, and a cache was invalidated"))
	if err := errors.Join(append(errs, err1, err2, err3, err4, err5, err6, err7, err8)...); err != nil {
		return nil, err
	}
	instruments = append(instruments, received, drops, losses, depth, age, coherent, delivered, overflows)
	namespace := attribute.String("doppio.namespace", c.opts.Namespace)
	r, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) (err error) {
		defer func() {
			if c.panics.Caught(meterPart, recover()) {
				err = errMeterPanicked
			}
		}()
		s := c.Stats()
		for name, cache := range s.Caches {
			attrs := metric.WithAttributes(namespace, attribute.String("doppio.cache", name))
			for i, m := range cacheMetrics {
				o.ObserveInt64(counters[i], int64(m.read(cache)), attrs)
			}
		}
		ns := metric.WithAttributes(namespace)
		o.ObserveInt64(received, int64(s.Invalidations), ns)
		for why, n := range s.Drops {
			o.ObserveInt64(drops, int64(n), metric.WithAttributes(namespace, attribute.String("doppio.reason", why)))
		}
		o.ObserveInt64(losses, int64(s.Losses), ns)
		o.ObserveInt64(depth, int64(s.Pending), ns)
		o.ObserveFloat64(age, s.PendingAge.Seconds(), ns)
		o.ObserveInt64(delivered, int64(s.PendingDelivered), ns)
		o.ObserveInt64(overflows, int64(s.PendingOverflows), ns)
		live := int64(0)
		if s.Coherent {
			live = 1
		}
		o.ObserveInt64(coherent, live, ns)
		return nil
	}, instruments...)
	return &metrics{registration: r, panics: c.panics}, err
}

func (m *metrics) close() (err error) {
	defer func() {
		if m.panics.Caught(meterPart, recover()) {
			err = errMeterPanicked
		}
	}()
	return m.registration.Unregister()
}
