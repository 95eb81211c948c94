package result

import "fmt"

// Compare is the work of [Document]'s command compare: the same work done by several libraries in one run.
type Compare struct {
	Subjects []Subject `json:"subjects"`
	Rows     []Row     `json:"rows"`
	Rounds   int       `json:"rounds"`
	Check    *Check    `json:"check,omitempty"` // of compare --check
}

// Check is what budgets had to say of the rows.
type Check struct {
	Budgets    int         `json:"budgets"`    // that the rows were held against
	Violations []Violation `json:"violations"` // empty: all were kept
}

// Violation is a figure beyond its budget, or one that was to be judged and is not there.
type Violation struct {
	Row      string   `json:"row"` // group and name, with ": " between them
	Subject  string   `json:"subject"`
	Baseline string   `json:"baseline,omitempty"`
	Figure   string   `json:"figure,omitempty"` // "ratio", "allocations", or what was counted
	Got      *float64 `json:"got,omitempty"`
	Limit    *float64 `json:"limit,omitempty"`
	Missing  string   `json:"missing,omitempty"` // why there is no figure
}

func (v Violation) String() string {
	where := v.Row + ", " + v.Subject
	if v.Got == nil || v.Limit == nil {
		return fmt.Sprintf("%s: not measured: %s", where, v.Missing)
	}
	text := fmt.Sprintf("%s: %s %.2f, budget %.2f", where, v.Figure, *v.Got, *v.Limit)
	if v.Baseline != "" {
		text += fmt.Sprintf(" (beside %s)", v.Baseline)
	}
	return text
}

// Subject is one of the libraries compared.
type Subject struct {
	Name    string `json:"name"`    // short, as in the table
	Module  string `json:"module"`  // path of the Go module
	Version string `json:"version"` // of the module
	About   string `json:"about"`   // how it is used here, in a sentence
}

// Row is one piece of work.
type Row struct {
	Group    string `json:"group"` // "local hit", "remote hit", …: rows of one group make a chart
	Name     string `json:"name"`  // the rest: "Get, struct, zipf, 2 callers"
	Unit     string `json:"unit"`  // "ns/op", "bytes/entry", …; less is better unless More
	More     bool   `json:"more,omitempty"`
	Baseline string `json:"baseline,omitempty"` // the subject to which ratios relate
	Cells    []Cell `json:"cells"`
}

// Cell is what one subject did with a row's work.
type Cell struct {
	Subject string             `json:"subject"`
	Missing string             `json:"missing,omitempty"` // why there is no value: the library cannot do this work
	Value   Spread             `json:"value"`
	Ratio   Spread             `json:"ratio"`            // to the baseline, of the same rounds
	Allocs  *float64           `json:"allocs,omitempty"` // a single operation
	Bytes   *float64           `json:"bytes,omitempty"`  // allocated by a single operation
	Extra   map[string]float64 `json:"extra,omitempty"`  // what else tells: "commands/op", "loads", …
}

// Cell returns the cell of a subject, or nil.
func (r *Row) Cell(subject string) *Cell {
	for i := range r.Cells {
		if r.Cells[i].Subject == subject {
			return &r.Cells[i]
		}
	}
	return nil
}
