package deps

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName is a test as documents name it, with its package.
var testName = regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")

// Every document is held to the code: a promise whose test was renamed or removed is a promise that
// nothing holds.
func TestDocs_nameTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	sources := make(map[string]string)
	for path, doc := range documents(t) {
		named := testName.FindAllStringSubmatch(doc, -1)
		if filepath.Base(path) == "guarantees.md" && len(named) < 40 {
			t.Fatalf("%s names %d tests; has its form changed?", path, len(named))
		}
		for _, n := range named {
			pkg, test := n[1], n[2]
			if _, read := sources[pkg]; !read {
				sources[pkg] = testSources(t, filepath.Join(root, pkg))
			}
			if !strings.Contains(sources[pkg], "\nfunc "+test+"(") {
				t.Errorf("%s names %s.%s, which does not exist", path, pkg, test)
			}
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
