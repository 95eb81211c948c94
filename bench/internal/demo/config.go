package demo

import (
	"errors"
	"fmt"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/trace"
)

// Defaults of [Config].
const (
	DefaultInstances     = 3
	DefaultWorkers       = 8
	DefaultUpdateShare   = 0.01
	DefaultSourceLatency = 2 * time.Millisecond
	DefaultLocalEntries  = 10_000
	DefaultTTL           = 10 * time.Minute
	DefaultRequests      = 100_000
	DefaultKeys          = 50_000
	DefaultExponent      = 1.1
	DefaultSeed          = 1
	DefaultTimeLimit     = 60 * time.Second
)

// NoTimeLimit lets a run take as long as its trace does.
const NoTimeLimit time.Duration = -1

// Config says what to replay, and against what. The zero value is the default demo, but for
// UpdateShare and SourceLatency, of which zero means zero.
type Config struct {
	Trace    string       // path of a trace; empty: a generated Zipf trace
	Format   trace.Format // of the trace; empty: told by its content
	Requests int          // of the trace at most; 0: all of it, or DefaultRequests if it is generated

	Keys     uint64  // of a generated trace. Defaults to DefaultKeys
	Exponent float64 // of a generated trace, over 1. Defaults to DefaultExponent
	Seed     uint64  // of a generated trace, and of the choice of updates. Defaults to DefaultSeed

	RedisURL      string        // redis[s]://…; empty: an embedded one
	Instances     int           // processes. Defaults to DefaultInstances
	Workers       int           // concurrent requests of each instance. Defaults to DefaultWorkers
	UpdateShare   float64       // of the requests that are updates, 0 … 1
	SourceLatency time.Duration // of one load
	LocalEntries  int64         // capacity of each local tier. Defaults to DefaultLocalEntries
	TTL           time.Duration // of entries. Defaults to DefaultTTL
	TimeLimit     time.Duration // of the replay; 0: DefaultTimeLimit; NoTimeLimit

	// Command starts an instance: see [fleet.Config].
	Command []string
}

// ErrConfig marks a Config that cannot be run.
var ErrConfig = errors.New("demo: wrong configuration")

func (c Config) withDefaults() Config {
	if c.Trace == "" && c.Requests == 0 {
		c.Requests = DefaultRequests
	}
	setDefault(&c.Keys, DefaultKeys)
	setDefault(&c.Exponent, DefaultExponent)
	setDefault(&c.Seed, DefaultSeed)
	setDefault(&c.Instances, DefaultInstances)
	setDefault(&c.Workers, DefaultWorkers)
	setDefault(&c.LocalEntries, DefaultLocalEntries)
	setDefault(&c.TTL, DefaultTTL)
	setDefault(&c.TimeLimit, DefaultTimeLimit)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// forever is longer than any run.
const forever = 1000 * time.Hour

// fleet is the run that replays the trace.
func (c Config) fleet() fleet.Config {
	f := fleet.Default()
	f.Instances, f.Workers, f.Source, f.LocalEntries, f.TTL = c.Instances, c.Workers, c.SourceLatency, c.LocalEntries, c.TTL
	f.Warmup, f.Duration, f.Command = 0, c.TimeLimit, c.Command
	if c.TimeLimit == NoTimeLimit {
		f.Duration = forever
	}
	return f
}

// validate reports every fault at once.
func (c Config) validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	_, err := trace.ParseFormat(string(c.Format))
	check(err == nil, "%w", err)
	check(c.Requests >= 0, "%d requests", c.Requests)
	check(c.Exponent > 1, "a Zipf exponent of %g: want more than 1", c.Exponent)
	check(c.Workers > 0, "%d workers: want at least 1", c.Workers)
	check(c.UpdateShare >= 0 && c.UpdateShare <= 1, "a share of updates of %g: want 0 … 1", c.UpdateShare)
	check(c.TimeLimit > 0 || c.TimeLimit == NoTimeLimit, "a time limit of %s", c.TimeLimit)
	return errors.Join(append(faults, c.fleet().Validate())...)
}
