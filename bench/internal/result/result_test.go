package result_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    result.Spread
	}{
		{nil, result.Spread{}},
		{[]float64{3}, result.Spread{Median: 3, Min: 3, Max: 3, N: 1}},
		{[]float64{9, 1, 5}, result.Spread{Median: 5, Min: 1, Max: 9, N: 3}},
		{[]float64{4, 1, 2, 9}, result.Spread{Median: 3, Min: 1, Max: 9, N: 4}},
	} {
		if got := result.SpreadOf(c.samples); got != c.want {
			t.Errorf("of %v: %+v, want %+v", c.samples, got, c.want)
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	got := result.Ratios([]float64{10, 0, 30, 40, math.Inf(1)}, []float64{5, 1, 0, 10, 1})
	if want := []float64{2, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDocumentSurvivesItsFile(t *testing.T) {
	allocs := 2.0
	want := result.Document{
		Version: result.Version, Command: "compare", Args: []string{"--quick"}, Began: time.Unix(1, 0).UTC(), Seconds: 3,
		Environment: result.ThisEnvironment("Redis 7.0.15"),
		Compare: &result.Compare{Rows: []result.Row{{
			Group: "local hit", Name: "get", Unit: "ns/op",
			Cells: []result.Cell{{Subject: "doppio", Value: result.SpreadOf([]float64{1, 2}), Allocs: &allocs}},
		}}},
	}
	path := filepath.Join(t.TempDir(), "compare.json")
	var b bytes.Buffer
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := result.ReadFile(path)
	if err != nil || !reflect.DeepEqual(got, &want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got.Environment.CPU == "" || got.Environment.Cores == 0 || got.Environment.Go == "" {
		t.Errorf("the environment is not described: %+v", got.Environment)
	}
}

func TestNoDocument(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                "",
		"no JSON":                "compare",
		"another version":        `{"version": 99, "command": "compare", "compare": {}}`,
		"an unknown command":     `{"version": 1, "command": "brew", "compare": {}}`,
		"another command's work": `{"version": 1, "command": "compare", "fleet": {}}`,
	} {
		if _, err := result.Read(strings.NewReader(text)); !errors.Is(err, result.ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := result.ReadFile(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCellOfARow(t *testing.T) {
	r := result.Row{Cells: []result.Cell{{Subject: "a"}, {Subject: "b"}}}
	if r.Cell("b") != &r.Cells[1] || r.Cell("c") != nil {
		t.Error("not the cell of that subject")
	}
}
