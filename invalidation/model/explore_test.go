package model

import (
	"flag"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var large = flag.Bool("model.large", false, "explore the larger configurations too: minutes, and several GB")

func told(trace []string) string { return "\n\t" + strings.Join(trace, "\n\t") }

func TestProtocol_holdsInEveryState(t *testing.T) {
	for _, c := range configs {
		if c.large && !*large {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if !c.large {
				t.Parallel()
			}
			begun := time.Now()
			r := explore(c, rules{}, 0)
			t.Logf("%d states, %d steps deep, in %v", r.states, r.depth, time.Since(begun).Round(time.Millisecond))
			if r.broken != "" {
				t.Fatalf("%s%s", r.broken, told(r.trace))
			}
			if r.states != c.states {
				t.Errorf("%d states, and config.go says %d", r.states, c.states)
			}
			if c.large {
				runtime.GC() // what the next one needs
			}
		})
	}
}

func TestMutants_breakAProperty(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := named(t, m.in)
			c.large = false // a restart is from a snapshot with a value in it
			r := explore(c, m.rules, 0)
			if r.broken == "" {
				t.Fatalf("holds in all %d states", r.states)
			}
			t.Logf("%s, after %d states:%s", r.broken, r.states, told(r.trace))
			if len(r.trace) == 0 || len(r.trace) > r.depth+1 {
				t.Errorf("a trace of %d steps, at depth %d", len(r.trace), r.depth)
			}
		})
	}
}

// A change of the protocol that removes such a rule, or relies on it for more, should be made
// knowing that it is one.
func TestMutants_ofSpareRulesBreakNothing(t *testing.T) {
	for _, m := range spare {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range configs {
				if c.large || (!*large && c.name != m.in) {
					continue // with the flag, all small ones
				}
				if r := explore(c, m.rules, 0); r.broken != "" {
					t.Errorf("%s: %s%s", c.name, r.broken, told(r.trace))
				}
			}
		})
	}
}

// Prints have random seeds: were one of them, or the order of anything, to matter, the same
// configuration would not look the same twice.
func TestExplore_isDeterministic(t *testing.T) {
	m := mutants[0]
	one, two := explore(named(t, m.in), m.rules, 0), explore(named(t, m.in), m.rules, 0)
	if one.states != two.states || told(one.trace) != told(two.trace) {
		t.Errorf("%d states and then %d:%s\nand then%s", one.states, two.states, told(one.trace), told(two.trace))
	}
}

// A step that is never taken is no part of the exploration.
func TestExplore_takesEveryStep(t *testing.T) {
	taken := make([]bool, len(steps))
	for _, c := range configs {
		if c.large {
			continue
		}
		for i, took := range explore(c, rules{}, 20_000).taken {
			taken[i] = taken[i] || took
		}
	}
	for i, took := range taken {
		if !took {
			t.Errorf("step %d of the list is not taken in the first states of any configuration", i)
		}
	}
}

func TestMutants_existForEveryRule(t *testing.T) {
	kind := reflect.TypeFor[rules]()
	for i := range kind.NumField() {
		used := false
		for _, m := range slices.Concat(mutants, spare) {
			used = used || reflect.ValueOf(m.rules).Field(i).Bool()
		}
		if !used {
			t.Errorf("no mutant breaks %s", kind.Field(i).Name)
		}
	}
}

func named(t *testing.T, name string) config {
	t.Helper()
	for _, c := range configs {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("there is no configuration %q", name)
	return config{}
}
