package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../../.."

// copies puts the files that a mutant is made of into a folder.
func copies(t *testing.T, m mutant) (tree string, originals map[string]string) {
	t.Helper()
	tree, originals = t.TempDir(), map[string]string{}
	for _, e := range m.edits {
		data, err := os.ReadFile(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(tree, e.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		originals[e.file] = string(data)
	}
	return tree, originals
}

func contents(t *testing.T, tree string, names map[string]string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for name := range names {
		data, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(data)
	}
	return texts
}

// Whoever changes code that a mutant breaks has to change the mutant, too.
func TestEveryMutantCanStillBeMade(t *testing.T) {
	names, numbers := map[string]bool{}, map[int]bool{}
	for _, m := range mutants {
		if names[m.name] || numbers[m.model] || len(m.edits) == 0 || len(m.rules) == 0 || m.why == "" {
			t.Errorf("%q is there twice, or says too little", m.name)
		}
		names[m.name], numbers[m.model] = true, m.model > 0
		tree, originals := copies(t, m)
		undo, err := m.apply(tree)
		if err != nil {
			t.Error(err)
		}
		for name, text := range contents(t, tree, originals) {
			if text == originals[name] {
				t.Errorf("%q does not change %s", m.name, name)
			}
		}
		if err := undo(); err != nil {
			t.Error(err)
		}
		if !maps.Equal(contents(t, tree, originals), originals) {
			t.Errorf("%q is not taken back", m.name)
		}
	}
	for number := 1; number <= 10; number++ {
		if !numbers[number] {
			t.Errorf("the model's mutant %d is missing", number)
		}
	}
}

func TestWhatIsNotThereOnceIsNotReplaced(t *testing.T) {
	for _, text := range []string{"", "no", "old and old"} {
		if got, err := (edit{"file", "old", "new"}).of(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
	m := mutant{name: "x", edits: []edit{mutants[0].edits[0], {mutants[0].edits[0].file, "not there", ""}}}
	tree, originals := copies(t, m)
	undo, err := m.apply(tree)
	if err == nil || !strings.Contains(err.Error(), "0 times") {
		t.Errorf("%v", err)
	}
	if err := undo(); err != nil || !maps.Equal(contents(t, tree, originals), originals) {
		t.Errorf("half a mutant is left: %v", err)
	}
}

// The harness's report is read as it is written.
func TestAReportIsUnderstood(t *testing.T) {
	r := &history.Report{Local: 5, Remote: 2, Commits: 3}
	if f := read(r.String()); len(f.broken) != 0 || f.operations != "7 reads, 3 commits" {
		t.Errorf("%+v", f)
	}
	r.Broken[history.G1], r.Broken[history.G3] = 2, 10
	indented := strings.ReplaceAll(fmt.Sprintf("\nended      by a violation, after 7.5s\n%v", r), "\n", "\n        ")
	if f := read(indented); !slices.Equal(f.broken, []string{g1, g3}) || f.after != "7.5s" || f.operations != "7 reads, 3 commits" {
		t.Errorf("%+v", f)
	}
}
