package local

import (
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultMaxEntries bounds a tier whose Options set neither MaxEntries nor MaxBytes.
	DefaultMaxEntries = 100_000
	// MinMaxBytes is the smallest MaxBytes: an empty engine already needs about half of it.
	MinMaxBytes = 1 << 20
)

// EngineKind names the store behind a tier.
type EngineKind uint8

const (
	// Ristretto admits by frequency and applies writes in the background. The default.
	Ristretto EngineKind = iota
	// Otter applies writes at once, and on measured request traces hits more often: see
	// docs/adr/0004-near-tier-engines.md.
	Otter
)

var engineNames = [...]string{Ristretto: "ristretto", Otter: "otter"}

// String returns the engine's name in lower case.
func (k EngineKind) String() string {
	if int(k) < len(engineNames) {
		return engineNames[k]
	}
	return fmt.Sprintf("EngineKind(%d)", uint8(k))
}

// MarshalText is the counterpart of UnmarshalText.
func (k EngineKind) MarshalText() ([]byte, error) {
	if int(k) >= len(engineNames) {
		return nil, &FieldError{"Engine", "unknown engine " + k.String()}
	}
	return []byte(k.String()), nil
}

// UnmarshalText accepts "ristretto" and "otter".
func (k *EngineKind) UnmarshalText(text []byte) error {
	for i, name := range engineNames {
		if name == string(text) {
			*k = EngineKind(i)
			return nil
		}
	}
	return &FieldError{"Engine", fmt.Sprintf("unknown engine %q", text)}
}

// Options configure a tier. The zero value is useful.
type Options struct {
	// MaxEntries bounds the number of entries. Defaults to DefaultMaxEntries when MaxBytes is zero as well.
	// MaxEntries and MaxBytes exclude each other.
	MaxEntries int64

	// MaxBytes bounds the heap that the tier keeps alive, the engine's own structures included, in bytes.
	// It is as exact as the costs it is given: see Entry.Cost and Cost. At least MinMaxBytes, or zero
	// (the default) for a bound by MaxEntries.
	MaxBytes int64

	// Cost returns the bytes of one entry's key and value. It is asked for entries whose own Cost is zero,
	// when MaxBytes is set; what the engine adds per entry is not its concern. It runs on the goroutine
	// that calls Set. Defaults to an estimate that follows one pointer: exact for string, []byte and
	// pointers to them, the shallow size for structs.
	Cost func(key string, value any) int64

	// Engine is the store behind the tier. Defaults to Ristretto.
	Engine EngineKind

	// Clock returns the reading that Entry.Expires is compared with, in nanoseconds of a clock that never
	// goes back. It must be safe for concurrent use. Lookup never calls it. Defaults to Monotonic.
	Clock func() int64
}

// processStart is where Monotonic counts from.
var processStart = time.Now()

// Monotonic returns the nanoseconds since the process started, by the monotonic clock. It is the default
// Options.Clock; whoever sets Entry.Expires reads the same clock. In a testing/synctest bubble it follows the
// bubble's time, and is negative.
func Monotonic() int64 { return int64(time.Since(processStart)) }

// Reading returns what Monotonic returned at t, which must come from time.Now.
func Reading(t time.Time) int64 { return int64(t.Sub(processStart)) }

// After returns the reading that is d after at, or Never where that is no reading any more. A reading
// may be negative: in a testing/synctest bubble the clock begins before the process did.
func After(at int64, d time.Duration) int64 {
	if sum := at + int64(d); sum >= at || d < 0 {
		return sum
	}
	return Never
}

// withDefaults returns a copy with every unset field filled in.
func (o Options) withDefaults() Options {
	if o.MaxEntries == 0 && o.MaxBytes == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.Cost == nil {
		o.Cost = estimateCost
	}
	if o.Clock == nil {
		o.Clock = Monotonic
	}
	return o
}

// validate joins every fault.
func (o Options) validate() error {
	var faults []error
	fault := func(field, reason string) { faults = append(faults, &FieldError{field, reason}) }
	if o.MaxEntries < 0 {
		fault("MaxEntries", "must not be negative")
	}
	switch {
	case o.MaxBytes < 0:
		fault("MaxBytes", "must not be negative")
	case o.MaxBytes > 0 && o.MaxBytes < MinMaxBytes:
		fault("MaxBytes", fmt.Sprintf("must be at least %d", MinMaxBytes))
	}
	if o.MaxEntries > 0 && o.MaxBytes > 0 {
		fault("MaxBytes", "excludes MaxEntries: set one of the two")
	}
	if o.Cost == nil {
		fault("Cost", "must not be nil")
	}
	if int(o.Engine) >= len(engineNames) {
		fault("Engine", "unknown engine "+o.Engine.String())
	}
	if o.Clock == nil {
		fault("Clock", "must not be nil")
	}
	return errors.Join(faults...)
}
