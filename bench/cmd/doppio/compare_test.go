package main

import (
	"strings"
	"testing"
)

func TestCompareRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		tells string
	}{
		{"a row that there is not, whose name has commas", []string{"--only", "far hit: brew, struct, 2 callers"}, "far hit: brew, struct, 2 callers"},
		{"a library that there is not", []string{"--subjects", "doppio,brew"}, "brew"},
		{"no rounds", []string{"--rounds", "0"}, "--rounds"},
		{"budgets without check", []string{"--budgets", "f.json"}, "--check"},
		{"check and rows", []string{"--check", "--only", "set"}, "--only"},
		{"an argument", []string{"brew"}, "brew"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, errs := captured(t.Context(), t, append([]string{"compare"}, c.args...)...)
			if code != exitUsage || !strings.Contains(errs, c.tells) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, exitUsage, c.tells, errs)
			}
		})
	}
}
