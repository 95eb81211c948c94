//go:build linux

package attack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// plan is what a run is asked for.
type plan struct {
	topology string
	kind     string // of cache
	seed     uint64
	duration time.Duration
	faults   string
	servers  *deployment // nil: the cache needs none
	fleet    int
}

// attack is a run.
type attack struct {
	t       testing.TB
	plan    plan
	ctx     context.Context // ends with the time for faults
	fleet   *fleet
	servers *deployment
	began   int64

	mu       sync.Mutex
	injected map[string]int
	missed   map[string]int // nobody came to the moment that they wait for
	windows  []history.Window
	lost     []history.Window
	calm     history.Window // after the last fault has been got over
	found    time.Duration  // after which a violation was seen before the end; 0: none was
	now      string         // what is being injected
}

// outcome is what a run gives.
type outcome struct {
	Topology string
	Seed     uint64
	Took     time.Duration
	Found    time.Duration // after which a violation ended the run; 0: none did
	Bound    time.Duration
	Injected map[string]int
	Missed   map[string]int // were to be injected, and were not
	Messages int64          // that disappeared
	Replaced int            // instances that were killed, and followed by others
	Alone    []string       // instances without a local hit, or without an acknowledged change, once all faults were over
	Report   *history.Report
	Dir      string // the logs
}

// recovery is how long a fleet gets to be as before once the last fault is over, and calmSpan how long it is then watched: writers
// work and rest in it.
const (
	recovery = 4 * time.Second
	calmSpan = workFor + restFor + time.Second
)

// lateness is how long a request may be on its way: through both faults of a shot, and then some.
const lateness = 2*3*maxStaleness + time.Second

// run attacks, and checks what happened. An error is about the run: the fleet could not be run as it should.
func run(t testing.TB, p plan) (*outcome, error) {
	t.Helper()
	config := workerConfig{Kind: p.kind, Topology: p.topology, Keys: hotKeys, Readers: 3, Writers: 2}
	var servers []string
	if p.servers != nil {
		p.servers.topology, p.servers.namespace = p.topology, fmt.Sprintf("attack-%d", p.seed)
		config.Addrs, config.MasterName, config.Namespace = p.servers.addrs, p.servers.masterName, p.servers.namespace
		config.MaxStaleness = maxStaleness
		servers = p.servers.servers()
	}
	f, err := startFleet(config, p.fleet, servers)
	if err != nil {
		return &outcome{Dir: f.dir}, err
	}
	closed := false
	defer func() {
		if !closed {
			t.Logf("the logs are in %s", f.dir)
			_ = f.close() // the test has failed already
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), p.duration)
	defer cancel()
	a := &attack{
		t: t, plan: p, ctx: ctx, fleet: f, servers: p.servers, began: history.Now(),
		injected: map[string]int{}, missed: map[string]int{},
	}
	watching, stop := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	if p.servers != nil {
		watchers.Go(func() { a.poll(watching) })
	}
	if testing.Verbose() {
		watchers.Go(func() { a.progress(watching) })
	}
	func() {
		defer watchers.Wait()
		defer stop()
		a.inject(ctx)
		if p.servers == nil || a.found > 0 {
			return
		}
		harness.Sleep(t.Context(), recovery)
		a.calm.From = history.Now()
		harness.Sleep(t.Context(), calmSpan)
		a.calm.To = history.Now()
	}()
	err = f.stopAll()
	if failed := f.failed(); failed != nil {
		err = failed
	}
	closed = true
	if e := f.close(); err == nil {
		err = e
	}
	if err != nil {
		return &outcome{Dir: f.dir}, err
	}
	return a.outcome()
}

// inject injects faults until ctx ends.
func (a *attack) inject(ctx context.Context) {
	a.t.Helper()
	faults := faultsFor(a.plan.topology, a.plan.faults)
	if len(faults) == 0 || a.servers == nil {
		<-ctx.Done()
		return
	}
	next := schedule(a.plan.seed, faults)
	for s := (shot{rest: 2 * maxStaleness}); harness.Sleep(ctx, s.rest) && a.fleet.failed() == nil; {
		if a.broken() {
			return
		}
		s = next()
		name := s.fault.Name
		if s.beside != nil {
			name += "+" + s.beside.fault.Name
		}
		a.note(func() { a.now = name })
		w := history.Window{From: history.Now(), Name: name}
		var beside sync.WaitGroup
		if s.beside != nil {
			beside.Go(func() { a.count(s.beside.fault, s.beside.fault.Inject(ctx, a, s.beside.Shot)) })
		}
		err := s.fault.Inject(ctx, a, s.Shot)
		beside.Wait()
		// What it brings with it takes its time: the bound, and a reconnection.
		w.To = history.Now() + int64(a.fleet.bound()+maxStaleness)
		a.count(s.fault, err)
		a.note(func() {
			a.now = ""
			a.windows = append(a.windows, w)
		})
	}
}

// count counts a fault. That the time for faults is over undoes it early, and is no failure.
func (a *attack) count(f *fault.Fault, err error) {
	a.t.Helper()
	switch {
	case errors.Is(err, fault.ErrMissed):
		a.note(func() { a.missed[f.Name]++ })
	case err != nil && (a.ctx.Err() == nil || !errors.Is(err, a.ctx.Err())):
		a.t.Errorf("fault %s: %v", f.Name, err)
	default:
		a.note(func() { a.injected[f.Name]++ })
	}
}

func (a *attack) note(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

// void says that what was acknowledged between two times may have been lost.
func (a *attack) void(from, to int64) {
	w := history.Window{From: from, To: to}
	if *strictFlag {
		w.Until = to + int64(recovery)
	}
	a.note(func() { a.lost = append(a.lost, w) })
}

// progress tells every few seconds how far the run is.
func (a *attack) progress(ctx context.Context) {
	const every = 5 * time.Second
	for harness.Sleep(ctx, every) {
		a.mu.Lock()
		n := 0
		for _, c := range a.injected {
			n += c
		}
		now := a.now
		a.mu.Unlock()
		a.t.Logf("%s %v: %d loads, %d commits, %d faults; now %s", a.plan.topology,
			time.Duration(history.Now()-a.began).Round(time.Second), a.fleet.source.Loads(), a.fleet.source.Commits(), n, now)
	}
}

// outcome reads the logs and checks them.
func (a *attack) outcome() (*outcome, error) {
	logs, err := a.fleet.history()
	if err != nil {
		return &outcome{Dir: a.fleet.dir}, err
	}
	o := &outcome{
		Topology: a.plan.topology, Seed: a.plan.seed, Took: time.Duration(history.Now() - a.began), Found: a.found,
		Bound: a.fleet.bound(), Injected: a.injected, Missed: a.missed,
		Messages: a.fleet.lost(), Replaced: len(a.fleet.all()) - len(a.fleet.seats), Dir: a.fleet.dir,
		Report: a.check(logs),
	}
	for _, s := range a.fleet.seats {
		if !a.recovered(logs, s.name) {
			o.Alone = append(o.Alone, s.name)
		}
	}
	return o, a.keepSchedule()
}

func (a *attack) check(logs []*history.Log) *history.Report {
	return history.Check(logs, history.Options{Bound: a.fleet.bound(), Late: lateness, Void: a.lost, Faults: a.windows})
}

// broken looks at what is in the logs so far, for a run that is to end with the first violation of some rules. What else is in them when all
// has ended has the last word. It is called between faults, when it is known what they have made void.
func (a *attack) broken() bool {
	a.t.Helper()
	if *untilFlag == "" {
		return false
	}
	logs, err := a.fleet.history()
	if err != nil {
		a.t.Errorf("what the fleet has done so far: %v", err)
		return true
	}
	report := a.check(logs)
	for _, rule := range rulesIn(*untilFlag) {
		if report.Broken[rule] > 0 {
			a.found = time.Duration(history.Now() - a.began)
			return true
		}
	}
	return false
}

// rulesIn gives those that are named.
func rulesIn(names string) (rules []history.Rule) {
	for _, r := range []history.Rule{history.G1, history.G2, history.G3} {
		name, _, _ := strings.Cut(r.String(), " ")
		if strings.Contains(","+names+",", ","+name+",") {
			rules = append(rules, r)
		}
	}
	return rules
}

// recovered tells whether an instance had local hits and acknowledged changes once all was over.
func (a *attack) recovered(logs []*history.Log, instance string) bool {
	hits, changes := 0, 0
	for _, l := range logs {
		if l.Instance != instance {
			continue
		}
		for _, op := range l.Ops {
			switch {
			case op.Start < a.calm.From || op.Start > a.calm.To:
			case op.Kind == history.Read && op.Tier == history.Local && op.Result == history.Value:
				hits++
			case op.Kind == history.Acked:
				changes++
			}
		}
	}
	return hits > 0 && changes > 0
}

// keepSchedule writes beside the logs when what was injected, in their times.
func (a *attack) keepSchedule() error {
	var b strings.Builder
	for _, w := range a.windows {
		fmt.Fprintf(&b, "%s: %d to %d\n", w.Name, w.From, w.To)
	}
	for _, w := range a.lost {
		fmt.Fprintf(&b, "void: %d to %d\n", w.From, w.To)
	}
	return os.WriteFile(a.fleet.dir+"/faults", []byte(b.String()), 0o600)
}

// replay is the command that runs the same schedule again.
func (p plan) replay() string {
	s := fmt.Sprintf("go test ./internal/attack -run 'TestAttack$' -v -args -attack.seed=%d -attack.topology=%s -attack.duration=%v", p.seed, p.topology, p.duration)
	if p.faults != "" {
		s += " -attack.faults=" + p.faults
	}
	if *strictFlag {
		s += " -attack.strict"
	}
	if *untilFlag != "" {
		s += " -attack.until=" + *untilFlag
	}
	return s
}

// String is the run's report.
func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topology   %s, seed %d, %v; bound %v\n", o.Topology, o.Seed, o.Took.Round(time.Second), o.Bound)
	fmt.Fprintf(&b, "faults     %s\n", counts(o.Injected))
	if o.Found > 0 {
		fmt.Fprintf(&b, "ended      by a violation, after %v\n", o.Found.Round(100*time.Millisecond))
	}
	if len(o.Missed) > 0 {
		fmt.Fprintf(&b, "not met    %s\n", counts(o.Missed))
	}
	fmt.Fprintf(&b, "           %d messages lost, %d instances replaced\n", o.Messages, o.Replaced)
	return b.String() + o.Report.String()
}

func counts(m map[string]int) string {
	total, parts := 0, []string{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		total += m[name]
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}
