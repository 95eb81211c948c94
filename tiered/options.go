package tiered

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
)

// Defaults and limits of Options.
const (
	DefaultNamespace     = "doppio"
	DefaultMaxStaleness  = 2 * time.Second
	MinMaxStaleness      = 20 * time.Millisecond
	MaxMaxStaleness      = 24 * time.Hour
	MaxWait              = 24 * time.Hour // of RemoteTimeout, BreakerPause and RetryBackoff
	DefaultRemoteTimeout = 2 * time.Second
	// DefaultRemoteReadTimeout is the default of Options.RemoteReadTimeout, where RemoteTimeout is
	// not less.
	DefaultRemoteReadTimeout = 250 * time.Millisecond
	DefaultMaxLoads          = 256
	DefaultGutterTTL         = time.Second // how long Gutter keeps what is loaded while the local tier cannot be trusted
	DefaultRetryBackoff      = 2 * time.Second
	MinRetryBackoff          = time.Millisecond // below, the first pauses would be none
	DefaultMaxPending        = 10_000
	MaxLanes                 = 64
	MaxCount                 = 1 << 24 // of MaxPending, MaxLoads and BreakerFailures
	MaxNameBytes             = 128
	forbiddenInNames         = ":{}*?[]\\"
)

// Options configure a Client. The zero value is useful. They are copied before use.
type Options struct {
	// Namespace begins every remote key, namespace:name:key, and names the lanes of the fleet:
	// instances that share it must share caches. It may not hold any of : { } * ? [ ] \ and is at
	// most MaxNameBytes long. Defaults to DefaultNamespace.
	Namespace string
	// Disabled makes every Get a miss and runs every load; nothing is stored and no connection is
	// made.
	Disabled bool
	// Local bounds the local tier and chooses its engine. Defaults to 100,000 entries in ristretto.
	// Its Cost is given values of the caches' types; without one, MaxBytes counts what values are
	// found to hold.
	Local local.Options
	// MaxStaleness bounds the staleness of local hits, whatever happens to the network: a hit
	// reflects every change that was acknowledged this long before. Four times in this span Redis
	// is asked, on each lane, for an echo over the subscription to invalidations, and the local
	// tier is trusted for this long after an echo that came back was asked for. MinMaxStaleness to
	// MaxMaxStaleness; defaults to DefaultMaxStaleness.
	MaxStaleness time.Duration
	// WhenIncoherent says what happens while the local tier cannot be trusted; CacheOptions may say
	// otherwise for one cache. Defaults to Gutter.
	WhenIncoherent Incoherence
	// Lanes is how many streams carry the namespace's invalidations, each with a subscription and
	// an echo of its own: more than one spreads them over the nodes of a Cluster. It is fixed for a
	// namespace: an instance that disagrees with what the namespace has makes no change
	// (ErrInvalidOptions) and never trusts its local tier. At most MaxLanes; defaults to 1.
	Lanes int
	// MaxPending bounds the entries whose invalidation could not be delivered and is tried again.
	// When there are more, those of the cache that has most of them turn into one invalidation of
	// that cache, as Clear("") makes it, and other caches keep what they have. Until it is
	// delivered, reads of that cache do not ask the remote tier. At most MaxCount; defaults to
	// DefaultMaxPending, 10,000.
	MaxPending int
	// Tracking adds Redis's own notice of changed keys (CLIENT TRACKING … BCAST, RESP3) as a source
	// of invalidations: it catches writers outside this library, evictions and expiries, and makes
	// every change, fills included, known to every instance. No guarantee rests on it. Standalone
	// Redis and Sentinel only. Defaults to off.
	Tracking bool
	// OnStateChange hears of every transition of a subscription's state, in order, in a goroutine
	// of its own. Of one that is slow, transitions beyond 256 that wait are dropped, and counted in
	// Stats.
	OnStateChange func(StateChange)

	// RemoteTimeout bounds each change, and each round trip of a batch of changes, of Clear and of
	// Count, whatever the client's own timeouts and retries are, but for hooks of the client's that
	// do not heed their context. At most MaxWait; defaults to DefaultRemoteTimeout.
	RemoteTimeout time.Duration
	// RemoteReadTimeout is the most that a read waits for Redis, whatever the client's own
	// timeouts, retries, pool and dials are: Get, Exists and TTL, the reads and leases of one
	// GetOrSet before it loads, its fill afterwards, and each round trip of GetMany and
	// GetOrSetMany. After it, Get returns an error that matches ErrRemoteUnavailable, and GetOrSet
	// loads. At most RemoteTimeout; defaults to DefaultRemoteReadTimeout, or RemoteTimeout if that
	// is less.
	RemoteReadTimeout time.Duration
	// MaxLoads bounds how many loads run at once while they run without the remote tier: because it
	// is skipped or does not answer, so that nothing but this bound stands between the callers and
	// the source. Callers of one key share a load all the while, and a batch is one load. A load
	// beyond the bound waits for its turn, at most for HardTimeout; then it fails with
	// ErrTooManyLoads, or its callers are served the stale value that they allow. Loads that ask
	// the remote tier are not bounded. At most MaxCount; defaults to DefaultMaxLoads, 256.
	MaxLoads int
	// BreakerFailures is how many outages in a row open the breaker of a Redis server; a Cluster
	// has one for each node. While it is open, calls fail at once with ErrRemoteUnavailable. An
	// outage that took the whole timeout of a call counts twice. The breaker opens sooner when the
	// subscription to invalidations finds out: the server that has a lane refuses connections, or
	// has answered no echo for half of MaxStaleness and no call either. It closes as soon as an
	// echo or a call is answered. At most MaxCount; defaults to remote.DefaultBreakerFailures, 8.
	BreakerFailures int
	// BreakerPause is how long the breaker stays open before one call may try. At most MaxWait;
	// defaults to remote.DefaultBreakerPause, 1 s.
	BreakerPause time.Duration
	// RetryBackoff is the longest pause between attempts to subscribe, and between those to deliver
	// what is pending. MinRetryBackoff to MaxWait; defaults to DefaultRetryBackoff.
	RetryBackoff time.Duration

	// TracerProvider makes spans of what leaves the process, and of loads. Defaults to
	// OpenTelemetry's global one.
	TracerProvider trace.TracerProvider
	// TraceLocalHits adds an event to the caller's span for each local hit, when that span records.
	// It costs about 5 ns a hit when it does not.
	TraceLocalHits bool
	// MeterProvider reports the counters of Stats. Defaults to OpenTelemetry's global one.
	MeterProvider metric.MeterProvider
	// Logger hears of state changes and of errors that no caller sees. Defaults to silence.
	Logger *slog.Logger
}

// Incoherence says what the local tier does while its subscription to invalidations is not known to
// be alive.
type Incoherence struct {
	mode   incoherenceMode
	maxAge time.Duration
}

type incoherenceMode uint8

const (
	inherited incoherenceMode = iota // of a cache: the client's; of a client: Gutter
	gutter
	bypass
	serveStale
)

var (
	// Gutter does not serve entries from before. What is loaded now is kept for DefaultGutterTTL,
	// or three quarters of MaxStaleness if that is less, from the begin of the load, so that the
	// source is not stampeded. It is the default.
	Gutter = Incoherence{mode: gutter}
	// Bypass neither serves nor keeps anything local.
	Bypass = Incoherence{mode: bypass}
)

// ServeStale goes on serving entries for up to maxAge after the subscription was last known to be
// alive: availability first. It adds maxAge to the bound that MaxStaleness sets; any length is
// allowed, math.MaxInt64 is for ever.
func ServeStale(maxAge time.Duration) Incoherence {
	return Incoherence{mode: serveStale, maxAge: maxAge}
}

// String names the policy.
func (i Incoherence) String() string {
	switch i.mode {
	case bypass:
		return "bypass"
	case serveStale:
		return "serve-stale(" + i.maxAge.String() + ")"
	default:
		return "gutter"
	}
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.MaxStaleness == 0 {
		o.MaxStaleness = DefaultMaxStaleness
	}
	if o.WhenIncoherent.mode == inherited {
		o.WhenIncoherent = Gutter
	}
	if o.Lanes == 0 {
		o.Lanes = 1
	}
	if o.MaxPending == 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.RemoteTimeout == 0 {
		o.RemoteTimeout = DefaultRemoteTimeout
	}
	if o.RemoteReadTimeout == 0 {
		o.RemoteReadTimeout = DefaultRemoteReadTimeout
		if o.RemoteTimeout > 0 {
			o.RemoteReadTimeout = min(o.RemoteReadTimeout, o.RemoteTimeout)
		}
	}
	if o.MaxLoads == 0 {
		o.MaxLoads = DefaultMaxLoads
	}
	if o.RetryBackoff == 0 {
		o.RetryBackoff = DefaultRetryBackoff
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate reports every fault at once. It is called after withDefaults.
func (o Options) validate() error {
	var f faults
	f.name("Namespace", o.Namespace)
	f.check(o.MaxStaleness >= MinMaxStaleness && o.MaxStaleness <= MaxMaxStaleness, "MaxStaleness", "is %v, must be from %v to %v",
		o.MaxStaleness, MinMaxStaleness, MaxMaxStaleness)
	f.check(o.WhenIncoherent.maxAge >= 0, "WhenIncoherent", "ServeStale(%v) must not be negative", o.WhenIncoherent.maxAge)
	f.check(o.Lanes >= 1 && o.Lanes <= MaxLanes, "Lanes", "is %d, must be 1 to %d", o.Lanes, MaxLanes)
	f.check(o.MaxPending >= 0 && o.MaxPending <= MaxCount, "MaxPending", "is %d, must be from 0 to %d", o.MaxPending, MaxCount)
	f.check(o.RemoteTimeout > 0 && o.RemoteTimeout <= MaxWait, "RemoteTimeout", "is %v, must be positive and at most %v", o.RemoteTimeout, MaxWait)
	f.check(o.RemoteReadTimeout > 0, "RemoteReadTimeout", "is %v, must be positive", o.RemoteReadTimeout)
	f.check(o.RemoteReadTimeout <= o.RemoteTimeout || o.RemoteTimeout <= 0, "RemoteReadTimeout", "is %v, must be at most RemoteTimeout, %v", o.RemoteReadTimeout, o.RemoteTimeout)
	f.check(o.MaxLoads > 0 && o.MaxLoads <= MaxCount, "MaxLoads", "is %d, must be from 1 to %d", o.MaxLoads, MaxCount)
	f.check(o.BreakerFailures >= 0 && o.BreakerFailures <= MaxCount, "BreakerFailures", "is %d, must be from 0 to %d", o.BreakerFailures, MaxCount)
	f.check(o.BreakerPause >= 0 && o.BreakerPause <= MaxWait, "BreakerPause", "is %v, must be from 0 to %v", o.BreakerPause, MaxWait)
	f.check(o.RetryBackoff >= MinRetryBackoff && o.RetryBackoff <= MaxWait, "RetryBackoff", "is %v, must be from %v to %v", o.RetryBackoff, MinRetryBackoff, MaxWait)
	f.check(o.Local.Clock == nil, "Local.Clock", "must not be set: the client's expiry and coherence share one clock")
	return f.err()
}

// faults collects what is wrong with options.
type faults []error

func (f *faults) check(ok bool, field, format string, args ...any) {
	if !ok {
		*f = append(*f, &OptionError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
}

// name checks what becomes part of remote keys.
func (f *faults) name(field, s string) {
	f.check(s != "", field, "must not be empty")
	f.check(len(s) <= MaxNameBytes, field, "has %d bytes, at most %d", len(s), MaxNameBytes)
	f.check(!strings.ContainsAny(s, forbiddenInNames), field, "may not hold any of %s", forbiddenInNames)
}

func (f faults) err() error { return errors.Join(f...) }

// servable returns what a policy allows at now, when local copies are trusted until the reading
// given: to serve all of them, or only those that were kept while none were trusted.
func (i Incoherence) servable(trustedUntil, now int64) (all, gutterOnly bool) {
	if now < trustedUntil {
		return true, false
	}
	switch i.mode {
	case serveStale:
		// Before the first sync, and after its span, what is loaded now is kept for its moment, as
		// Gutter does.
		within := trustedUntil != coherence.Never && now-trustedUntil < int64(i.maxAge)
		return within, !within
	case bypass:
		return false, false
	default:
		return false, true
	}
}

// gutterTTL is how long a value that is loaded without coherence is kept, counted from the
// beginning of its load: no longer than coherence would vouch for it, since a Clear may have been
// known a quarter of the bound late.
func gutterTTL(maxStaleness time.Duration) int64 {
	return int64(min(DefaultGutterTTL, maxStaleness*3/4))
}
