package compare

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What [Options] default to.
const (
	DefaultRounds = 7
	DefaultSlice  = 100 * time.Millisecond
	DefaultSeed   = 1

	quickRounds = 3
	quickSlice  = 20 * time.Millisecond
)

// Limits of [Options].
const (
	MaxRounds = 1000
	MinSlice  = time.Millisecond
	MaxSlice  = time.Minute
)

// ErrOptions marks options that cannot be.
var ErrOptions = errors.New("wrong options")

// Options say what is compared and how thoroughly.
type Options struct {
	Only     []string      // groups by name, or parts of rows' names, each of which there must be; default: all
	Subjects []string      // by name; default: all. A row's baseline takes part in any case
	Rounds   int           // default: DefaultRounds, or 3 if Quick
	Slice    time.Duration // of work in each round; default: DefaultSlice, or 20 ms if Quick
	Seed     uint64        // of keys and of the order in each round; default: DefaultSeed
	Quick    bool          // smaller sizes: to see that all works, not for figures to quote
	Redis    string        // redis://host:port/db of a server of this run's own; default: one is started

	// Child starts this package's [Child] in a process of its own: a program and its arguments.
	Child []string
	// Progress hears which share of the work is done and what comes next; may be nil.
	Progress func(share float64, what string)
	// Opened hears which server is used, "Redis 7.0.15"; may be nil.
	Opened func(server string)

	sizes sizes // default: by Quick
	exact bool  // Only names whole rows
}

// sizes are how much of everything there is.
type sizes struct {
	keys       int // of local hits and of the mix
	hot        int // of them, the hot ones
	remote     int // entries of the remote rows
	entries    int // of the cache whose memory is measured
	gcs        int // collections forced there
	callers    int // of each instance in a stampede
	operations int // of each kind whose commands are counted
	load       time.Duration
	idle       time.Duration
}

var (
	fullSizes = sizes{
		keys: 100_000, hot: 512, remote: 1024, entries: 1_000_000, gcs: 10, callers: 1000, operations: 200,
		load: 50 * time.Millisecond, idle: 5 * time.Second,
	}
	quickSizes = sizes{
		keys: 10_000, hot: 512, remote: 1024, entries: 50_000, gcs: 5, callers: 1000, operations: 50,
		load: 50 * time.Millisecond, idle: time.Second,
	}
)

func (o Options) withDefaults() Options {
	rounds, slice, size := DefaultRounds, DefaultSlice, fullSizes
	if o.Quick {
		rounds, slice, size = quickRounds, quickSlice, quickSizes
	}
	if o.Rounds == 0 {
		o.Rounds = rounds
	}
	if o.Slice == 0 {
		o.Slice = slice
	}
	if o.Seed == 0 {
		o.Seed = DefaultSeed
	}
	if o.sizes == (sizes{}) {
		o.sizes = size
	}
	if o.Progress == nil {
		o.Progress = func(float64, string) {}
	}
	if o.Opened == nil {
		o.Opened = func(string) {}
	}
	return o
}

// validate looks at what is not about rows and subjects; those are looked at where they are known.
func (o Options) validate() error {
	var errs []error
	if o.Rounds < 1 || o.Rounds > MaxRounds {
		errs = append(errs, fmt.Errorf("%w: Rounds is %d, must be 1 … %d", ErrOptions, o.Rounds, MaxRounds))
	}
	if o.Slice < MinSlice || o.Slice > MaxSlice {
		errs = append(errs, fmt.Errorf("%w: Slice is %v, must be %v … %v", ErrOptions, o.Slice, MinSlice, MaxSlice))
	}
	return errors.Join(errs...)
}

// means reports whether an entry of Only means a row. The name of a group means that group and no other row, whose name may
// have the word as well: "set" are the rows of sets, and not "commands: set".
func (o Options) means(only string, groups []string, r *row) bool {
	switch {
	case o.exact:
		return only == FullName(r.group, r.name)
	case slices.Contains(groups, only):
		return only == r.group
	default:
		return only != "" && strings.Contains(FullName(r.group, r.name), only)
	}
}

// FullName is how a row is named outside its group.
func FullName(group, name string) string { return group + ": " + name }
