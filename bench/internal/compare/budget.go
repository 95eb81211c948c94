package compare

import (
	_ "embed" // the default budgets
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// Budget is what a row may cost a subject. It knows no absolute time: those are the machine's.
type Budget struct {
	Row       string   `json:"row"` // as FullName gives it
	Subject   string   `json:"subject"`
	Baseline  string   `json:"baseline,omitempty"`  // the row's; empty where it has none
	MaxAllocs *float64 `json:"maxAllocs,omitempty"` // of one operation
	MaxRatio  *float64 `json:"maxRatio,omitempty"`  // of its best time to the baseline's best
	MaxValue  *float64 `json:"maxValue,omitempty"`  // of a count: commands, loads, goroutines; the median of the rounds
	// Figure is what MaxValue is about, if not the row's value: "loads", of those that a stampede tells beside its time.
	Figure string `json:"figure,omitempty"`
}

//go:embed budgets.json
var defaultBudgets []byte

// ErrBudgets marks budgets that cannot be.
var ErrBudgets = errors.New("wrong budgets")

// DefaultBudgets are those of this repository.
func DefaultBudgets() ([]Budget, error) {
	return parseBudgets(defaultBudgets)
}

// ReadBudgets reads a list of budgets in JSON.
func ReadBudgets(r io.Reader) ([]Budget, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("compare: budgets: %w", err)
	}
	return parseBudgets(text)
}

func parseBudgets(text []byte) ([]Budget, error) {
	var budgets []Budget
	if err := json.Unmarshal(text, &budgets); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBudgets, err)
	}
	if len(budgets) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrBudgets)
	}
	var errs []error
	for i, b := range budgets {
		switch {
		case b.Row == "" || b.Subject == "":
			errs = append(errs, fmt.Errorf("%w: number %d lacks row or subject", ErrBudgets, i+1))
		case b.MaxAllocs == nil && b.MaxRatio == nil && b.MaxValue == nil:
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has none of maxAllocs, maxRatio and maxValue", ErrBudgets, i+1, b.Row))
		case b.MaxRatio != nil && b.Baseline == "":
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has a maxRatio and lacks the baseline", ErrBudgets, i+1, b.Row))
		case b.Figure != "" && b.MaxValue == nil:
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has a figure and lacks its maxValue", ErrBudgets, i+1, b.Row))
		case below(b.MaxAllocs, 0) || below(b.MaxValue, 0) || below(b.MaxRatio, 0) || b.MaxRatio != nil && *b.MaxRatio == 0:
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has a limit that nothing can keep", ErrBudgets, i+1, b.Row))
		}
	}
	return budgets, errors.Join(errs...)
}

func below(limit *float64, least float64) bool { return limit != nil && *limit < least }

// fits says what is wrong with a budget beside the rows and the subjects that there are, if anything is.
func (b Budget) fits(rows []*row, subjects []string) error {
	i := slices.IndexFunc(rows, func(r *row) bool { return FullName(r.group, r.name) == b.Row })
	switch {
	case i < 0:
		return fmt.Errorf("%w: there is no row %q", ErrBudgets, b.Row)
	case !slices.Contains(subjects, b.Subject):
		return fmt.Errorf("%w: %s: there is no subject %q", ErrBudgets, b.Row, b.Subject)
	case rows[i].baseline != b.Baseline:
		return fmt.Errorf("%w: %s has the baseline %q, not %q", ErrBudgets, b.Row, rows[i].baseline, b.Baseline)
	case b.MaxValue != nil && b.Figure == "" && !isCount(rows[i].unit):
		return fmt.Errorf("%w: %s is measured in %s, which is the machine's: maxValue is for counts", ErrBudgets, b.Row, rows[i].unit)
	}
	return nil
}

// isCount tells units whose figures no machine changes.
func isCount(unit string) bool {
	return unit == commandsPerOp || unit == goroutines || unit == commandsPerSecond
}

// Violation is a figure beyond its budget.
type Violation struct {
	Budget Budget
	Figure string // "ratio", "allocations", what was counted, or why there is none
	Got    float64
	Limit  float64
}

func (v Violation) String() string { return v.told().String() }

func (v Violation) told() result.Violation {
	told := result.Violation{Row: v.Budget.Row, Subject: v.Budget.Subject, Baseline: v.Budget.Baseline}
	if v.Limit < 0 {
		told.Missing = v.Figure
	} else {
		told.Figure, told.Got, told.Limit = v.Figure, &v.Got, &v.Limit
	}
	return told
}

// Checked is what a document tells of budgets and their violations.
func Checked(budgets int, found []Violation) *result.Check {
	c := &result.Check{Budgets: budgets, Violations: make([]result.Violation, 0, len(found))}
	for _, v := range found {
		c.Violations = append(c.Violations, v.told())
	}
	return c
}

// Judge holds rows against budgets. What was not measured is a violation too: a guard that sees nothing must not be silent.
func Judge(budgets []Budget, rows []result.Row) []Violation {
	var found []Violation
	for _, b := range budgets {
		found = append(found, b.judge(rows)...)
	}
	return found
}

func (b Budget) judge(rows []result.Row) []Violation {
	i := slices.IndexFunc(rows, func(r result.Row) bool { return FullName(r.Group, r.Name) == b.Row && r.Baseline == b.Baseline })
	if i < 0 {
		return []Violation{{Budget: b, Figure: "there is no such row with this baseline", Limit: -1}}
	}
	cell := rows[i].Cell(b.Subject)
	switch {
	case cell == nil:
		return []Violation{{Budget: b, Figure: "the subject took no part", Limit: -1}}
	case cell.Missing != "":
		return []Violation{{Budget: b, Figure: cell.Missing, Limit: -1}}
	}
	var found []Violation
	if b.MaxRatio != nil {
		switch ratio, ok := ratioOfBests(&rows[i], cell); {
		case !ok:
			found = append(found, Violation{Budget: b, Figure: "the baseline has no figure", Limit: -1})
		case ratio > *b.MaxRatio:
			found = append(found, Violation{Budget: b, Figure: "ratio", Got: ratio, Limit: *b.MaxRatio})
		}
	}
	if b.MaxAllocs != nil {
		switch {
		case cell.Allocs == nil:
			found = append(found, Violation{Budget: b, Figure: "allocations were not counted", Limit: -1})
		case *cell.Allocs > *b.MaxAllocs+allocSlack(*b.MaxAllocs):
			found = append(found, Violation{Budget: b, Figure: "allocations", Got: *cell.Allocs, Limit: *b.MaxAllocs})
		}
	}
	if b.MaxValue != nil {
		switch name, got, ok := b.counted(&rows[i], cell); {
		case !ok:
			found = append(found, Violation{Budget: b, Figure: name + " were not counted", Limit: -1})
		case got > *b.MaxValue+countSlack(name):
			found = append(found, Violation{Budget: b, Figure: name, Got: got, Limit: *b.MaxValue})
		}
	}
	return found
}

// counted is the figure that MaxValue is about.
func (b Budget) counted(row *result.Row, cell *result.Cell) (name string, got float64, ok bool) {
	if b.Figure == "" {
		return row.Unit, cell.Value.Median, cell.Value.N > 0
	}
	got, ok = cell.Extra[b.Figure]
	return b.Figure, got, ok
}

// countSlack is for heartbeats of the instance itself, of which one or two may fall among the operations whose commands are
// counted: never as many as there are operations.
func countSlack(figure string) float64 {
	if figure == commandsPerOp {
		return 0.5
	}
	return 0
}

// ratioOfBests is the best time of a cell to the best of the row's baseline, each of whichever round it was. The lowest of the
// rounds' ratios would not do: one round in which only the baseline was disturbed would acquit any regression.
func ratioOfBests(row *result.Row, cell *result.Cell) (float64, bool) {
	base := row.Cell(row.Baseline)
	if base == nil || base.Missing != "" || base.Value.N == 0 || cell.Value.N == 0 {
		return 0, false
	}
	best, of := cell.Value.Min, base.Value.Min
	if row.More { // work in a second: the time is its inverse
		best, of = base.Value.Max, cell.Value.Max
	}
	if of <= 0 {
		return 0, false
	}
	return best / of, true
}

// allocSlack is what the process may allocate beside the work: heartbeats and the server's counters, never as much as one more
// allocation in each operation of a few.
func allocSlack(limit float64) float64 {
	if limit == 0 {
		return 0.05
	}
	return 0.5 + limit/100
}
