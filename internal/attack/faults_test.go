//go:build linux

package attack

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// fault is something that goes wrong.
type fault struct {
	name string
	// where it can be injected: s standalone, c Cluster, r Sentinel.
	where string
	// inject does it, waits, and undoes it. It returns whether it happened.
	inject func(a *attack, s shot) bool
	// beside: another may be injected by another goroutine at the same time, since it is of one instance's path alone.
	beside bool
}

// shot is one injection as the seed has it.
type shot struct {
	fault  *fault
	beside *shot // at the same time, or nil
	slot   int   // of the instance it is for, modulo the fleet's size
	node   int   // of the server it is for, likewise
	length time.Duration
	rest   time.Duration // until the next
}

// catalog has all faults.
var catalog = append(append(pathFaults(), instanceFaults...), serverFaults...)

// pathFaults are of the way between one instance and its servers.
func pathFaults() []fault {
	var faults []fault
	add := func(name string, m mode, cut bool) {
		faults = append(faults, fault{name: name, where: "scr", beside: true, inject: func(a *attack, s shot) bool {
			a.ways(s, func(w *way) { w.set(m) })
			harness.Sleep(a.ctx, s.length)
			a.ways(s, func(w *way) {
				w.set(mode{})
				if cut {
					w.cut(false)
				}
			})
			return true
		}})
	}
	for _, which := range []which{allLinks, subscriptions, others} {
		add("stall-"+which.String(), mode{which: which, stall: true}, false) // half-open, and what was sent arrives late
	}
	add("hole-all", mode{stall: true}, true) // half-open, and then reset
	add("hole-subscription", mode{which: subscriptions, stall: true}, true)
	add("swallow-replies", mode{which: others, swallow: true}, true)
	add("swallow-all", mode{swallow: true}, true)
	add("lose-messages", mode{which: subscriptions, lose: 0.5}, false)
	add("lose-all-messages", mode{which: subscriptions, lose: 1}, false)
	// The names of channels end so: see internal/lane.
	add("lose-invalidations", mode{which: subscriptions, lose: 0.3, about: ":invalidations\r\n"}, false)
	add("lose-all-invalidations", mode{which: subscriptions, lose: 1, about: ":invalidations\r\n"}, false)
	add("lose-echoes", mode{which: subscriptions, lose: 0.7, about: ":echo:"}, false)
	add("slow-replies", mode{delay: 60 * time.Millisecond}, false)
	add("slow-subscription", mode{which: subscriptions, delay: 150 * time.Millisecond}, false)
	faults = append(faults, fault{name: "late-echo", where: "scr", inject: lateEcho})
	faults = append(faults, fault{name: "cut", where: "scr", beside: true, inject: func(a *attack, s shot) bool {
		a.ways(s, func(w *way) { w.cut(true) })
		return true
	}})
	return faults
}

func (a *attack) seat(s shot) *seat { return a.fleet.seats[s.slot%len(a.fleet.seats)] }

// ways calls do for all ways of the shot's instance.
func (a *attack) ways(s shot, do func(*way)) {
	for _, w := range a.seat(s).ways {
		do(w)
	}
}

// lateEcho makes each frame of a subscription so late that one echo still counts when it comes, and what follows it is later than the
// bound. It begins shortly before writers do: an echo with messages before it would come too late.
func lateEcho(a *attack, s shot) bool {
	const ahead = maxStaleness * 2 / 5
	a.awaitPhase(workFor + restFor - ahead)
	a.ways(s, func(w *way) { w.set(mode{which: subscriptions, delay: maxStaleness * 7 / 10}) })
	defer a.ways(s, func(w *way) { w.set(mode{}) })
	harness.Sleep(a.ctx, ahead+2*maxStaleness)
	return true
}

// awaitPhase waits for a time in which writers work, which begins with 0, or rest.
func (a *attack) awaitPhase(at time.Duration) {
	const cycle = workFor + restFor
	phase := time.Duration(history.Now()) % cycle
	harness.Sleep(a.ctx, (at-phase+cycle)%cycle)
}

// instanceFaults are of one process.
var instanceFaults = []fault{
	{name: "stop-instance", where: "scr", inject: func(a *attack, s shot) bool {
		a.seat(s).signal(syscall.SIGSTOP)
		harness.Sleep(a.ctx, s.length)
		a.seat(s).signal(syscall.SIGCONT)
		return true
	}},
	{name: "stutter-instance", where: "scr", inject: func(a *attack, s shot) bool {
		// Short stops find it in the middle of something more often than long ones.
		defer a.seat(s).signal(syscall.SIGCONT)
		for end := time.Now().Add(s.length); time.Now().Before(end) && a.ctx.Err() == nil; {
			a.seat(s).signal(syscall.SIGSTOP)
			harness.Sleep(a.ctx, 10*time.Millisecond+rand.N(30*time.Millisecond))
			a.seat(s).signal(syscall.SIGCONT)
			harness.Sleep(a.ctx, rand.N(10*time.Millisecond))
		}
		return true
	}},
	{name: "slow-loads", where: "scr", inject: func(a *attack, s shot) bool {
		// What is loaded is overtaken by changes, and by later loads.
		a.fleet.source.Slow(maxStaleness / 10)
		defer a.fleet.source.Slow(0)
		harness.Sleep(a.ctx, s.length)
		return true
	}},
	{name: "stop-in-load", where: "scr", inject: func(a *attack, s shot) bool { return a.stopAt(harness.InLoad, s) }},
	{name: "stop-after-load", where: "scr", inject: func(a *attack, s shot) bool { return a.stopAt(harness.AfterLoad, s) }},
	{name: "stop-after-commit", where: "scr", inject: func(a *attack, s shot) bool { return a.stopAt(harness.AfterCommit, s) }},
	{name: "kill-instance", where: "scr", inject: func(a *attack, s shot) bool {
		a.fleet.kill(a.seat(s))
		harness.Sleep(a.ctx, s.length/4)
		return a.replace(a.seat(s))
	}},
	{name: "kill-after-commit", where: "scr", inject: func(a *attack, s shot) bool {
		who, ok := a.trap(harness.AfterCommit, func(n int) { a.fleet.kill(a.fleet.seats[n]) })
		if !ok {
			return false
		}
		harness.Sleep(a.ctx, s.length/4)
		return a.replace(a.fleet.seats[who])
	}},
}

// trapPatience is how long a fault waits for an instance to reach a moment: longer than writers rest.
const trapPatience = 3 * time.Second

// trap does something to the next instance that reaches a moment, and tells which that was.
func (a *attack) trap(m harness.Moment, do func(seat int)) (who int, ok bool) {
	reached := make(chan int, 1)
	a.fleet.source.Trap(m, func(n int) {
		do(n)
		reached <- n
	})
	ctx, cancel := context.WithTimeout(a.ctx, trapPatience)
	defer cancel()
	select {
	case who = <-reached:
		return who, true
	case <-ctx.Done():
		a.fleet.source.Release(m)
		select {
		case who = <-reached: // just now
			return who, true
		default:
			return 0, false
		}
	}
}

// stopAt stops the next instance that reaches a moment.
func (a *attack) stopAt(m harness.Moment, s shot) bool {
	who, ok := a.trap(m, func(n int) { a.fleet.seats[n].signal(syscall.SIGSTOP) })
	if ok {
		harness.Sleep(a.ctx, s.length)
		a.fleet.seats[who].signal(syscall.SIGCONT)
	}
	return ok
}

// replace starts a new process where one was killed.
func (a *attack) replace(s *seat) bool {
	a.t.Helper()
	if err := a.fleet.start(s); err != nil {
		a.t.Fatalf("a new instance: %v", err)
	}
	return true
}

// faultsFor gives the faults of a topology: those with the given names, or, if all names begin with a minus, all others.
func faultsFor(topology, names string) []*fault {
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
	var faults []*fault
	for i := range catalog {
		f := &catalog[i]
		if strings.Contains(f.where, letter) && listed[f.name] != without {
			faults = append(faults, f)
		}
	}
	return faults
}

// early is how many faults there are at least among which those come that not all topologies have.
const early = 12

// schedule gives shots without end: every fault once, in some order, and then again. The first time, faults that not all
// topologies have are among the early ones, so that a short run has them.
func schedule(seed uint64, faults []*fault) func() shot {
	random := rand.New(rand.NewPCG(seed, 0x646f7070696f))
	var order []int
	first := true
	one := func(f *fault) shot {
		r := random.Float64()
		return shot{
			fault: f, slot: random.IntN(1 << 16), node: random.IntN(1 << 16),
			length: time.Duration((0.2 + 2.8*r*r) * float64(maxStaleness)),
			rest:   time.Duration((0.2 + 1.8*random.Float64()) * float64(maxStaleness)),
		}
	}
	return func() shot {
		if len(order) == 0 {
			order = random.Perm(len(faults))
			if first {
				slices.SortStableFunc(order, func(a, b int) int { return len(faults[a].where) - len(faults[b].where) })
				n := min(early, len(order))
				random.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
				first = false
			}
		}
		s := one(faults[order[0]])
		order = order[1:]
		if random.IntN(4) == 0 {
			for range 8 { // among few faults there may be none
				if f := faults[random.IntN(len(faults))]; f.beside && f != s.fault {
					other := one(f)
					if s.beside = &other; s.fault.beside && other.slot%12 == s.slot%12 {
						other.slot++ // two on one path would undo each other
					}
					break
				}
			}
		}
		return s
	}
}
