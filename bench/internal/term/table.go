package term

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// Table is rows of aligned cells: the first column to the left, numbers to the right.
type Table struct {
	head []string
	rows [][]string
}

// NewTable returns a table with these columns.
func NewTable(columns ...string) *Table { return &Table{head: columns} }

// Row adds a row. Cells that are missing are empty.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Write writes the table for people.
func (t *Table) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	left := utf8.RuneCountInString(t.head[0])
	for _, r := range t.rows {
		left = max(left, utf8.RuneCountInString(r[0]))
	}
	line := func(cells []string) {
		first := cells[0] + strings.Repeat(" ", left-utf8.RuneCountInString(cells[0]))
		fmt.Fprintf(tw, "%s\t%s\t\n", first, strings.Join(cells[1:], "\t"))
	}
	line(t.head)
	for _, r := range t.rows {
		line(append(r, make([]string, max(0, len(t.head)-len(r)))...))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("term: table: %w", err)
	}
	return nil
}
