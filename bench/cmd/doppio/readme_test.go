package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

// commands are those that people call.
var commands = []string{"demo", "compare", "replay", "fleet", "chaos", "inspect", "tail", "report"}

func TestEachCommandNamesItsExitCodes(t *testing.T) {
	named := regexp.MustCompile(`Exit codes: |[Ii]t exits with `)
	for _, name := range commands {
		if code, help, _ := captured(t.Context(), t, name, "--help"); code != exitOK || !named.MatchString(help) {
			t.Errorf("%s --help ends with %d, and names no exit codes:\n%s", name, code, help)
		}
	}
}

// TestREADME: what it counts and lists is what there is.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	others := 0
	for _, s := range peers.All[int64]() {
		if !strings.HasPrefix(s.Info.Name, "doppio") {
			others++
		}
	}
	numbers := []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
	if want := numbers[others] + " ways to do without it"; !strings.Contains(readme, want) {
		t.Errorf("it lacks %q", want)
	}
	for _, name := range commands {
		if !strings.Contains(readme, "| `doppio "+name) {
			t.Errorf("its table lacks %s", name)
		}
	}
	_, said, _ := strings.Cut(readme, "Each has `--help`")
	said, _, _ = strings.Cut(said, " have `--json`, `--out FILE`")
	for _, name := range commands {
		_, help, _ := captured(t.Context(), t, name, "--help")
		measures := strings.Contains(help, "write the result as JSON to FILE too")
		if told := strings.Contains(said, "`"+name+"`"); told != measures {
			t.Errorf("%s has --out: %v, and the README says %v", name, measures, told)
		}
	}
}
