//go:build unix

package fault_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/fault"
)

func TestByName_findsFaultsOfTheCatalog(t *testing.T) {
	names := func(faults []fault.Fault) string {
		var out []string
		for _, f := range faults {
			out = append(out, f.Name)
		}
		return strings.Join(out, " ")
	}
	for list, want := range map[string]string{
		"all":                   "half-open swallow slow cut stop-instance kill-instance stop-server flushall restart-server",
		"slow":                  "slow",
		" swallow, cut,swallow": "swallow cut",
	} {
		if got, err := fault.ByName(list); err != nil || names(got) != want {
			t.Errorf("%q: %s, %v, want %s", list, names(got), err, want)
		}
	}
	for _, list := range []string{"", "cut,", "brew"} {
		if _, err := fault.ByName(list); !errors.Is(err, fault.ErrUnknown) {
			t.Errorf("%q: %v", list, err)
		}
	}
	for _, f := range fault.Catalog() {
		if f.Where == "" || f.Inject == nil || f.Paths && f.Ours || f.Beside && !f.Paths {
			t.Errorf("%s is not whole: %+v", f.Name, f)
		}
	}
	sorted := fault.Names()
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(fault.Catalog()) {
		t.Error("two faults have one name")
	}
}
