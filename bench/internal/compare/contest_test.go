package compare

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func newContest(callers, rounds int, entrants ...*entrant) *contest {
	return &contest{callers: callers, rounds: rounds, slice: time.Millisecond, order: rand.New(rand.NewPCG(1, 2)), entrants: entrants}
}

// idle is work that costs next to nothing.
func idle(_ context.Context, _, _, n int) error {
	for began := time.Now(); n > 0; n-- {
		if time.Since(began) < 0 {
			return errWrong
		}
	}
	return nil
}

func TestGrow(t *testing.T) {
	for _, c := range []struct {
		name        string
		each        int
		took, slice time.Duration
		want        int
	}{
		{"half as many as fit", 10, 50 * time.Millisecond, 100 * time.Millisecond, 20},
		{"too many", 10, 200 * time.Millisecond, 100 * time.Millisecond, 5},
		{"one is too long", 1, time.Second, 100 * time.Millisecond, 1},
		{"too short to tell", 1, 10 * time.Nanosecond, 100 * time.Millisecond, 100},
		{"no time at all", 7, 0, 100 * time.Millisecond, 700},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := grow(c.each, c.took, c.slice); got != c.want {
				t.Errorf("grow = %d, want %d", got, c.want)
			}
		})
	}
}

func TestAllWorkInEachRound(t *testing.T) {
	for _, callers := range []int{1, 3} {
		var order []string
		entrants := make([]*entrant, 0, 4)
		for _, name := range []string{"a", "b", "c", "d"} {
			var ops atomic.Int64
			e := &entrant{subject: name, do: func(ctx context.Context, round, caller, n int) error {
				ops.Add(int64(n))
				return idle(ctx, round, caller, n)
			}}
			e.prepare = func(_ context.Context, round, _, _ int) error {
				if round != calibration {
					order = append(order, name)
				}
				return nil
			}
			entrants = append(entrants, e)
		}
		c := newContest(callers, 6, entrants...)
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		shuffled := false
		for round := range 6 {
			some := order[4*round : 4*round+4]
			shuffled = shuffled || !slices.Equal(some, order[:4])
			if sorted := slices.Sorted(slices.Values(some)); !slices.Equal(sorted, []string{"a", "b", "c", "d"}) {
				t.Errorf("round %d was worked by %v", round, some)
			}
		}
		if !shuffled {
			t.Error("each round has the same order")
		}
		for _, cell := range c.cells("b") {
			if cell.Value.N != 6 || cell.Value.Median <= 0 || cell.Allocs == nil || cell.Ratio.N != 6 {
				t.Errorf("cell %+v", cell)
			}
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	slow, fast := &entrant{subject: "slow", times: []float64{20, 400, 60}}, &entrant{subject: "fast", times: []float64{10, 100, 10}}
	cells := newContest(1, 3, slow, fast).cells("fast")
	if r := cells[0].Ratio; r.Median != 4 || r.Min != 2 || r.Max != 6 || r.N != 3 {
		t.Errorf("ratio %+v", r)
	}
	if v := cells[0].Value; v.Median != 60 || v.Min != 20 || v.Max != 400 {
		t.Errorf("value %+v", v)
	}
	if none := newContest(1, 3, slow, fast).cells("absent")[0].Ratio; none.N != 0 {
		t.Errorf("a ratio to nobody: %+v", none)
	}
}

func TestWhoErrsDropsOutAndOthersGoOn(t *testing.T) {
	boom := errors.New("an outage")
	late := func(ctx context.Context, round, caller, n int) error {
		if round == 1 {
			return boom
		}
		return idle(ctx, round, caller, n)
	}
	c := newContest(2, 3,
		&entrant{subject: "fine", do: idle},
		&entrant{subject: "early", do: func(context.Context, int, int, int) error { return boom }},
		&entrant{subject: "late", do: late},
		&entrant{subject: "unprepared", do: idle, prepare: func(context.Context, int, int, int) error { return boom }},
		&entrant{subject: "unable", missing: "it cannot"},
	)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, cell := range c.cells("late") {
		switch {
		case cell.Subject == "fine":
			if cell.Missing != "" || cell.Value.N != 3 || cell.Ratio.N != 0 {
				t.Errorf("%+v", cell)
			}
		case cell.Missing == "" || cell.Value.N != 0 || cell.Allocs != nil:
			t.Errorf("a figure of who dropped out: %+v", cell)
		case cell.Subject == "unable" && cell.Missing != "it cannot":
			t.Errorf("%+v", cell)
		}
	}
}

func TestWorkThatIsNotTheRowsHasNoFigure(t *testing.T) {
	asked := 0.0
	watch := func(context.Context) (map[string]float64, error) {
		return map[string]float64{commandsRunPerOp: asked}, nil
	}
	c := newContest(1, 2,
		&entrant{subject: "remote", watch: watch, limits: map[string]float64{commandsRunPerOp: localLimit}, do: func(ctx context.Context, round, caller, n int) error {
			asked += float64(max(n, 2*stray))
			return idle(ctx, round, caller, n)
		}},
		&entrant{subject: "local", watch: watch, limits: map[string]float64{commandsRunPerOp: localLimit}, do: idle},
	)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	cells := c.cells("")
	if !strings.Contains(cells[0].Missing, "must be at most") {
		t.Errorf("a remote hit passed for a local one: %+v", cells[0])
	}
	if cells[1].Missing != "" || cells[1].Extra[commandsRunPerOp] != 0 {
		t.Errorf("%+v", cells[1])
	}
}

func TestARemoteRowServedLocalHasNoFigure(t *testing.T) {
	asked := 0.0
	watch := func(context.Context) (map[string]float64, error) {
		return map[string]float64{commandsRunPerOp: asked}, nil
	}
	floors := map[string]float64{commandsRunPerOp: remoteFloor}
	c := newContest(1, 2,
		&entrant{subject: "remote", watch: watch, floors: floors, do: func(ctx context.Context, round, caller, n int) error {
			asked += float64(n)
			return idle(ctx, round, caller, n)
		}},
		&entrant{subject: "local", watch: watch, floors: floors, do: func(ctx context.Context, round, caller, n int) error {
			asked += 0.8 * float64(n)
			return idle(ctx, round, caller, n)
		}},
	)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	cells := c.cells("")
	if cells[0].Missing != "" || cells[0].Extra[commandsRunPerOp] != 1 {
		t.Errorf("%+v", cells[0])
	}
	if !strings.Contains(cells[1].Missing, "must be at least 0.9") {
		t.Errorf("a local hit passed for a remote one: %+v", cells[1])
	}
}

func TestLittleIsSeen(t *testing.T) {
	e := &entrant{subject: "a", times: []float64{1}, extra: map[string][]float64{readsPerOp: {0.0042}}}
	if got := e.cell(nil).Extra[readsPerOp]; got != 0.0042 {
		t.Errorf("%v, want 0.0042", got)
	}
}

func TestInterruptLeavesWhatWasMeasured(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	c := newContest(1, 5,
		&entrant{subject: "a", do: idle},
		&entrant{subject: "b", do: func(ctx context.Context, round, caller, n int) error {
			if round == 2 {
				interrupt()
				return ctx.Err()
			}
			return idle(ctx, round, caller, n)
		}},
	)
	if err := c.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	cells := c.cells("a")
	if b := cells[1]; b.Missing != "" || b.Value.N != 2 || b.Ratio.N != 2 {
		t.Errorf("%+v", b)
	}
	none := newContest(1, 5, &entrant{subject: "a", do: idle})
	if err := none.run(ctx); err == nil || none.cells("")[0].Missing != notReached {
		t.Errorf("%v, %+v", err, none.cells(""))
	}
}

func TestAllocationsAreCounted(t *testing.T) {
	var kept [][]byte
	c := newContest(1, 3,
		&entrant{subject: "two", do: func(_ context.Context, _, _, n int) error {
			kept = kept[:0]
			for range n {
				kept = append(kept[:0], make([]byte, 100), make([]byte, 100))
			}
			return nil
		}},
		&entrant{subject: "none", do: idle},
	)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	cells := c.cells("")
	if n := *cells[0].Allocs; n < 2 || n > 2.1 {
		t.Errorf("%v allocations, want 2", n)
	}
	if n := *cells[1].Allocs; n > 0.05 {
		t.Errorf("%v allocations, want none", n)
	}
}
