package tiered

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/doppio-cache/doppio/internal/guard"
)

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
