package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none.json") // there is nothing to write
	lines, table, out := filepath.Join(dir, "lines"), filepath.Join(dir, "table"), filepath.Join(dir, "out.json")
	for path, text := range map[string]string{
		lines: strings.Repeat("a\nb\nc\na\n", 50),
		table: "version,time,op,size,lbn\n1,33898,2a,512,42932745\n1,33899,2a,512,42932745\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, c := range []struct {
		name string
		ctx  context.Context
		args []string
		want int
	}{
		{"no trace", t.Context(), nil, exitUsage},
		{"a size of none", t.Context(), []string{"--sizes", "0", lines}, exitUsage},
		{"a policy that is none", t.Context(), []string{"--policies", "fifo", lines}, exitUsage},
		{"a format that is none", t.Context(), []string{"--format", "int16", lines}, exitUsage},
		{"a column that is none", t.Context(), []string{"--csv", "obj-id-col=0", lines}, exitUsage},
		{"columns of another format", t.Context(), []string{"--csv", "obj-id-col=1", "--format", "arc", lines}, exitUsage},
		{"a limit below zero", t.Context(), []string{"--limit", "-1", lines}, exitUsage},
		{"no such trace", t.Context(), []string{"--out", none, filepath.Join(dir, "absent")}, exitFailed},
		{"interrupted", interrupted, []string{"--out", none, lines}, exitInterrupted},
		{"two traces", t.Context(), []string{"--quiet", "--sizes", "1,2", "--out", out, lines, table}, exitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(c.ctx, append([]string{"doppio", "replay"}, c.args...)); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing that was replayed there is a file: %v", err)
	}
	if _, printed, _ := captured(interrupted, t, "replay", "--json", lines); printed != "" {
		t.Errorf("of nothing that was replayed there is a document:\n%s", printed)
	}
	d, err := result.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Replay.Traces) != 2 || d.Replay.Traces[0].Format != "lines" || d.Replay.Traces[1].Format != "csv" {
		t.Errorf("%+v", d.Replay.Traces)
	}
}

// TestReplayTableMarksWhatIsTooLarge: an asterisk at the size, and below how many it held.
func TestReplayTableMarksWhatIsTooLarge(t *testing.T) {
	r := &result.Replay{Traces: []result.ReplayedTrace{
		{Name: "orm", Sizes: []int64{50, 2000}, Curves: []result.Curve{
			{Policy: "otter", Points: []result.Point{{Size: 50, HitRatio: 0.649, Held: 173.2}, {Size: 2000, HitRatio: 0.8, Held: 2050}}},
			{Policy: "optimum", Points: []result.Point{{Size: 50, HitRatio: 0.609}, {Size: 2000, HitRatio: 0.9}}},
		}},
		{Name: "plain", Sizes: []int64{50}, Curves: []result.Curve{{Policy: "LRU", Points: []result.Point{{Size: 50, HitRatio: 0.5}}}}},
	}}
	var b bytes.Buffer
	if err := writeReplay(&b, r); err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(b.String(), "plain")
	for _, want := range []string{"64.9*", "80.0 ", "60.9 ", "  otter: 173 at 50\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("the table lacks %q:\n%s", want, first)
		}
	}
	if strings.Contains(second, "*") {
		t.Errorf("a mark where nothing was too large:\n%s", second)
	}
}
