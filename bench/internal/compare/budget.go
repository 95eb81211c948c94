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
	Baseline  string   `json:"baseline"`
	MaxAllocs *float64 `json:"maxAllocs,omitempty"` // of one operation
	MaxRatio  *float64 `json:"maxRatio,omitempty"`  // of its best time to the baseline's best
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
		case b.Row == "" || b.Subject == "" || b.Baseline == "":
			errs = append(errs, fmt.Errorf("%w: number %d lacks row, subject or baseline", ErrBudgets, i+1))
		case b.MaxAllocs == nil && b.MaxRatio == nil:
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has neither maxAllocs nor maxRatio", ErrBudgets, i+1, b.Row))
		case b.MaxAllocs != nil && *b.MaxAllocs < 0, b.MaxRatio != nil && *b.MaxRatio <= 0:
			errs = append(errs, fmt.Errorf("%w: number %d, %s, has a limit that nothing can keep", ErrBudgets, i+1, b.Row))
		}
	}
	return budgets, errors.Join(errs...)
}

// Violation is a figure beyond its budget.
type Violation struct {
	Budget Budget
	Figure string // "ratio", "allocations", or why there is none
	Got    float64
	Limit  float64
}

func (v Violation) String() string {
	where := fmt.Sprintf("%s, %s", v.Budget.Row, v.Budget.Subject)
	if v.Limit < 0 {
		return fmt.Sprintf("%s: not measured: %s", where, v.Figure)
	}
	return fmt.Sprintf("%s: %s %.2f, budget %.2f (beside %s)", where, v.Figure, v.Got, v.Limit, v.Budget.Baseline)
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
	return found
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
