package compare

import (
	"context"
	"slices"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// attempts is how often figures may be beyond their budgets before they are believed.
const attempts = 4

// Check measures the rows of budgets, and only these, and returns what is beyond its budget each time that it was measured.
func Check(ctx context.Context, o Options, budgets []Budget) (*result.Compare, []Violation, error) {
	var last *result.Compare
	found, err := retry(budgets, func(open []Budget) ([]result.Row, error) {
		o := o
		o.Only, o.exact, o.Subjects = nil, true, nil
		if o.sizes == (sizes{}) {
			o.sizes = quickSizes // of rows that do not depend on it, and filling takes long
		}
		for _, b := range open {
			o.Only = append(o.Only, b.Row)
			o.Subjects = append(o.Subjects, b.Subject, b.Baseline)
		}
		measured, err := Run(ctx, o)
		if measured == nil {
			return nil, err
		}
		last = merge(last, measured)
		return measured.Rows, err
	})
	return last, found, err
}

// retry measures until all budgets were kept once, or attempts are used up.
func retry(budgets []Budget, measure func([]Budget) ([]result.Row, error)) ([]Violation, error) {
	open := budgets
	var found []Violation
	for range attempts {
		rows, err := measure(open)
		if err != nil {
			return nil, err
		}
		if found = Judge(open, rows); len(found) == 0 {
			return nil, nil
		}
		open = slices.DeleteFunc(slices.Clone(open), func(b Budget) bool {
			return !slices.ContainsFunc(found, func(v Violation) bool { return v.Budget == b })
		})
	}
	return found, nil
}

// merge puts the rows of a later measurement in the place of earlier ones.
func merge(all, later *result.Compare) *result.Compare {
	if all == nil {
		return later
	}
	for _, r := range later.Rows {
		i := slices.IndexFunc(all.Rows, func(old result.Row) bool { return old.Group == r.Group && old.Name == r.Name })
		if i < 0 {
			all.Rows = append(all.Rows, r)
		} else {
			all.Rows[i] = r
		}
	}
	return all
}
