package tiered

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics report Stats to OpenTelemetry: one callback reads the counters that are kept anyway.
type metrics struct{ registration metric.Registration }

// cacheMetrics are the counters of CacheStats that are reported.
var cacheMetrics = []struct {
	name, unit, description string
	read                    func(CacheStats) uint64
}{
	{"doppio.near.hits", "{hit}", "Reads answered by the near tier", func(s CacheStats) uint64 { return s.NearHits }},
	{"doppio.near.misses", "{miss}", "Reads that found nothing near", func(s CacheStats) uint64 { return s.NearMisses }},
	{"doppio.near.stale", "{entry}", "Near entries that could not be served", func(s CacheStats) uint64 { return s.NearStale }},
	{"doppio.far.hits", "{hit}", "Reads answered by the far tier", func(s CacheStats) uint64 { return s.FarHits }},
	{"doppio.far.misses", "{miss}", "Reads that found nothing in the far tier", func(s CacheStats) uint64 { return s.FarMisses }},
	{"doppio.far.errors", "{error}", "Failed calls to the far tier", func(s CacheStats) uint64 { return s.FarErrors }},
	{"doppio.decode.errors", "{error}", "Records that did not decode", func(s CacheStats) uint64 { return s.DecodeErrors }},
	{"doppio.loads", "{load}", "Loader calls", func(s CacheStats) uint64 { return s.Loads }},
	{"doppio.load.errors", "{error}", "Failed loader calls", func(s CacheStats) uint64 { return s.LoadErrors }},
	{"doppio.load.joined", "{caller}", "Callers that waited for another caller's load", func(s CacheStats) uint64 { return s.Joined }},
	{"doppio.stale.served", "{value}", "Values served past their life", func(s CacheStats) uint64 { return s.StaleServed }},
	{"doppio.fills", "{fill}", "Loaded values stored in the far tier", func(s CacheStats) uint64 { return s.Fills }},
	{"doppio.fills.refused", "{fill}", "Fills refused because the key was changed during the load", func(s CacheStats) uint64 { return s.FillsRefused }},
	{"doppio.store.errors", "{error}", "Loaded values that could not be stored", func(s CacheStats) uint64 { return s.StoreErrors }},
}

func newMetrics(c *Client) (*metrics, error) {
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
	received, err := meter.Int64ObservableCounter("doppio.invalidations", metric.WithUnit("{message}"), metric.WithDescription("Invalidation messages received"))
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	instruments = append(instruments, received)
	namespace := attribute.String("doppio.namespace", c.opts.Namespace)
	r, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := c.Stats()
		for name, cache := range s.Caches {
			attrs := metric.WithAttributes(namespace, attribute.String("doppio.cache", name))
			for i, m := range cacheMetrics {
				o.ObserveInt64(counters[i], int64(m.read(cache)), attrs)
			}
		}
		o.ObserveInt64(received, int64(s.Invalidations), metric.WithAttributes(namespace))
		return nil
	}, instruments...)
	return &metrics{registration: r}, err
}

func (m *metrics) close() error { return m.registration.Unregister() }
