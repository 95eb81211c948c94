package fleet

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// Defaults of [Config].
const (
	DefaultInstances    = 3
	DefaultWorkers      = 4
	DefaultKeys         = 20_000
	DefaultSkew         = 1.0
	DefaultReadShare    = 0.99
	DefaultValueSize    = 128
	DefaultTTL          = 10 * time.Minute
	DefaultLocalEntries = 10_000
	DefaultSource       = 2 * time.Millisecond
	DefaultDuration     = 5 * time.Second
	DefaultWarmup       = time.Second
	DefaultSeed         = 1
	DefaultPatience     = 30 * time.Second
)

const (
	maxWorkers   = 1024
	maxKeys      = 10_000_000
	maxValueSize = 1 << 20
	maxRate      = 10_000_000
)

// Change says what a writer does once it has committed to the source.
type Change string

// The changes.
const (
	Delete Change = "delete"
	Set    Change = "set"
)

// Churn says how an instance leaves.
type Churn string

// The ways to leave.
const (
	Gracefully Churn = "stop" // it closes its cache
	Abruptly   Churn = "kill"
)

// Config says what a fleet does. The zero value is no useful one: begin with [Default].
type Config struct {
	Instances    int     // processes
	Workers      int     // concurrent requests of each instance; 0: they only listen
	Keys         int     // of the source
	Skew         float64 // exponent of the Zipf distribution of requests over keys; 0: uniform
	ReadShare    float64 // of the requests of workers, 0 … 1
	Write        Change  // of a worker
	ValueSize    int     // bytes of a value's body
	TTL          time.Duration
	LocalTTL     time.Duration // of local entries; 0: TTL
	Fresh        bool          // each read is of a name that nobody has asked for yet, and so loads
	LocalEntries int64
	Engine       string
	MaxStaleness time.Duration
	Source       time.Duration // one load takes this long

	Rate          float64       // requests a second of all instances, whether they keep up or not; 0: each worker sends the next one when the last was answered
	Invalidations float64       // a second, from outside the workers
	Churn         time.Duration // an instance leaves, and another comes in its place, this often; 0: never
	ChurnBy       Churn

	Warmup   time.Duration // before anything is measured
	Duration time.Duration
	// Injections of faults end the measurement, instead of Duration, when there have been so many and the bound of staleness
	// has passed since. 0: as many as there is time for.
	Injections int
	Patience   time.Duration // so long a fleet may take to be coherent again after a fault
	Seed       uint64
	Faults     []fault.Fault // injected one after another, at random, while it is measured

	// Dealt are requests in place of those that workers choose, for keys of the source. The measurement ends when all are
	// answered, or after Duration. There is no writer then, so that nothing but they reaches the cache.
	Dealt *Dealt

	// Command starts an instance, whose main calls [RunInstance]. Defaults to this executable with the argument
	// [InstanceCommand].
	Command []string
}

// InstanceCommand is the argument with which an executable that runs a fleet starts itself as an instance.
const InstanceCommand = "fleet-instance"

// ErrConfig marks a Config that cannot be run.
var ErrConfig = errors.New("fleet: wrong configuration")

// Default is what a fleet does unless told otherwise.
func Default() Config {
	return Config{
		Instances: DefaultInstances, Workers: DefaultWorkers, Keys: DefaultKeys, Skew: DefaultSkew, ReadShare: DefaultReadShare,
		Write: Delete, ValueSize: DefaultValueSize, TTL: DefaultTTL, LocalEntries: DefaultLocalEntries, Engine: local.Ristretto.String(),
		MaxStaleness: tiered.DefaultMaxStaleness, Source: DefaultSource, ChurnBy: Gracefully,
		Warmup: DefaultWarmup, Duration: DefaultDuration, Seed: DefaultSeed, Patience: DefaultPatience,
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	check(c.Instances >= 1 && c.Instances < MaxInstances, "%d instances: want 1 … %d", c.Instances, MaxInstances-1)
	check(c.Workers >= 0 && c.Workers <= maxWorkers, "%d workers: want 0 … %d", c.Workers, maxWorkers)
	check(c.Keys >= 1 && (c.Keys <= maxKeys || c.Dealt != nil), "%d keys: want 1 … %d", c.Keys, maxKeys)
	check(c.Skew >= 0 && c.Skew <= 10, "a skew of %g: want 0 … 10", c.Skew)
	check(c.ReadShare >= 0 && c.ReadShare <= 1, "a share of reads of %g: want 0 … 1", c.ReadShare)
	check(c.Write == Delete || c.Write == Set, "a write %q: want %s or %s", c.Write, Delete, Set)
	check(c.Write != Set || c.Keys >= c.writers(), "%d keys: want at least %d, one for each worker, since with --write set each key has one writer", c.Keys, c.writers())
	check(c.ValueSize >= 0 && c.ValueSize <= maxValueSize, "a value size of %d: want 0 … %d", c.ValueSize, maxValueSize)
	check(c.TTL > 0, "a TTL of %s: want more than 0", c.TTL)
	check(c.LocalTTL >= 0, "a local TTL of %s: want 0 or more", c.LocalTTL)
	check(c.LocalEntries > 0, "%d local entries: want at least 1", c.LocalEntries)
	_, err := engineKind(c.Engine)
	check(err == nil, "an engine %q: want ristretto or otter", c.Engine)
	check(c.MaxStaleness >= tiered.MinMaxStaleness, "a bound of staleness of %s: want at least %s", c.MaxStaleness, tiered.MinMaxStaleness)
	check(c.Source >= 0, "a source latency of %s: want 0 or more", c.Source)
	check(c.Rate >= 0 && c.Rate <= maxRate, "a rate of %g: want 0 … %d", c.Rate, maxRate)
	check(c.Invalidations >= 0 && c.Invalidations <= maxRate, "%g invalidations a second: want 0 … %d", c.Invalidations, maxRate)
	check(c.Churn == 0 || c.Churn >= 100*time.Millisecond, "churn every %s: want 0 or at least 100ms", c.Churn)
	check(c.ChurnBy == Gracefully || c.ChurnBy == Abruptly, "churn by %q: want %s or %s", c.ChurnBy, Gracefully, Abruptly)
	check(c.Warmup >= 0, "a warm-up of %s: want 0 or more", c.Warmup)
	check(c.Duration > 0, "a duration of %s: want more than 0", c.Duration)
	check(c.Patience > 0, "a patience of %s: want more than 0", c.Patience)
	return errors.Join(faults...)
}

// processes is how many there are: the instances, and the writer.
func (c Config) processes() int {
	if c.Dealt != nil {
		return c.Instances
	}
	return c.Instances + 1
}

// writers are all that change keys: the workers, and who does so from outside.
func (c Config) writers() int { return c.Instances*c.Workers + changers }

func engineKind(name string) (kind local.EngineKind, err error) {
	err = kind.UnmarshalText([]byte(name))
	return kind, err
}

func (c Config) command() ([]string, error) {
	if len(c.Command) > 0 {
		return c.Command, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return []string{self, InstanceCommand}, nil
}

// paths reports whether a fault needs what stands between an instance and its server.
func (c Config) paths() bool {
	for _, f := range c.Faults {
		if f.Paths {
			return true
		}
	}
	return false
}

func (c Config) result(s *server.Server) result.FleetConfig {
	names := ""
	for i, f := range c.Faults {
		if i > 0 {
			names += ","
		}
		names += f.Name
	}
	return result.FleetConfig{
		Instances: c.Instances, Workers: c.Workers, Keys: c.Keys, Skew: c.Skew, ReadShare: c.ReadShare, ValueSize: c.ValueSize,
		TTLms: Milliseconds(c.TTL), LocalTTLms: Milliseconds(c.LocalTTL), Fresh: c.Fresh, LocalEntries: c.LocalEntries, Rate: c.Rate, Invalidations: c.Invalidations,
		ChurnSeconds: c.Churn.Seconds(), Fault: names, MaxStalenessMs: Milliseconds(c.MaxStaleness),
		SourceMs: Milliseconds(c.Source), Topology: string(s.Kind()), Engine: c.Engine, Server: s.Version(),
	}
}
