package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// shownCharts is how many charts of a group are shown at once.
const shownCharts = 6

// aboutGroup is what must be known to read a group's figures.
var aboutGroup = map[string][]string{
	"memory": {"All that a library has of an entry beside the caller's keys and the value. " +
		"A copy of the key that the library makes counts, as doppio and rueidis do; the caller's key, to which the others refer, does not."},
}

// compare shows each row as a chart, and each group of rows as a table.
func (b *builder) compare(s *section, c *result.Compare) {
	s.Intro = append(s.Intro, fmt.Sprintf("Each work is done by all libraries in turn, in %s; bars are medians, whiskers the least and the greatest.", plural(c.Rounds, "round")),
		"Ratios are the result: they compare what ran beside each other. Absolute times are this machine's, and a footnote.")
	if c.Check != nil {
		b.page.Facts = append(b.page.Facts, fact{
			Value: count(int64(len(c.Check.Violations))), Label: fmt.Sprintf("figures beyond one of %s", plural(c.Check.Budgets, "budget")), Bad: len(c.Check.Violations) > 0,
		})
		for _, v := range c.Check.Violations {
			s.Intro = append(s.Intro, "Beyond its budget: "+v.String()+".")
		}
	}
	var groups []string
	for _, r := range c.Rows {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
	}
	for _, name := range groups {
		g := group{ID: b.ids.of(s.ID, name), Title: capital(name), Intro: slices.Clone(aboutGroup[name])}
		var rows []*result.Row
		for i := range c.Rows {
			if c.Rows[i].Group == name {
				rows = append(rows, &c.Rows[i])
			}
		}
		for _, r := range rows {
			ch := b.rowChart(r)
			if len(ch.Categories) == 0 {
				g.Intro = append(g.Intro, r.Name+": nothing was measured.")
				continue
			}
			if len(g.Charts) < shownCharts {
				g.Charts = append(g.Charts, ch)
			} else {
				g.More = append(g.More, ch)
			}
		}
		if len(rows) > 1 {
			g.Table = wholeTable(name, c.Subjects, rows)
		}
		s.Groups = append(s.Groups, g)
	}
	s.Groups = append(s.Groups, group{ID: b.ids.of(s.ID, "libraries"), Title: "The libraries", Table: subjects(c.Subjects)})
	if r := headlineRow(c.Rows); r != nil && b.page.Headline == nil {
		b.headline(r, c.Subjects)
	}
}

// rowChart draws ratios of times, and anything else as it is.
func (b *builder) rowChart(r *result.Row) *chart {
	ratios := isTime(r.Unit) && r.Baseline != ""
	ch := &chart{ID: b.ids.of(r.Group, r.Name), Kind: "bars", Title: r.Name, X: axis{Name: direction(r.More), Unit: r.Unit}}
	if ch.Title == "" {
		ch.Title = r.Group
	}
	ch.Sub = r.Unit
	if ratios {
		ch.Sub = fmt.Sprintf("%s, as a ratio to %s", r.Unit, r.Baseline)
		ch.X.Unit = "×"
	}
	values := series{Name: ch.Sub}
	var drawn []float64
	for _, c := range r.Cells {
		spread := c.Value
		if ratios {
			spread = c.Ratio
		}
		if c.Missing != "" || spread.N == 0 {
			if c.Missing != "" {
				ch.Notes = append(ch.Notes, c.Subject+": "+c.Missing)
			}
			continue
		}
		note := bare(c.Value.Median, r.Unit)
		if ratios {
			note = ratio(spread.Median)
		}
		p := point{X: spread.Median, Y: float64(len(ch.Categories)), Text: inUnit(c.Value.Median, r.Unit)}
		if ratios {
			p.Text = ratio(spread.Median) + ", " + p.Text
		}
		if spread.N > 1 {
			p.Low, p.High = &spread.Min, &spread.Max
		}
		values.Points = append(values.Points, p)
		ch.Categories = append(ch.Categories, category{Name: c.Subject, Note: note, Ours: isOurs(c.Subject)})
		drawn = append(drawn, spread.Median)
	}
	ch.Series = []series{values}
	ch.X.Log = logarithmic(drawn) || ratios && !slices.Contains(drawn, 0)
	if ratios {
		begin := 1.0
		ch.X.From = &begin
		ch.Marks = []mark{{Name: r.Baseline + " = 1", Value: 1}}
	}
	ch.Alternative = alternative(ch)
	ch.Table = rowTable(r)
	return ch
}

func alternative(ch *chart) string {
	var parts []string
	for _, c := range ch.Categories {
		said := c.Name + " " + c.Note
		if c.Also != "" {
			said += " (" + c.Also + ")"
		}
		parts = append(parts, said)
	}
	return fmt.Sprintf("%s (%s): %s.", ch.Title, ch.Sub, strings.Join(parts, ", "))
}

// rowTable is all that is known of one row.
func rowTable(r *result.Row) table {
	t := table{Caption: r.Group + ": " + r.Name, Head: []string{"library"}}
	if r.Baseline != "" {
		t.Head = append(t.Head, "ratio to "+r.Baseline, "least – greatest")
	}
	t.Head = append(t.Head, "median, "+r.Unit, "least – greatest", "allocations/op", "bytes/op", "also")
	for _, c := range r.Cells {
		row := []cell{{Text: c.Subject, Ours: isOurs(c.Subject)}}
		if c.Missing != "" {
			row = append(row, cell{Text: "–", Sub: c.Missing})
			t.Rows = append(t.Rows, append(row, make([]cell, len(t.Head)-len(row))...))
			continue
		}
		if r.Baseline != "" {
			row = append(row, cell{Text: ifAny(c.Ratio, ratio)}, cell{Text: between(c.Ratio, term.Number)})
		}
		row = append(row, cell{Text: ifAny(c.Value, func(v float64) string { return inUnit(v, r.Unit) })},
			cell{Text: between(c.Value, term.Number)}, cell{Text: optional(c.Allocs)}, cell{Text: optional(c.Bytes)}, cell{Text: extras(c.Extra)})
		t.Rows = append(t.Rows, row)
	}
	return t
}

// wholeTable has a row for each work and a column for each library.
func wholeTable(name string, all []result.Subject, rows []*result.Row) *table {
	t := &table{Caption: name + ", all of it", Head: []string{"work"}}
	var columns []string
	for _, s := range all {
		if slices.ContainsFunc(rows, func(r *result.Row) bool { return r.Cell(s.Name) != nil }) {
			columns = append(columns, s.Name)
		}
	}
	t.Head = append(t.Head, columns...)
	for _, r := range rows {
		line := []cell{{Text: r.Name, Sub: r.Unit}}
		for _, name := range columns {
			line = append(line, overview(r, r.Cell(name)))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

func overview(r *result.Row, c *result.Cell) cell {
	switch {
	case c == nil:
		return cell{}
	case c.Missing != "":
		return cell{Text: "–", Sub: c.Missing}
	}
	value := ifAny(c.Value, func(v float64) string { return inUnit(v, r.Unit) })
	out := cell{Text: value, Ours: isOurs(c.Subject)}
	if isTime(r.Unit) && c.Ratio.N > 0 {
		out.Text, out.Sub = ratio(c.Ratio.Median), value
	}
	if c.Allocs != nil {
		out.Sub = strings.TrimPrefix(out.Sub+", "+number(*c.Allocs)+" allocs", ", ")
	}
	return out
}

func subjects(all []result.Subject) *table {
	t := &table{Caption: "What was compared, and how it is used", Head: []string{"library", "version", "module", "how it is used here"}}
	for _, s := range all {
		t.Rows = append(t.Rows, []cell{{Text: s.Name, Ours: isOurs(s.Name)}, {Text: s.Version}, {Text: s.Module}, {Text: s.About}})
	}
	return t
}

func between(s result.Spread, write func(float64) string) string {
	if s.N < 2 {
		return ""
	}
	return write(s.Min) + " – " + write(s.Max)
}

func ifAny(s result.Spread, write func(float64) string) string {
	if s.N == 0 {
		return ""
	}
	return write(s.Median)
}

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

func extras(m map[string]float64) string {
	var parts []string
	for _, name := range sortedKeys(m) {
		parts = append(parts, name+" "+number(m[name]))
	}
	return strings.Join(parts, "; ")
}

// capital begins a title with a capital letter.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] // a byte of a longer rune has no upper case, and stays
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
