package compare

import (
	"context"
	"errors"
	"slices"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// attempts is how often figures may be beyond their budgets before they are believed.
const attempts = 4

// Check measures the rows of budgets, and only these, by the subjects of budgets, and returns what is beyond its budget each time that it was measured.
func Check(ctx context.Context, o Options, budgets []Budget) (*result.Compare, []Violation, error) {
	if o.sizes == (sizes{}) {
		o.sizes = quickSizes // of rows that do not depend on it, and filling takes long
	}
	casts, err := castsOf(o, budgets)
	if err != nil {
		return nil, nil, err
	}
	var last *result.Compare
	found, err := retry(budgets, func(open []Budget) ([]result.Row, error) {
		var rows []result.Row
		var runs []Options
		for _, cast := range casts {
			if some := cast.of(o, open); len(some.Only) > 0 {
				runs = append(runs, some)
			}
		}
		for i, some := range runs {
			if progress := o.Progress; progress != nil {
				some.Progress = func(share float64, what string) { progress((float64(i)+share)/float64(len(runs)), what) }
			}
			measured, err := Run(ctx, some)
			if measured != nil {
				last = merge(last, measured)
				rows = append(rows, measured.Rows...)
			}
			if err != nil {
				return nil, err
			}
		}
		return rows, nil
	})
	return last, found, err
}

// cast are rows that share what they open, and so are measured in one run, by those alone whom their budgets are about: others
// would only take time, some of them much of it.
type cast map[string]bool

// castsOf gives those that have budgets, and finds budgets that cannot be kept for there is no such row.
func castsOf(o Options, budgets []Budget) ([]cast, error) {
	var all []*row
	var casts []cast
	s := newSession(o)
	for _, g := range s.groups() {
		all = append(all, g.rows...)
		c := make(cast)
		for _, r := range g.rows {
			c[FullName(r.group, r.name)] = true
		}
		casts = append(casts, c)
	}
	var errs []error
	for _, b := range budgets {
		errs = append(errs, b.fits(all, s.subjectNames()))
	}
	return casts, errors.Join(errs...)
}

// of are the options of a run of the cast's rows that have budgets.
func (c cast) of(o Options, budgets []Budget) Options {
	o.Only, o.exact, o.Subjects = nil, true, nil
	for _, b := range budgets {
		if !c[b.Row] {
			continue
		}
		if !slices.Contains(o.Only, b.Row) {
			o.Only = append(o.Only, b.Row)
		}
		for _, subject := range []string{b.Subject, b.Baseline} {
			if subject != "" && !slices.Contains(o.Subjects, subject) {
				o.Subjects = append(o.Subjects, subject)
			}
		}
	}
	return o
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
	for _, s := range later.Subjects {
		if !slices.Contains(all.Subjects, s) {
			all.Subjects = append(all.Subjects, s)
		}
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
