package compare

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// tiny is a run of everything that ends soon. Its figures mean nothing.
func tiny(t *testing.T) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Rounds: 2, Slice: MinSlice, Child: []string{self, ChildCommand},
		sizes: sizes{
			keys: 300, hot: 64, remote: 500, entries: 500, gcs: 2, callers: 20, operations: 10, load: 5 * time.Millisecond, idle: 20 * time.Millisecond,
		},
	}
}

func TestRunOfEverything(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each process otherwise
	o := tiny(t)
	o.exact, o.Only = true, someRows(o)
	server, last := "", 0.0
	o.Opened = func(version string) { server = version }
	o.Progress = func(share float64, what string) {
		if share < last || share > 1 || what == "" {
			t.Errorf("progress from %v to %v, %q", last, share, what)
		}
		last = share
	}
	got, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if server == "" || len(got.Subjects) < 10 || got.Rounds != 2 {
		t.Errorf("server %q, %d subjects, %d rounds", server, len(got.Subjects), got.Rounds)
	}
	measured := make(map[string]bool)
	for _, r := range got.Rows {
		name := FullName(r.Group, r.Name)
		measured[name] = true
		for _, subject := range []string{"doppio", "doppio/otter", r.Baseline} {
			if subject == "" {
				continue
			}
			if c := r.Cell(subject); c == nil || c.Missing != "" || (c.Value.N == 0) {
				t.Errorf("%s: %s has no figure: %+v", name, subject, c)
			}
		}
	}
	for _, name := range o.Only {
		if !measured[name] {
			t.Errorf("there is no row %s", name)
		}
	}
	facts(t, got)
	var table bytes.Buffer
	if err := WriteTable(&table, got); err != nil {
		t.Error(err)
	}
}

// someRows are the first and the last row of each group, and all whose figures are facts.
func someRows(o Options) []string {
	var names []string
	for _, g := range newSession(o).groups() {
		for i, r := range g.rows {
			if i == 0 || i == len(g.rows)-1 || g.rows[i-1].group != r.group || r.group == "commands" {
				names = append(names, FullName(r.group, r.name))
			}
		}
	}
	return names
}

// facts are figures that no busy machine changes.
func facts(t *testing.T, got *result.Compare) {
	t.Helper()
	for _, c := range []struct {
		row, subject string
		least, most  float64
	}{
		{"commands: get that hits remotely", "doppio", 1, 1},
		{"commands: get that hits remotely", raw, 1, 1},
		{"commands: get of 100 keys that are remote", "doppio", 1, 1},
		{"commands: get-or-load that loads", "doppio", 2, 3}, // a cold cache asks for the lease at once
		{"commands: get-or-load that loads", raw, 2, 2},
		{"commands: set", "doppio", 1, 1},
		{"commands: set", raw, 1, 1},
		{"commands: delete", "doppio", 1, 1},
		{"commands: delete", raw, 1, 1},
		{"idle: commands a second of an instance", raw, 0, 0},
	} {
		i := slices.IndexFunc(got.Rows, func(r result.Row) bool { return FullName(r.Group, r.Name) == c.row })
		if i < 0 {
			t.Errorf("there is no row %s", c.row)
			continue
		}
		// A heartbeat of the instance itself may fall among ten operations.
		if cell := got.Rows[i].Cell(c.subject); cell.Value.Median < c.least || cell.Value.Median > c.most+0.5 {
			t.Errorf("%s: %s is %v, want %v to %v", c.row, c.subject, cell.Value.Median, c.least, c.most)
		}
	}
}

// TestFactsOfAFleet: what ours promises of its costs, at sizes at which a breach would show.
func TestFactsOfAFleet(t *testing.T) {
	ours := []string{"doppio", "doppio/otter"}
	got, err := Run(t.Context(), Options{Quick: true, Only: []string{"stampede", "idle"}, Subjects: ours, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	const value = ""
	for _, c := range []struct {
		row, figure string
		least, most float64
	}{
		{"stampede: 4 instances × 1000 callers of a cold key, load of 50ms", "loads", 1, 1},
		{"stampede: 4 instances × 1000 callers of a cold key, load of 50ms", "commands", 4, 50}, // each instance asks once at least
		{"idle: goroutines of an instance", value, 1, 12},
		{"idle: commands a second of an instance", value, 0, 4},
	} {
		i := slices.IndexFunc(got.Rows, func(r result.Row) bool { return FullName(r.Group, r.Name) == c.row })
		if i < 0 {
			t.Errorf("there is no row %s", c.row)
			continue
		}
		for _, subject := range ours {
			cell := got.Rows[i].Cell(subject)
			if cell == nil || cell.Missing != "" {
				t.Errorf("%s: %s has no figure: %+v", c.row, subject, cell)
				continue
			}
			figure := cell.Value.Median
			if c.figure != value {
				figure = cell.Extra[c.figure]
			}
			if figure < c.least || figure > c.most {
				t.Errorf("%s: %s of %s is %v, want %v … %v", c.row, c.figure, subject, figure, c.least, c.most)
			}
		}
	}
}

func TestInterruptedRun(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	o := tiny(t)
	o.Only, o.Subjects = []string{"100 keys"}, []string{"doppio"}
	o.Progress = func(share float64, _ string) {
		if share >= 0.5 { // the first of two rows is measured
			interrupt()
		}
	}
	got, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || got == nil || len(got.Rows) == 0 || len(got.Subjects) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if c := got.Rows[0].Cell("doppio"); c == nil || c.Missing != "" {
		t.Errorf("%+v", c)
	}
}

func TestCheck(t *testing.T) {
	o := tiny(t)
	budget := Budget{Row: "remote hit: get, struct, 2 callers", Subject: "doppio", Baseline: raw, MaxRatio: limit(1e6), MaxAllocs: limit(1e6)}
	got, found, err := Check(t.Context(), o, []Budget{budget})
	if err != nil || len(found) != 0 || len(got.Rows) != 1 {
		t.Errorf("generous: %v, %v", found, err)
	}
	budget.MaxAllocs = limit(0)
	if _, found, err = Check(t.Context(), o, []Budget{budget}); err != nil || len(found) != 1 || found[0].Figure != "allocations" {
		t.Errorf("none allowed: %v, %v", found, err)
	}
}
