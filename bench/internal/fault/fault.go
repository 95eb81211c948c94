package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/harness"
)

// Target is the fleet that suffers.
type Target interface {
	Instances() int
	// Relay stands between an instance and Redis; nil where no fault of the path was asked for.
	Relay(instance int) *server.Relay
	Signal(instance int, sig syscall.Signal) error
	// Kill ends an instance at once, and another is started in its place, unless ctx has ended.
	Kill(ctx context.Context, instance int) error
	Server() *server.Server
	// AwaitCoherent waits until each instance says that all its lanes are live.
	AwaitCoherent(ctx context.Context) error
}

// Fault is one of them.
type Fault struct {
	Name  string
	About string
	Paths bool // it needs relays
	Ours  bool // it needs a server that the run started itself
	// Inject does it to a part of the target that r picks, holds it, and undoes it. When ctx ends, it is undone at once, and the
	// error is that of ctx.
	Inject func(ctx context.Context, t Target, r *rand.Rand) error
}

// ErrUnknown reports a name that is none of the catalog's.
var ErrUnknown = errors.New("fault: there is no such fault")

// Faults are held for a time between these, so that some end before a subscription is given up for silence, and some after.
const (
	shortest = 100 * time.Millisecond
	longest  = 1500 * time.Millisecond
)

// Catalog gives all faults.
func Catalog() []Fault {
	return []Fault{
		{Name: "cut", About: "all connections of an instance are reset", Paths: true, Inject: cut},
		{Name: "half-open", About: "nothing passes between an instance and Redis, and nobody says so; then the connections are reset", Paths: true, Inject: halfOpen},
		{Name: "slow", About: "Redis's replies and messages reach an instance late", Paths: true, Inject: slow},
		{Name: "swallow", About: "commands of an instance take effect and their replies are lost", Paths: true, Inject: swallow},
		{Name: "stop-instance", About: "an instance is frozen (SIGSTOP), and goes on as if nothing had been", Inject: stopInstance},
		{Name: "kill-instance", About: "an instance dies (SIGKILL), and another takes its place", Inject: killInstance},
		{Name: "stop-server", About: "a Redis process is frozen (SIGSTOP), and goes on", Ours: true, Inject: stopServer},
		{Name: "restart-server", About: "a Redis process dies and comes back empty", Ours: true, Inject: restartServer},
		{Name: "flushall", About: "somebody empties Redis (FLUSHALL)", Ours: true, Inject: flushAll},
	}
}

// ByName gives the faults of a comma-separated list, each once, in its order; "all" are all.
func ByName(names string) ([]Fault, error) {
	all := Catalog()
	if strings.TrimSpace(names) == "all" {
		return all, nil
	}
	var chosen []Fault
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		named := func(f Fault) bool { return f.Name == name }
		i := slices.IndexFunc(all, named)
		if i < 0 {
			return nil, fmt.Errorf("%w: %q; there are %s, and all", ErrUnknown, name, strings.Join(Names(), ", "))
		}
		if !slices.ContainsFunc(chosen, named) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// Names are those of the catalog.
func Names() []string {
	var names []string
	for _, f := range Catalog() {
		names = append(names, f.Name)
	}
	return names
}

// hold waits for a time that r picks.
func hold(ctx context.Context, r *rand.Rand) error {
	if !harness.Sleep(ctx, shortest+time.Duration(r.Int64N(int64(longest-shortest)))) {
		return ctx.Err()
	}
	return nil
}
