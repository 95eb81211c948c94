package result

// Compare is the work of [Document]'s command compare: the same work done by several libraries in one run.
type Compare struct {
	Subjects []Subject `json:"subjects"`
	Rows     []Row     `json:"rows"`
	Rounds   int       `json:"rounds"`
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
	Group    string `json:"group"` // "local hit", "far hit", …: rows of one group make a chart
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
