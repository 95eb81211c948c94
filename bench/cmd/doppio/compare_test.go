package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func TestCompareRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		tells string
	}{
		{"a row that there is not, whose name has commas", []string{"--only", "remote hit: brew, struct, 2 callers"}, "remote hit: brew, struct, 2 callers"},
		{"one row that there is not among others", []string{"--only", "commands: set", "--only", "brew"}, `"brew"`},
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

// TestCompareChecks drives --check and --budgets, with rows that take little time.
func TestCompareChecks(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kept := file("kept.json", `[{"row": "commands: set", "subject": "doppio", "maxValue": 1}]`)
	violated := file("violated.json", `[
		{"row": "commands: set", "subject": "doppio", "maxValue": 0},
		{"row": "commands: delete", "subject": "doppio", "maxValue": 1},
		{"row": "commands: delete", "subject": "theine", "maxValue": 1}
	]`)
	for _, c := range []struct {
		name       string
		args       []string
		want       int
		tells, not string
	}{
		{"kept", []string{"--budgets", kept}, exitOK, "1, all kept", "doppio:"},
		{"violated", []string{"--budgets", violated}, exitUnclean, "beyond its budget: commands: set, doppio: commands/op 1.00, budget 0.00", "stale"},
		{"none", []string{"--budgets", file("none.json", "[]")}, exitUsage, "--budgets", "stale"},
		{"of no row", []string{"--budgets", file("brew.json", `[{"row": "brew", "subject": "doppio", "maxValue": 1}]`)}, exitUsage, `"brew"`, "stale"},
		{"absent", []string{"--budgets", filepath.Join(dir, "absent")}, exitFailed, "--budgets", "stale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := captured(t.Context(), t, append([]string{"compare", "--check"}, c.args...)...)
			if all := out + errs; code != c.want || !strings.Contains(all, c.tells) || strings.Contains(all, c.not) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.want, c.tells, all)
			}
		})
	}
	written := filepath.Join(dir, "out.json")
	code, out, _ := captured(t.Context(), t, "compare", "--check", "--json", "--out", written, "--budgets", violated)
	printed, err := result.Read(strings.NewReader(out))
	if err != nil || code != exitUnclean {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	d, err := result.ReadFile(written)
	if err != nil || !reflect.DeepEqual(d.Compare, printed.Compare) {
		t.Errorf("%v: --out has %+v", err, d)
	}
	check := printed.Compare.Check
	if check == nil || check.Budgets != 3 || len(check.Violations) != 2 {
		t.Fatalf("%+v", check)
	}
	if v := check.Violations[0]; v.Row != "commands: set" || v.Subject != "doppio" || *v.Limit != 0 || *v.Got < 1 {
		t.Errorf("%+v", v)
	}
	if v := check.Violations[1]; v.Subject != "theine" || v.Missing == "" || v.Got != nil {
		t.Errorf("%+v", v)
	}
}

func TestCompare(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.json")
	code, table, errs := captured(t.Context(), t, "compare", "--quick", "--only", "commands: set", "--only", "commands: delete", "--subjects", "doppio,go-redis",
		"--out", out, "--quiet")
	if code != exitOK || !strings.Contains(table, "COMMANDS") || errs != "" {
		t.Errorf("exit code %d, %q:\n%s", code, errs, table)
	}
	d, err := result.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Compare; len(c.Rows) != 2 || len(c.Subjects) != 2 || c.Check != nil || d.Environment.Server == "" || d.Notice != "" {
		t.Errorf("%+v", d)
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	if code, _, _ := captured(interrupted, t, "compare", "--only", "commands"); code != exitInterrupted {
		t.Errorf("interrupted: exit code %d, want %d", code, exitInterrupted)
	}
}
