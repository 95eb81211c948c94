package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// A document keeps what the terminal marks as measured on a busy machine, and the page marks it too: wherever a latency
// of that run stands, and nowhere else.
func TestRunsOfABusyMachineAreMarked(t *testing.T) {
	d := sampleFleet()
	var document bytes.Buffer
	if err := d.Write(&document); err != nil {
		t.Fatal(err)
	}
	d, err := result.Read(&document)
	if err != nil {
		t.Fatal(err)
	}
	p := pageOf(t, d)
	for _, id := range []string{"throughput-by-instances", "lag-by-instances"} {
		ch := chartOf(t, p, id)
		var steps []string
		for _, row := range ch.Table.Rows {
			steps = append(steps, row[0].Text)
		}
		if want := []string{"1", "2", "4", "8", "16 *"}; !slices.Equal(steps, want) {
			t.Errorf("%s: steps %q, want %q", id, steps, want)
		}
		for _, s := range ch.Series {
			for i, point := range s.Points {
				if marked := strings.HasSuffix(point.Text, " *"); marked != (i == len(s.Points)-1) {
					t.Errorf("%s, %s: step %d is %q", id, s.Name, i, point.Text)
				}
			}
		}
		if !slices.Contains(ch.Notes, busyNote) {
			t.Errorf("%s: nothing says what * means: %q", id, ch.Notes)
		}
	}
	if ch := chartOf(t, p, "lag-by-invalidations-a-second"); slices.Contains(ch.Notes, busyNote) {
		t.Error("a series without a mark explains marks")
	}
	table := runsTable(d.Fleet.Runs)
	column := slices.Index(table.Head, "machine")
	for i, row := range table.Rows {
		want := ""
		if d.Fleet.Runs[i].Busy() {
			want = "97.0 % *"
		}
		if row[column].Text != want {
			t.Errorf("run %d: machine %q, want %q", i, row[column].Text, want)
		}
	}

	d.Fleet.Runs = d.Fleet.Runs[5:6] // alone, it is the run in detail
	var html bytes.Buffer
	if err := Write(&html, []*result.Document{d}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{busyNote, "The machine was 97.0 % busy"} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestFaultsOfABusyMachineAreMarked(t *testing.T) {
	d := sampleChaos()
	d.Chaos.Runs[1].Run.MachineCPU = 0.9
	p := pageOf(t, d)
	for i, row := range verdicts(d.Chaos.Runs).Rows {
		if marked := strings.HasSuffix(row[0].Text, " *"); marked != (i == 1) {
			t.Errorf("fault %d is %q", i, row[0].Text)
		}
	}
	if intro := p.Sections[0].Intro; !slices.Contains(intro, busyNote) {
		t.Errorf("nothing says what * means: %q", intro)
	}
}
