package compare

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestOnly(t *testing.T) {
	all := 0
	for _, g := range newSession(Options{}).groups() {
		all += len(g.rows)
	}
	for _, c := range []struct {
		name string
		only []string
		want func(full string) bool // of the rows that are chosen
		few  int                    // that there are at least
	}{
		{"all", nil, func(string) bool { return true }, all},
		{"a group alone, whose name is part of others'", []string{"set"}, func(full string) bool { return strings.HasPrefix(full, "set: ") }, 2},
		{"another such group", []string{"delete"}, func(full string) bool { return strings.HasPrefix(full, "delete: ") }, 2},
		{"a row", []string{"commands: set"}, func(full string) bool { return full == "commands: set" }, 1},
		{"a part of names", []string{"get, struct"}, func(full string) bool { return strings.Contains(full, "get, struct") }, 4},
		{"two", []string{"idle", "commands: delete"}, func(full string) bool { return strings.HasPrefix(full, "idle: ") || full == "commands: delete" }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups, err := newSession(Options{Only: c.only}).selected()
			if err != nil {
				t.Fatal(err)
			}
			chosen := 0
			for _, g := range groups {
				for _, r := range g.rows {
					chosen++
					if full := FullName(r.group, r.name); !c.want(full) {
						t.Errorf("%s is chosen", full)
					}
				}
			}
			if chosen < c.few {
				t.Errorf("%d rows, want %d", chosen, c.few)
			}
		})
	}
	for _, unknown := range []string{"brew", ""} {
		_, err := newSession(Options{Only: []string{"set", unknown, "idle"}}).selected()
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), `"`+unknown+`"`) || slices.Contains(strings.Fields(err.Error()), `"set"`) {
			t.Errorf("%q among others: %v", unknown, err)
		}
	}
}
