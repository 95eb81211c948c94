package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// ErrNothing says that there is no document to report on.
var ErrNothing = errors.New("report: no document")

// page is all that the file shows.
type page struct {
	Title    string
	Lead     string
	Facts    []fact
	Headline *chart
	Sections []section
}

// fact is a number worth a line of its own.
type fact struct {
	Value string
	Label string
	Bad   bool // it must not be so
}

// section is a part of the page.
type section struct {
	ID      string
	Title   string
	Intro   []string
	Warning string
	Facts   []fact
	Groups  []group
}

// group is charts that belong together, and a table of all of them.
type group struct {
	ID     string
	Title  string
	Intro  []string
	Charts []*chart // shown
	More   []*chart // shown when asked for
	Table  *table
	Open   bool // the table is the content
}

// table is rows of text.
type table struct {
	Caption string
	Head    []string
	Rows    [][]cell
}

// cell is one of a table's.
type cell struct {
	Text string
	Sub  string // smaller, below
	Ours bool
	Bad  bool
	Ok   bool
	Left bool // it is a text among numbers
}

// texts makes a row of plain cells.
func texts(s ...string) []cell {
	row := make([]cell, len(s))
	for i, t := range s {
		row[i].Text = t
	}
	return row
}

// charts are all of the page, those behind "more" too.
func (p *page) charts() []*chart {
	var all []*chart
	if p.Headline != nil {
		all = append(all, p.Headline)
	}
	for _, s := range p.Sections {
		for _, g := range s.Groups {
			all = append(append(all, g.Charts...), g.More...)
		}
	}
	return all
}

// newPage decides what is shown of documents, and in which order.
func newPage(docs []*result.Document) (*page, error) {
	if len(docs) == 0 {
		return nil, ErrNothing
	}
	p := &page{Title: "doppio, measured"}
	b := builder{ids: identifiers{}, page: p}
	for _, command := range result.Commands {
		same := ofCommand(docs, command)
		for i, d := range same {
			s := section{Title: titles[command], Warning: d.Notice}
			if len(same) > 1 {
				s.Title = fmt.Sprintf("%s, %d of %d", s.Title, i+1, len(same))
			}
			s.ID = b.ids.of(s.Title)
			switch command {
			case "compare":
				b.compare(&s, d.Compare)
			case "replay":
				b.replay(&s, d.Replay)
			case "fleet":
				b.fleet(&s, d.Fleet)
			case "chaos":
				b.chaos(&s, d.Chaos)
			}
			s.Intro = append(s.Intro, whence(d))
			p.Sections = append(p.Sections, s)
		}
	}
	p.Sections = append(p.Sections, b.environments(docs))
	p.Lead = lead(docs)
	return p, nil
}

var titles = map[string]string{
	"compare": "Beside other libraries", "replay": "Hit ratio on traces", "fleet": "A fleet over one Redis", "chaos": "While things go wrong",
}

// builder makes the parts of one page.
type builder struct {
	ids       identifiers
	page      *page
	fleetTold bool // the facts at the top are of the first fleet alone
}

func ofCommand(docs []*result.Document, command string) []*result.Document {
	var same []*result.Document
	for _, d := range docs {
		if d.Command == command {
			same = append(same, d)
		}
	}
	return same
}

// lead says in a sentence what was measured on what.
func lead(docs []*result.Document) string {
	var commands, places []string
	for _, d := range docs {
		if !slices.Contains(commands, d.Command) {
			commands = append(commands, d.Command)
		}
		e := d.Environment
		if place := fmt.Sprintf("%d cores of %s, %s", e.Cores, orNot(e.CPU), orNot(e.Go)); !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return fmt.Sprintf("A two-tier cache for Go: local in the process, remote in Redis, coherent across a fleet. Measured by %s on %s.",
		listed(commands), strings.Join(places, "; and on "))
}

func whence(d *result.Document) string {
	return fmt.Sprintf("doppio %s %s, begun %s, took %s s.", d.Command, strings.Join(d.Args, " "),
		d.Began.UTC().Format("2006-01-02 15:04 UTC"), number(d.Seconds))
}

func listed(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

func orNot(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
