package compare

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func limit(f float64) *float64 { return &f }

func budgetOf(ratio, allocs *float64) Budget {
	return Budget{Row: "local hit: get", Subject: "doppio", Baseline: ristretto, MaxRatio: ratio, MaxAllocs: allocs}
}

// measuredRow is one in which ours took so many times as long as the baseline at the best, and as long in the worst round.
func measuredRow(ratio float64, allocs float64) result.Row {
	return timedRow([]float64{50 * ratio, 450 * ratio}, []float64{50, 50}, allocs)
}

func timedRow(ours, base []float64, allocs float64) result.Row {
	return result.Row{Group: "local hit", Name: "get", Unit: nanos, Baseline: ristretto, Cells: []result.Cell{
		{Subject: "doppio", Value: result.SpreadOf(ours), Ratio: result.SpreadOf(result.Ratios(ours, base)), Allocs: &allocs},
		{Subject: ristretto, Value: result.SpreadOf(base), Ratio: result.SpreadOf(result.Ratios(base, base))},
		{Subject: "otter", Missing: "an outage"},
	}}
}

func TestJudge(t *testing.T) {
	both := budgetOf(limit(1.8), limit(0))
	of := func(change func(*Budget)) Budget {
		b := both
		change(&b)
		return b
	}
	noBaseline, perSecond := measuredRow(1, 0), timedRow([]float64{10, 50}, []float64{100, 20}, 0)
	noBaseline.Cells[1] = result.Cell{Subject: ristretto, Missing: "an outage"}
	perSecond.More = true
	for _, c := range []struct {
		name   string
		budget Budget
		row    result.Row
		says   []string // parts of each violation; none: acquitted
	}{
		{"within both", both, measuredRow(1.79, 0), nil},
		{"the machine's own allocations", both, measuredRow(1, 0.04), nil},
		{"too slow in the best round", both, measuredRow(1.81, 0), []string{"local hit: get, doppio: ratio 1.81, budget 1.80"}},
		{"slow, and the baseline once disturbed", both, timedRow([]float64{300, 300, 300}, []float64{100, 100, 200}, 0), []string{"ratio 3.00"}},
		{"fine, and disturbed all but once", both, timedRow([]float64{900, 900, 150}, []float64{100, 100, 300}, 0), nil},
		{"half as many in a second", both, perSecond, []string{"ratio 2.00"}},
		{"without a baseline", both, noBaseline, []string{"the baseline has no figure"}},
		{"allocates", both, measuredRow(1, 1), []string{"local hit: get, doppio: allocations 1.00, budget 0.00"}},
		{"one more of sixteen", budgetOf(nil, limit(16)), measuredRow(1, 17), []string{"allocations 17.00"}},
		{"sixteen of sixteen", budgetOf(nil, limit(16)), measuredRow(1, 16.2), nil},
		{"both", both, measuredRow(3, 2), []string{"ratio", "allocations"}},
		{"no such row", of(func(b *Budget) { b.Row = "local hit: brew" }), measuredRow(1, 0), []string{"no such row"}},
		{"another baseline", of(func(b *Budget) { b.Baseline = "otter" }), measuredRow(1, 0), []string{"no such row with this baseline"}},
		{"no such subject", of(func(b *Budget) { b.Subject = "theine" }), measuredRow(1, 0), []string{"took no part"}},
		{"dropped out", of(func(b *Budget) { b.Subject = "otter" }), measuredRow(1, 0), []string{"an outage"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := Judge([]Budget{c.budget}, []result.Row{c.row})
			if len(found) != len(c.says) {
				t.Fatalf("found %v, want %d", found, len(c.says))
			}
			for i, v := range found {
				if !strings.Contains(v.String(), c.says[i]) {
					t.Errorf("says %q, want %q", v, c.says[i])
				}
			}
		})
	}
}

func TestRetryBelievesOnlyWhatStays(t *testing.T) {
	slow, steady := budgetOf(limit(1.8), nil), budgetOf(limit(1.8), nil)
	steady.Row = "set: get"
	fine := measuredRow(1, 0)
	fine.Group = "set"
	measure := func(ratios ...float64) (calls *int, f func([]Budget) ([]result.Row, error)) {
		calls = new(int)
		return calls, func(open []Budget) ([]result.Row, error) {
			if *calls > 0 && slices.Contains(open, steady) {
				t.Error("what was within its budget is measured again")
			}
			r := measuredRow(ratios[min(*calls, len(ratios)-1)], 0)
			*calls++
			return []result.Row{r, fine}, nil
		}
	}
	calls, once := measure(5, 1)
	if found, err := retry([]Budget{slow, steady}, once); len(found) != 0 || err != nil || *calls != 2 {
		t.Errorf("slow once: %v, %v after %d attempts", found, err, *calls)
	}
	calls, always := measure(5)
	if found, err := retry([]Budget{slow, steady}, always); len(found) != 1 || err != nil || *calls != attempts {
		t.Errorf("slow always: %v, %v after %d attempts", found, err, *calls)
	}
	boom := errors.New("boom")
	if _, err := retry([]Budget{slow}, func([]Budget) ([]result.Row, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Errorf("err = %v", err)
	}
}

func TestDefaultBudgetsAreOfRowsThatExist(t *testing.T) {
	budgets, err := DefaultBudgets()
	if err != nil {
		t.Fatal(err)
	}
	baselines := make(map[string]string)
	s := newSession(Options{})
	var subjects []string
	for _, p := range s.accounts.subjects {
		subjects = append(subjects, p.Info.Name)
	}
	for _, g := range s.groups() {
		for _, r := range g.rows {
			baselines[FullName(r.group, r.name)] = r.baseline
		}
	}
	for _, b := range budgets {
		if baseline, ok := baselines[b.Row]; !ok || baseline != b.Baseline || !slices.Contains(subjects, b.Subject) {
			t.Errorf("%+v: row %v with baseline %q", b, ok, baseline)
		}
	}
}

func TestWrongBudgets(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{}", `[{"row": "r", "subject": "s", "baseline": "b"}]`, `[{"subject": "s", "baseline": "b", "maxRatio": 1}]`,
		`[{"row": "r", "subject": "s", "baseline": "b", "maxRatio": 0}]`, `[{"row": "r", "subject": "s", "baseline": "b", "maxAllocs": -1}]`,
	} {
		if _, err := ReadBudgets(strings.NewReader(text)); !errors.Is(err, ErrBudgets) {
			t.Errorf("%s: err = %v", text, err)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := WriteTable(&out, &result.Compare{Rows: []result.Row{measuredRow(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LOCAL HIT", "ratio to ristretto, less is better", "5.00 ±80 %", "250 ns, 0", "– otter: an outage"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
