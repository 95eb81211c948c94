package local

import (
	"errors"
	"fmt"
)

const (
	// DefaultMaxEntries is the bound of a tier whose Options set neither MaxEntries nor MaxBytes.
	DefaultMaxEntries = 100_000
	// MinMaxBytes is the smallest MaxBytes: an empty engine already needs about half of it.
	MinMaxBytes = 1 << 20
)

// EngineKind names the engine of a tier.
type EngineKind uint8

const (
	// Ristretto admits entries by frequency and applies writes in the background. It is the
	// default.
	Ristretto EngineKind = iota
	// Otter applies writes at once, and has more hits on the measured request traces: see
	// docs/adr/0004-local-tier-engines.md.
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

// MarshalText returns the engine's name in lower case.
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
	// MaxEntries bounds the number of entries. Defaults to DefaultMaxEntries if MaxBytes is zero as
	// well. Only one of MaxEntries and MaxBytes may be set.
	MaxEntries int64

	// MaxBytes bounds the heap that the tier keeps alive, the engine's own structures included, in
	// bytes. It is as exact as the costs of the entries: see Entry.Cost and Cost. At least
	// MinMaxBytes, or zero (the default) for a bound by MaxEntries.
	MaxBytes int64

	// Cost returns the bytes of the key and the value of one entry, without the engine's own. It is
	// called for entries whose Entry.Cost is zero, if MaxBytes is set, by the goroutine that calls
	// Set. Defaults to an estimate that follows one pointer: exact for string, []byte and pointers
	// to them, the shallow size for structs.
	Cost func(key string, value any) int64

	// Engine is the engine of the tier. Defaults to Ristretto.
	Engine EngineKind

	// Clock returns the time that is compared with Entry.Expires, in nanoseconds of a clock that
	// never goes back. It must be safe for concurrent use. Lookup never calls it. Defaults to
	// Monotonic.
	Clock func() int64
}

// withDefaults returns a copy with the default of every field that is not set.
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

// validate returns an error that joins every fault.
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

// ErrInvalidOptions is matched by every error that [New] and [NewCache] return.
var ErrInvalidOptions = errors.New("local: invalid options")

// FieldError reports one invalid field of Options. New joins the errors of all fields; errors.As
// finds the first. It matches [ErrInvalidOptions].
type FieldError struct {
	Field  string // the name of the field in Options
	Reason string // why its value is invalid, and which values are valid
}

func (e *FieldError) Error() string { return "local: Options." + e.Field + ": " + e.Reason }

// Is reports whether target is ErrInvalidOptions.
func (e *FieldError) Is(target error) bool { return target == ErrInvalidOptions }
