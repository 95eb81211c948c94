package remote

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/topology"
)

// Defaults of Options.
const (
	// MaxLanes is the highest value of Options.Lanes.
	MaxLanes               = 64
	DefaultTimeout         = 2 * time.Second
	DefaultReadTimeout     = 250 * time.Millisecond
	DefaultBatchSize       = 512
	DefaultScanPage        = 512
	DefaultBreakerFailures = 8
	DefaultBreakerPause    = time.Second
)

// Options configure a Store. The zero value is useful.
type Options struct {
	// Timeout bounds a change, and each round trip of a batch of changes or of a scan. Defaults to
	// DefaultTimeout.
	Timeout time.Duration
	// ReadTimeout bounds a read with the client's retries, a lease, a fill, and each round trip of
	// a batch of these. Defaults to DefaultReadTimeout, or Timeout if that is less.
	ReadTimeout time.Duration
	// BatchSize is the most keys in one round trip of a batch. Defaults to DefaultBatchSize.
	BatchSize int
	// ScanPage is the COUNT of SCAN. Defaults to DefaultScanPage.
	ScanPage int
	// Namespace names the lanes in which changes are announced. It must not have a brace. If it is
	// empty, nothing is announced.
	Namespace string
	// Lanes is the number of lanes of the namespace, the same for all instances. At most MaxLanes;
	// defaults to 1.
	Lanes int
	// BreakerFailures is how many outages in a row open the breaker of a server: a Cluster has one
	// for each node. While it is open, calls fail at once with ErrUnavailable. An outage that took
	// the whole timeout of a call counts twice. Defaults to DefaultBreakerFailures.
	BreakerFailures int
	// BreakerPause is how long the breaker stays open before it lets one call try. Defaults to
	// DefaultBreakerPause.
	BreakerPause time.Duration
	// TracerProvider provides the tracer for the spans of calls. Defaults to OpenTelemetry's global
	// one.
	TracerProvider trace.TracerProvider
	// Logger logs when the breaker opens and closes. Defaults to a silent one.
	Logger *slog.Logger
	// Topology describes the client's servers. It is shared with the receivers of the same client.
	// New makes one if it is nil.
	Topology *topology.Topology
	// Panics counts and logs the panics of the Redis client's hooks and of the TracerProvider. If
	// it is nil, they are not counted.
	Panics *guard.Panics
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = min(DefaultReadTimeout, o.Timeout)
	}
	if o.BatchSize == 0 {
		o.BatchSize = DefaultBatchSize
	}
	if o.ScanPage == 0 {
		o.ScanPage = DefaultScanPage
	}
	if o.Lanes == 0 {
		o.Lanes = 1
	}
	if o.BreakerFailures == 0 {
		o.BreakerFailures = DefaultBreakerFailures
	}
	if o.BreakerPause == 0 {
		o.BreakerPause = DefaultBreakerPause
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var faults []error
	notNegative := func(field string, bad bool) {
		if bad {
			faults = append(faults, &OptionError{Field: field, Reason: "must not be negative"})
		}
	}
	notNegative("Timeout", o.Timeout < 0)
	notNegative("ReadTimeout", o.ReadTimeout < 0)
	notNegative("BatchSize", o.BatchSize < 0)
	notNegative("ScanPage", o.ScanPage < 0)
	notNegative("Lanes", o.Lanes < 0)
	if o.Lanes > MaxLanes {
		faults = append(faults, &OptionError{Field: "Lanes", Reason: fmt.Sprintf("is %d, at most %d", o.Lanes, MaxLanes)})
	}
	if strings.ContainsAny(o.Namespace, "{}") {
		faults = append(faults, &OptionError{Field: "Namespace", Reason: "must not have a brace"})
	}
	notNegative("BreakerFailures", o.BreakerFailures < 0)
	notNegative("BreakerPause", o.BreakerPause < 0)
	return errors.Join(faults...)
}
