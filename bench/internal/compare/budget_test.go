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

// TestMaxValue is of counts, and of what else a row tells.
func TestMaxValue(t *testing.T) {
	storm := result.Row{Group: "stampede", Name: "storm", Unit: "ms", Cells: []result.Cell{
		{Subject: "doppio", Value: result.SpreadOf([]float64{50}), Extra: map[string]float64{"loads": 2, "commands": 17}},
	}}
	set := result.Row{Group: "commands", Name: "set", Unit: commandsPerOp, Cells: []result.Cell{{Subject: "doppio", Value: result.SpreadOf([]float64{1.04})}}}
	two := set
	two.Cells = []result.Cell{{Subject: "doppio", Value: result.SpreadOf([]float64{2})}}
	empty := set
	empty.Cells = []result.Cell{{Subject: "doppio"}}
	for _, c := range []struct {
		name   string
		row    result.Row
		figure string
		max    float64
		says   string // empty: acquitted
	}{
		{"within", storm, "loads", 2, ""},
		{"one load more", storm, "loads", 1, "stampede: storm, doppio: loads 2.00, budget 1.00"},
		{"commands", storm, "commands", 16, "commands 17.00, budget 16.00"},
		{"none allowed", storm, "loads", 0, "loads 2.00, budget 0.00"},
		{"what is not told", storm, "retries", 1, "not measured: retries were not counted"},
		{"a heartbeat beside the operations", set, "", 1, ""},
		{"one command more", two, "", 1, "commands/op 2.00, budget 1.00"},
		{"no value", empty, "", 1, "not measured: commands/op were not counted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Budget{Row: FullName(c.row.Group, c.row.Name), Subject: "doppio", MaxValue: &c.max, Figure: c.figure}
			found := Judge([]Budget{b}, []result.Row{c.row})
			if c.says == "" && len(found) != 0 || c.says != "" && (len(found) != 1 || !strings.HasSuffix(found[0].String(), c.says)) {
				t.Errorf("found %v, want %q", found, c.says)
			}
		})
	}
}

func TestDefaultBudgetsFit(t *testing.T) {
	budgets, err := DefaultBudgets()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {sizes: quickSizes}} { // names of rows hold sizes
		if _, err := castsOf(o, budgets); err != nil {
			t.Error(err)
		}
	}
}

// TestTheGuardSeesAll: each kind of work that ours does has a budget, with both engines where they are what works.
func TestTheGuardSeesAll(t *testing.T) {
	budgets, err := DefaultBudgets()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ row, subject, limit string }{
		{"local hit: get, struct, zipf, 1 caller", "doppio", "ratio"},
		{"local hit: get, struct, zipf, 1 caller", "doppio/otter", "ratio"},
		{"local hit: get-or-load, struct, zipf, 1 caller", "doppio", "ratio"},
		{"local hit: get-or-load, struct, hot, 1 caller", "doppio/otter", "ratio"},
		{"remote hit: get, struct, 2 callers", "doppio/otter", "ratio"},
		{"remote hit: get-or-load, struct, 2 callers", "doppio", "ratio"},
		{"full miss: get-or-load, struct, 2 callers", "doppio", "ratio"},
		{"full miss: get-or-load, struct, 2 callers", "doppio/otter", "ratio"},
		{"set: struct, 2 callers", "doppio/otter", "ratio"},
		{"delete: struct, 2 callers", "doppio", "ratio"},
		{"commands: get that hits remotely", "doppio", commandsPerOp},
		{"commands: get of 100 keys that are remote", "doppio", commandsPerOp},
		{"commands: get-or-load that loads", "doppio", commandsPerOp},
		{"commands: set", "doppio", commandsPerOp},
		{"commands: delete", "doppio", commandsPerOp},
		{"stampede: 4 instances × 1000 callers of a cold key, load of 50ms", "doppio", "loads"},
		{"stampede: 4 instances × 1000 callers of a cold key, load of 50ms", "doppio", "commands"},
		{"idle: goroutines of an instance", "doppio", goroutines},
		{"idle: commands a second of an instance", "doppio", commandsPerSecond},
	} {
		if !slices.ContainsFunc(budgets, func(b Budget) bool {
			limits := map[string]bool{"ratio": b.MaxRatio != nil && b.MaxAllocs != nil, b.Figure: b.MaxValue != nil}
			if b.Figure == "" && b.MaxValue != nil {
				limits[c.limit] = isCount(c.limit)
			}
			return b.Row == c.row && b.Subject == c.subject && limits[c.limit]
		}) {
			t.Errorf("%s, %s: there is no budget of its %s", c.row, c.subject, c.limit)
		}
	}
}

func TestBudgetsThatFitNoRow(t *testing.T) {
	for name, b := range map[string]Budget{
		"no row":      {Row: "remote hit: brew", Subject: "doppio", Baseline: raw, MaxRatio: limit(1)},
		"no subject":  {Row: "remote hit: get, struct, 2 callers", Subject: "brew", Baseline: raw, MaxRatio: limit(1)},
		"baseline":    {Row: "remote hit: get, struct, 2 callers", Subject: "doppio", Baseline: ristretto, MaxRatio: limit(1)},
		"counts":      {Row: "remote hit: get, struct, 2 callers", Subject: "doppio", Baseline: raw, MaxValue: limit(1)},
		`baseline ""`: {Row: "commands: set", Subject: "doppio", Baseline: raw, MaxValue: limit(1)},
	} {
		_, found, err := Check(t.Context(), tiny(t), []Budget{b})
		if !errors.Is(err, ErrBudgets) || !strings.Contains(err.Error(), name) || found != nil {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

// TestACastIsOfThoseAlone: of a group, the rows that have budgets, by those whom the budgets are about.
func TestACastIsOfThoseAlone(t *testing.T) {
	remote := Budget{Row: "remote hit: get, struct, 2 callers", Subject: "doppio", Baseline: raw, MaxRatio: limit(1)}
	storm := Budget{Row: "idle: goroutines of an instance", Subject: "doppio/otter", MaxValue: limit(1)}
	casts, err := castsOf(Options{}, []Budget{remote, storm, remote})
	if err != nil {
		t.Fatal(err)
	}
	var runs []Options
	for _, c := range casts {
		if o := c.of(Options{Only: []string{"brew"}}, []Budget{remote, storm, remote}); len(o.Only) > 0 {
			runs = append(runs, o)
		}
	}
	if len(runs) != 2 || !slices.Equal(runs[0].Only, []string{remote.Row}) || !slices.Equal(runs[0].Subjects, []string{"doppio", raw}) ||
		!slices.Equal(runs[1].Only, []string{storm.Row}) || !slices.Equal(runs[1].Subjects, []string{"doppio/otter"}) {
		t.Errorf("%+v", runs)
	}
}

func TestDocumentsTellOfViolations(t *testing.T) {
	b := budgetOf(limit(1.8), nil)
	if c := Checked(3, nil); c.Budgets != 3 || c.Violations == nil || len(c.Violations) != 0 {
		t.Errorf("all kept: %+v", c)
	}
	c := Checked(2, []Violation{{Budget: b, Figure: "ratio", Got: 3, Limit: 1.8}, {Budget: b, Figure: "an outage", Limit: -1}})
	if len(c.Violations) != 2 {
		t.Fatalf("%+v", c)
	}
	if v := c.Violations[0]; v.Row != b.Row || v.Subject != b.Subject || v.Baseline != ristretto || v.Figure != "ratio" || *v.Got != 3 || *v.Limit != 1.8 || v.Missing != "" {
		t.Errorf("%+v", v)
	}
	if v := c.Violations[1]; v.Missing != "an outage" || v.Got != nil || v.Limit != nil {
		t.Errorf("%+v", v)
	}
}

func TestWrongBudgets(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{}", `[{"row": "r", "subject": "s", "baseline": "b"}]`, `[{"subject": "s", "baseline": "b", "maxRatio": 1}]`,
		`[{"row": "r", "subject": "s", "maxRatio": 1}]`, `[{"row": "r", "subject": "s", "maxAllocs": 1, "figure": "loads"}]`,
		`[{"row": "r", "subject": "s", "maxValue": -1}]`, `[{"row": "r", "subject": "s", "baseline": "b", "maxRatio": -1}]`,
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
	if strings.Contains(out.String(), "BUDGETS") {
		t.Errorf("budgets where none were asked:\n%s", out.String())
	}
	for want, found := range map[string][]Violation{
		"3, all kept": nil,
		"– local hit: get, doppio: ratio 3.00, budget 1.80 (beside ristretto)": {{Budget: budgetOf(nil, nil), Figure: "ratio", Got: 3, Limit: 1.8}},
	} {
		out.Reset()
		if err := WriteTable(&out, &result.Compare{Check: Checked(3, found)}); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s%v", want, out.String(), err)
		}
	}
}
