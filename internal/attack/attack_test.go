//go:build linux

package attack

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/history"
)

// What a run has to have done, so that it says something.
const (
	minFaults = 8 // of different kinds, unless the run was asked for fewer
	minReads  = 1000
	minAcked  = 100
	minPolls  = 100
)

func TestAttack(t *testing.T) {
	if typos := unknownNames(*topologyFlag, *faultsFlag); len(typos) > 0 {
		t.Fatalf("there are no such topologies or faults: %q", typos)
	}
	if *untilFlag != "" && len(rulesIn(*untilFlag)) != strings.Count(*untilFlag, ",")+1 {
		t.Fatalf("there is a promise that does not exist in %q", *untilFlag)
	}
	for _, top := range topologies {
		if *topologyFlag != "" && !strings.Contains(","+*topologyFlag+",", ","+top.name+",") {
			continue
		}
		t.Run(top.name, func(t *testing.T) {
			seed := cmp.Or(*seedFlag, rand.Uint64()>>32)
			p := plan{
				topology: top.name, kind: "tiered", seed: seed, duration: cmp.Or(*durationFlag, top.duration-recovery-calmSpan),
				faults: *faultsFlag, servers: top.start(t), fleet: top.instances,
			}
			t.Logf("seed %d; the same schedule: %s", seed, p.replay())
			o, err := run(t, p)
			if err != nil {
				t.Fatalf("%v\nthe logs are in %s", err, o.Dir)
			}
			t.Logf("\n%v", o)
			if !o.Report.OK() {
				t.Errorf("promises were broken; the logs are in %s\nagain: %s", o.Dir, p.replay())
			}
			if o.Found > 0 && !o.Report.OK() {
				return // too little has happened, of course
			}
			for _, complaint := range o.complaints(len(faultsFor(top.name, p.faults))) {
				t.Error(complaint)
			}
			tidy(t, o)
		})
	}
}

// unknownNames gives what is in the flags and does not exist.
func unknownNames(tops, faults string) []string {
	var typos []string
	for name := range strings.SplitSeq(tops, ",") {
		if name != "" && len(faultsFor(name, "")) == 0 {
			typos = append(typos, name)
		}
	}
	for name := range strings.SplitSeq(faults, ",") {
		known := func(f fault.Fault) bool { return f.Name == strings.TrimPrefix(name, "-") }
		if name != "" && !slices.ContainsFunc(catalog, known) {
			typos = append(typos, name)
		}
	}
	return typos
}

// complaints tells why a run says nothing.
func (o *outcome) complaints(faults int) []string {
	var all []string
	check := func(ok bool, complaint string) {
		if !ok {
			all = append(all, complaint)
		}
	}
	r := o.Report
	check(faults > 0, "there is no such fault")
	check(len(o.Injected) >= min(minFaults, faults), "too few faults were injected")
	check(r.Reads() >= minReads, "too few reads were answered")
	check(r.Local > 0 && r.Remote > 0 && r.Loaded > 0, "a tier has answered nothing")
	check(r.Acked() >= minAcked && r.SetsAcked > 0 && r.DeletesAcked > 0, "too few changes were acknowledged")
	check(r.Polls-r.PollErrors-r.PollsEmpty >= minPolls, "too few values were seen in Redis")
	for rule := range history.Rules {
		check(r.Checked[rule] > 0, "never checked: "+rule.String())
	}
	check(len(o.Alone) == 0, "not recovered when all was over: "+strings.Join(o.Alone, ", "))
	return all
}

// tidy removes the logs of a run that nobody will ask about.
func tidy(t *testing.T, o *outcome) {
	t.Helper()
	if t.Failed() || *keepFlag {
		t.Logf("the logs are in %s", o.Dir)
		return
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Error(err)
	}
}

// A cache that breaks its promises is found out by the same fleet and the same checks.
func TestBrokenCachesAreFoundOut(t *testing.T) {
	for kind, want := range map[string]history.Rule{"alone": history.G2, "deaf": history.G3} {
		t.Run(kind, func(t *testing.T) {
			o, err := run(t, plan{topology: "none", kind: kind, seed: 1, duration: 3 * time.Second, fleet: 2})
			if err != nil {
				t.Fatalf("%v\nthe logs are in %s", err, o.Dir)
			}
			r := o.Report
			if r.Broken[want] == 0 || r.OK() {
				t.Errorf("%v is not found out:\n%v", want, o)
			}
			if kind == "alone" && r.Broken[history.G3] > 0 {
				t.Errorf("it does hear of its own changes:\n%v", o)
			}
			if len(o.complaints(1)) == 0 {
				t.Error("a run without faults and without a server counts for something")
			}
			tidy(t, o)
		})
	}
}

func TestASeedGivesOneSchedule(t *testing.T) {
	for _, top := range topologies {
		faults := faultsFor(top.name, "")
		one, again, other := schedule(7, faults), schedule(7, faults), schedule(8, faults)
		same, seen := 0, map[string]int{}
		for range len(faults) {
			a, b, c := one(), again(), other()
			seen[a.fault.Name]++
			if a.fault != b.fault || a.Shot != b.Shot || a.rest != b.rest || (a.beside == nil) != (b.beside == nil) {
				t.Fatalf("%s: %+v, then %+v", top.name, a, b)
			}
			if a.fault == c.fault && a.Length == c.Length {
				same++
			}
			if least := maxStaleness / 5; a.Length < least || a.Length > 3*maxStaleness {
				t.Errorf("a length of %v", a.Length)
			}
		}
		if same > 0 || len(seen) != len(faults) {
			t.Errorf("%s: %d alike for another seed, %d of %d faults", top.name, same, len(seen), len(faults))
		}
	}
	if f := faultsFor("cluster", "flushall,failover"); len(f) != 1 || f[0].Name != "flushall" {
		t.Errorf("%v", f)
	}
	if typos := unknownNames("cluster,sentinal", "flushall,-cut,opm"); len(typos) != 2 {
		t.Errorf("%v", typos)
	}
	if all, f := faultsFor("cluster", ""), faultsFor("cluster", "-flushall,-cut"); len(f) != len(all)-2 {
		t.Errorf("%d of %d", len(f), len(all))
	}
}
