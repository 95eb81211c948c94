//go:build unix

// Package fault has what can go wrong for a fleet: for its ways to the servers, for its instances,
// for the servers themselves. The attack and the commands fleet and chaos make these things go
// wrong.
//
// A fault is injected by one call, which does it, holds it for a while, and undoes it, also when it
// is given up early.
package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

// Target is the fleet that suffers.
type Target interface {
	// Seats returns how many instances there are that may be hit.
	Seats() int
	// Ways returns those of an instance to its servers; none where no fault of a path was asked
	// for.
	Ways(seat int) harness.Ways
	Signal(seat int, sig syscall.Signal) error
	// Kill ends an instance as a crash would.
	Kill(seat int) error
	// Replace starts another in the place of one that was killed, unless ctx has ended.
	Replace(ctx context.Context, seat int) error
	Source() *harness.Source
	Servers() Servers
}

// Servers are the servers of a fleet.
type Servers interface {
	// Nodes returns how many nodes take changes now and can be paused.
	Nodes() int
	Pause(node int) error
	// Resume undoes Pause.
	Resume(node int) error
	// Restart ends a node as a crash would, and starts it again after a while, empty. It returns
	// when the servers are whole again, or ctx has ended.
	Restart(ctx context.Context, node int, after time.Duration) error
	// EachNode sends a command to every node that takes changes. It takes a few seconds at most.
	EachNode(ctx context.Context, args ...any) error
}

// Shot is one injection.
type Shot struct {
	Seat, Node int           // those that are hit, modulo how many there are
	Length     time.Duration // how long it is held
}

// Fault is something that goes wrong.
type Fault struct {
	Name  string
	About string // of those that chaos injects unless it is told
	Where string // can suffer it: s standalone, c Cluster, r Sentinel
	Paths bool   // it needs ways
	Ours  bool   // it needs servers that the run started itself
	// Beside: another may be injected by another goroutine at the same time, since it is of one
	// instance's path alone.
	Beside bool
	// Inject does it to a part of the target, holds it, and undoes it. When ctx ends, it is undone
	// at once, and the error is that of ctx. One that waits for a moment to which nobody comes
	// returns ErrMissed.
	Inject func(ctx context.Context, t Target, s Shot) error
}

// Everywhere is the Where of a fault that any servers can suffer.
const Everywhere = "scr"

// Errors of names and of injections.
var (
	ErrUnknown = errors.New("fault: there is no such fault")
	ErrMissed  = errors.New("fault: no instance came to the moment that the fault waits for")
	errNoWays  = errors.New("fault: the instance reaches its servers directly")
	errNoNodes = errors.New("fault: the run has started no server itself")
)

// Catalog returns all faults.
func Catalog() []Fault { return slices.Concat(paths(), instances, servers) }

// ByName returns the faults of a comma-separated list, each once, in its order; "all" are those
// with an About.
func ByName(names string) ([]Fault, error) {
	all := Catalog()
	if strings.TrimSpace(names) == "all" {
		return slices.DeleteFunc(all, func(f Fault) bool { return f.About == "" }), nil
	}
	var chosen []Fault
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		named := func(f Fault) bool { return f.Name == name }
		i := slices.IndexFunc(all, named)
		if i < 0 {
			there := strings.Join(Names(), ", ")
			return nil, fmt.Errorf("%w: %q; there are %s, and all", ErrUnknown, name, there)
		}
		if !slices.ContainsFunc(chosen, named) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// Names returns those of the catalog.
func Names() (names []string) {
	for _, f := range Catalog() {
		names = append(names, f.Name)
	}
	return names
}

// Hold waits for the length of a fault.
func Hold(ctx context.Context, d time.Duration) error {
	if !harness.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}
