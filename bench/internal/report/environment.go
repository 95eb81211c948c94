package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// environments says where and how each document was measured.
func (b *builder) environments(docs []*result.Document) section {
	s := section{ID: b.ids.of("environment"), Title: "Where it was measured",
		Intro: []string{"Each command writes this beside its numbers. It names no host, no user and no path."}}
	t := &table{Caption: "Environment of each document", Head: []string{""}}
	lines := map[string]func(*result.Document) string{
		"begun":      func(d *result.Document) string { return d.Began.UTC().Format("2006-01-02 15:04:05 UTC") },
		"took":       func(d *result.Document) string { return number(d.Seconds) + " s" },
		"arguments":  func(d *result.Document) string { return strings.Join(d.Args, " ") },
		"notice":     func(d *result.Document) string { return d.Notice },
		"processor":  func(d *result.Document) string { return d.Environment.CPU },
		"cores":      func(d *result.Document) string { return fmt.Sprint(d.Environment.Cores) },
		"GOMAXPROCS": func(d *result.Document) string { return fmt.Sprint(d.Environment.GOMAXPROCS) },
		"system":     func(d *result.Document) string { return d.Environment.OS + "/" + d.Environment.Arch },
		"Go":         func(d *result.Document) string { return d.Environment.Go },
		"server":     func(d *result.Document) string { return d.Environment.Server },
		"revision":   func(d *result.Document) string { return d.Environment.Revision },
	}
	for _, d := range docs {
		t.Head = append(t.Head, d.Command)
	}
	for _, name := range []string{"notice", "processor", "cores", "GOMAXPROCS", "system", "Go", "server", "revision", "begun", "took", "arguments"} {
		row := texts(name)
		for _, d := range docs {
			row = append(row, cell{Text: lines[name](d), Bad: name == "notice"})
		}
		t.Rows = append(t.Rows, row)
	}
	s.Groups = []group{{Table: t, Open: true}, {Title: "Modules", Table: modules(docs)}}
	return s
}

// modules lists the versions of what was linked.
func modules(docs []*result.Document) *table {
	t := &table{Caption: "Modules that were linked", Head: []string{"module"}}
	var names []string
	for _, d := range docs {
		t.Head = append(t.Head, d.Command)
		for name := range d.Environment.Modules {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		row := texts(name)
		for _, d := range docs {
			row = append(row, cell{Text: d.Environment.Modules[name]})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
