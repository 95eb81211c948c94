package deps

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/guarantees.md is held to its word: a promise whose test was renamed or removed is a promise
// that nothing holds.
func TestDocs_nameTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(root, "docs", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 40 {
		t.Fatalf("docs/guarantees.md names %d tests; has its form changed?", len(named))
	}
	sources := make(map[string]string)
	for _, n := range named {
		pkg, test := n[1], n[2]
		if _, read := sources[pkg]; !read {
			sources[pkg] = testSources(t, filepath.Join(root, pkg))
		}
		if !strings.Contains(sources[pkg], "\nfunc "+test+"(t *testing.T)") {
			t.Errorf("docs/guarantees.md names %s.%s, which does not exist", pkg, test)
		}
	}
}

func testSources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(src)
	}
	return all.String()
}
