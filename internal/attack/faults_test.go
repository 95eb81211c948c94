//go:build linux

package attack

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// shot is one injection as the seed has it.
type shot struct {
	fault.Shot
	fault  *fault.Fault
	beside *shot         // at the same time, or nil
	rest   time.Duration // until the next
}

// catalog has all faults: those of any fleet, and those of this one only.
var catalog = append(fault.Catalog(), ownFaults...)

// of makes the Inject of a fault that needs more of the attack than a target has. It is called by
// the test's goroutine, and fails the test itself.
func of(inject func(a *attack, s fault.Shot)) func(context.Context, fault.Target, fault.Shot) error {
	return func(_ context.Context, t fault.Target, s fault.Shot) error {
		if a, ok := t.(*attack); ok {
			a.t.Helper()
			inject(a, s)
		}
		return nil
	}
}

func (a *attack) Seats() int { return len(a.fleet.seats) }

func (a *attack) seat(n int) *seat { return a.fleet.seats[n%len(a.fleet.seats)] }

func (a *attack) Ways(n int) harness.Ways { return a.seat(n).ways }

func (a *attack) Signal(n int, sig syscall.Signal) error { return a.seat(n).Signal(sig) }

// Kill notes in the history that the instance is gone.
func (a *attack) Kill(n int) error {
	a.fleet.kill(a.seat(n))
	return nil
}

// Replace starts another whatever has become of ctx: a fleet is whole when its faults are over.
func (a *attack) Replace(_ context.Context, n int) error { return a.fleet.start(a.seat(n)) }

func (a *attack) Source() *harness.Source { return a.fleet.source }

func (a *attack) Servers() fault.Servers { return a.servers }

// lateEcho makes each frame of a subscription so late that one echo still counts when it comes, and what follows it is later than the
// bound. It begins shortly before writers do: an echo with messages before it would come too late.
func lateEcho(a *attack, s fault.Shot) {
	const ahead = maxStaleness * 2 / 5
	a.awaitPhase(workFor + restFor - ahead)
	a.Ways(s.Seat).Set(harness.Mode{Which: harness.Subscriptions, Apart: maxStaleness * 7 / 10})
	defer a.Ways(s.Seat).Set(harness.Mode{})
	harness.Sleep(a.ctx, ahead+2*maxStaleness)
}

// awaitPhase waits for a time in which writers work, which begins with 0, or rest.
func (a *attack) awaitPhase(at time.Duration) {
	const cycle = workFor + restFor
	phase := time.Duration(history.Now()) % cycle
	harness.Sleep(a.ctx, (at-phase+cycle)%cycle)
}

// faultsFor gives the faults of a topology: those with the given names, or, if all names begin with a minus, all others.
func faultsFor(topology, names string) []*fault.Fault {
	letter, ok := map[string]string{"standalone": "s", "cluster": "c", "sentinel": "r"}[topology]
	if !ok {
		return nil
	}
	listed := make(map[string]bool)
	without := true
	for name := range strings.SplitSeq(names, ",") {
		rest, minus := strings.CutPrefix(name, "-")
		listed[rest] = true
		without = without && (minus || name == "")
	}
	var faults []*fault.Fault
	for i := range catalog {
		f := &catalog[i]
		if strings.Contains(f.Where, letter) && listed[f.Name] != without {
			faults = append(faults, f)
		}
	}
	return faults
}

// early is how many faults there are at least among which those come that not all topologies have.
const early = 12

// schedule gives shots without end: every fault once, in some order, and then again. The first time, faults that not all
// topologies have are among the early ones, so that a short run has them.
func schedule(seed uint64, faults []*fault.Fault) func() shot {
	random := rand.New(rand.NewPCG(seed, 0x646f7070696f))
	var order []int
	first := true
	one := func(f *fault.Fault) shot {
		r := random.Float64()
		return shot{
			fault: f, Shot: fault.Shot{
				Seat: random.IntN(1 << 16), Node: random.IntN(1 << 16), Length: time.Duration((0.2 + 2.8*r*r) * float64(maxStaleness)),
			},
			rest: time.Duration((0.2 + 1.8*random.Float64()) * float64(maxStaleness)),
		}
	}
	return func() shot {
		if len(order) == 0 {
			order = random.Perm(len(faults))
			if first {
				slices.SortStableFunc(order, func(a, b int) int { return len(faults[a].Where) - len(faults[b].Where) })
				n := min(early, len(order))
				random.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
				first = false
			}
		}
		s := one(faults[order[0]])
		order = order[1:]
		if random.IntN(4) == 0 {
			for range 8 { // among few faults there may be none
				if f := faults[random.IntN(len(faults))]; f.Beside && f != s.fault {
					other := one(f)
					if s.beside = &other; s.fault.Beside && other.Seat%12 == s.Seat%12 {
						other.Seat++ // two on one path would undo each other
					}
					break
				}
			}
		}
		return s
	}
}
