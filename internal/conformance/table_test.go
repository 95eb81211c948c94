package conformance

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// row is one case of one operation.
type row struct {
	op   string
	name string
	run  func(t *testing.T, e *env)
	once bool // it asks both instances in one run
}

// table is every row.
func table() []row {
	return slices.Concat(
		stateRows(), keyRows(), valueRows(), codecRows(), lifeRows(), expireRows(), batchRows(), scanRows(), incrementRows(),
		loadRows(), raceRows(), tagRows(), contextRows(), clientRows(), tokenRows(),
	)
}

func TestConformance_onEveryServer(t *testing.T) {
	if !redistest.ValkeyInstalled() {
		t.Log("valkey-server is not installed: the table does not run against it")
	}
	for _, tg := range targets() {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			runTable(t, tg)
		})
	}
}

// The table runs through clients that have lived through a failover. This test has to come after
// TestConformance_onEveryServer.
func TestConformance_afterAFailover(t *testing.T) {
	for _, engine := range engines {
		fleetOf(&sentinel, engine)
	}
	d := sentinel.start()
	check(t, d.raw.FlushDB(t.Context()).Err())
	d.failover(t)
	for _, engine := range engines {
		f := fleetOf(&sentinel, engine)
		for _, c := range []*tiered.Client{f.first, f.second, f.stranger, f.neighbour} {
			probe := cache[int64](t, c, fmt.Sprintf("c%d", unique.Add(1)))
			redistest.Eventually(t, patience, func() error { return probe.Set(t.Context(), "k", 1) })
			ready(t, c)
		}
	}
	t.Run("sentinel", func(t *testing.T) { runTable(t, &sentinel) })
}

var engines = []local.EngineKind{local.Ristretto, local.Otter}

func runTable(t *testing.T, tg *target) {
	t.Helper()
	byOp := make(map[string][]row)
	var ops []string
	for _, r := range table() {
		if byOp[r.op] == nil {
			ops = append(ops, r.op)
		}
		byOp[r.op] = append(byOp[r.op], r)
	}
	for _, engine := range engines {
		t.Run(engine.String(), func(t *testing.T) {
			t.Parallel()
			f := fleetOf(tg, engine)
			for _, op := range ops {
				// Rows of one operation run one after another: the race detector allows 8,128 goroutines, and there are
				// more rows.
				t.Run(op, func(t *testing.T) {
					// Those that scan all of Redis come first, while it is small.
					if op != "Clear" && op != "Count" {
						t.Parallel()
					}
					for _, r := range byOp[op] {
						runRow(t, f, r)
					}
				})
			}
		})
	}
}

func runRow(t *testing.T, f *fleet, r row) {
	t.Helper()
	run := func(name string, e *env) {
		t.Run(name, func(t *testing.T) { r.run(t, e) })
		if e.forget != nil {
			e.forget(e.remoteKey(""))
		}
	}
	if r.once {
		run(r.name, f.env(false))
		return
	}
	run(r.name+"/same", f.env(false))
	run(r.name+"/other", f.env(true))
}

func (f *fleet) env(other bool) *env {
	return &env{fleet: f, name: fmt.Sprintf("c%d", unique.Add(1)), other: other}
}

// Every exported method has rows, and no two rows have the same name.
func TestConformance_coversEveryMethod(t *testing.T) {
	seen := make(map[string]bool)
	ops := make(map[string]bool)
	for _, r := range table() {
		id := r.op + "/" + r.name
		if seen[id] {
			t.Errorf("two rows are named %s", id)
		}
		seen[id], ops[r.op] = true, true
	}
	t.Logf("%d rows, %d targets and one failover, %d engines", len(seen), len(targets()), len(engines))
	for _, typ := range []reflect.Type{reflect.TypeFor[*tiered.Cache[int64]](), reflect.TypeFor[*tiered.Client]()} {
		for m := range typ.Methods() {
			if name := m.Name; name != "Name" && !ops[name] {
				t.Errorf("%v.%s has no row", typ, name)
			}
		}
	}
}

// each makes one row for every operation on a key.
func each(name string, run func(t *testing.T, e *env, p probe)) []row {
	var rows []row
	for _, p := range probes {
		rows = append(rows, row{op: p.op, name: name, run: func(t *testing.T, e *env) { run(t, e, p) }})
	}
	return rows
}

// probe is one operation, as those rows call it that ask the same of many. Where it stores, it stores newValue or adds delta.
type probe struct {
	op string
	do func(ctx context.Context, c *tiered.Cache[int64], key string) (any, error)
	// whole: it takes no key but a pattern or a tag.
	whole bool
}

const (
	oldValue = int64(7)
	newValue = int64(9)
	delta    = int64(2)
)
