package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is the implementation with one of its mechanisms broken.
type mutant struct {
	name   string
	model  int    // its number among the mutants of the reference model; 0: it has none there
	why    string // what the mechanism is there for
	attack attack
	// rules of which one at least has to be found broken.
	rules []string
	edits []edit
}

// attack is what finds it out, as the harness takes it. Seed and faults make the schedule.
type attack struct {
	topology string
	faults   string
	seed     uint64
	strict   bool
}

func (a attack) String() string {
	s := fmt.Sprintf("-attack.topology=%s -attack.faults=%s -attack.seed=%d", a.topology, a.faults, a.seed)
	if a.strict {
		s += " -attack.strict"
	}
	return s
}

// edit replaces a part of a file that is there exactly once. Code that has changed since refuses the edit: a mutant that breaks
// nothing any more must not look as if it had survived, nor be left out.
type edit struct{ file, old, new string }

func (e edit) of(text string) (string, error) {
	if n := strings.Count(text, e.old); n != 1 {
		return "", fmt.Errorf("%s: what is to be replaced is there %d times, not once:\n%s", e.file, n, e.old)
	}
	return strings.Replace(text, e.old, e.new, 1), nil
}

// apply makes the edits in a tree, and gives what takes them back.
func (m mutant) apply(tree string) (undo func() error, err error) {
	original := map[string]string{}
	undo = func() error {
		for name, text := range original {
			if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range m.edits {
		path := filepath.Join(tree, e.file)
		data, err := os.ReadFile(path)
		if err != nil {
			return undo, err
		}
		if _, known := original[e.file]; !known {
			original[e.file] = string(data)
		}
		text, err := e.of(string(data))
		if err != nil {
			return undo, fmt.Errorf("mutant %q: %w", m.name, err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return undo, err
		}
	}
	return undo, nil
}
