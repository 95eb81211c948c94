package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// WriteTable writes a table of ratios for each group, and beneath it the absolute figures.
func WriteTable(w io.Writer, c *result.Compare) error {
	p := &printer{w: w}
	for _, group := range groupsOf(c) {
		rows := slices.DeleteFunc(slices.Clone(c.Rows), func(r result.Row) bool { return r.Group != group })
		p.group(group, rows)
	}
	if c.Check != nil {
		p.check(c.Check)
	}
	return p.err
}

func (p *printer) check(c *result.Check) {
	if len(c.Violations) == 0 {
		p.line("BUDGETS\n\n%d, all kept\n", c.Budgets)
		return
	}
	p.line("BUDGETS\n\n%d, violated are\n", c.Budgets)
	for _, v := range c.Violations {
		p.line("– %s", v)
	}
	p.line("")
}

func groupsOf(c *result.Compare) []string {
	var groups []string
	for _, r := range c.Rows {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
	}
	return groups
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) group(name string, rows []result.Row) {
	p.line("%s\n", strings.ToUpper(name))
	subjects := subjectsOf(rows)
	var base []string
	for _, r := range rows {
		if r.Baseline != "" && !slices.Contains(base, r.Baseline) {
			base = append(base, r.Baseline)
		}
	}
	if len(base) > 0 {
		more := "less is better"
		if rows[0].More {
			more = "more is better"
		}
		p.table(fmt.Sprintf("ratio to %s, %s", strings.Join(base, ", "), more), subjects, rows, ratio)
		p.line("")
	}
	p.table("medians, "+units(rows), subjects, rows, absolute)
	p.line("")
	for _, name := range extrasOf(rows) {
		p.table("beside that: "+name, subjects, rows, func(_ *result.Row, c *result.Cell) string {
			if v, ok := c.Extra[name]; ok {
				return term.Number(v)
			}
			return "–"
		})
		p.line("")
	}
	p.reasons(rows)
}

func (p *printer) table(title string, subjects []string, rows []result.Row, show func(*result.Row, *result.Cell) string) {
	t := term.NewTable(append([]string{title}, subjects...)...)
	for i := range rows {
		cells := []string{rows[i].Name}
		for _, s := range subjects {
			cell := rows[i].Cell(s)
			if cell == nil || cell.Missing != "" {
				cells = append(cells, "–")
				continue
			}
			cells = append(cells, show(&rows[i], cell))
		}
		t.Row(cells...)
	}
	if p.err == nil {
		p.err = t.Write(p.w)
	}
}

// subjectsOf are those that have a figure in some row.
func subjectsOf(rows []result.Row) []string {
	var out []string
	for _, r := range rows {
		for _, c := range r.Cells {
			if c.Missing == "" && !slices.Contains(out, c.Subject) {
				out = append(out, c.Subject)
			}
		}
	}
	return out
}

func units(rows []result.Row) string {
	var out []string
	for _, r := range rows {
		if unit := shownUnit(&r); !slices.Contains(out, unit) {
			out = append(out, unit)
		}
	}
	return strings.Join(out, " and ")
}

func shownUnit(r *result.Row) string {
	if r.Unit == nanos {
		return "time and allocations of an operation"
	}
	return r.Unit
}

// ratio is the median, and half of what the rounds lie apart.
func ratio(_ *result.Row, c *result.Cell) string {
	r := c.Ratio
	switch {
	case r.N == 0:
		return "–"
	case r.N == 1 || r.Median == 0:
		return fmt.Sprintf("%.2f", r.Median)
	}
	return fmt.Sprintf("%.2f ±%.0f %%", r.Median, 100*(r.Max-r.Min)/2/r.Median)
}

func absolute(r *result.Row, c *result.Cell) string {
	text := term.Number(c.Value.Median)
	if r.Unit == nanos {
		text = term.Micros(c.Value.Median / 1000)
	}
	if c.Allocs != nil && !r.More {
		text += fmt.Sprintf(", %.0f", *c.Allocs)
	}
	return text
}

// extrasOf are names of what else is told of these rows, but for what would only be in the way here: the JSON has it.
func extrasOf(rows []result.Row) []string {
	names := make(map[string]bool)
	for _, r := range rows {
		for _, c := range r.Cells {
			for name := range c.Extra {
				names[name] = name != readsPerOp && name != "entries"
			}
		}
	}
	maps.DeleteFunc(names, func(_ string, shown bool) bool { return !shown })
	return slices.Sorted(maps.Keys(names))
}

// reasons tells once why figures are missing.
func (p *printer) reasons(rows []result.Row) {
	type why struct{ subject, reason string }
	where := make(map[why]int)
	var order []why
	for _, r := range rows {
		for _, c := range r.Cells {
			if c.Missing == "" {
				continue
			}
			k := why{c.Subject, c.Missing}
			if where[k] == 0 {
				order = append(order, k)
			}
			where[k]++
		}
	}
	for _, k := range order {
		some := ""
		if n := where[k]; n < len(rows) {
			some = fmt.Sprintf(" (%d of %d rows)", n, len(rows))
		}
		p.line("– %s: %s%s", k.subject, k.reason, some)
	}
	if len(order) > 0 {
		p.line("")
	}
}
