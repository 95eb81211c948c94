package report

import (
	"fmt"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// nasty is a name that would break a page that does not take care.
const nasty = `"quoted" <script>alert('x')</script> & </script>`

func sampleEnvironment(server string) result.Environment {
	return result.Environment{CPU: "Sample Processor 9000 @ 3.2 GHz", Cores: 8, GOMAXPROCS: 8, OS: "linux", Arch: "amd64", Go: "go1.26.8", Revision: "0123456789abcdef", Server: server,
		Modules: map[string]string{"github.com/dgraph-io/ristretto/v2": "v2.4.2", "github.com/redis/go-redis/v9": "v9.23.0", "example.com/" + nasty: "v0.0.1"}}
}

func sampleDocument(command string) *result.Document {
	return &result.Document{Version: result.Version, Command: command, Args: []string{"--rounds=7", "--redis=…"}, Seconds: 83.4,
		Began: time.Date(2026, 11, 25, 20, 9, 0, 0, time.UTC), Environment: sampleEnvironment("Redis 7.0.15")}
}

func around(v float64) result.Spread {
	return result.Spread{Median: v, Min: v * 0.93, Max: v * 1.11, N: 7}
}

// sampleCells are those of subjects beside ristretto.
func sampleCells(scale float64, values map[string]float64) []result.Cell {
	var cells []result.Cell
	for _, name := range []string{"doppio", "doppio/otter", "ristretto", "otter", "theine", "sturdyc", "go-redis/cache", "rueidis", "by hand"} {
		v, ok := values[name]
		if !ok {
			cells = append(cells, result.Cell{Subject: name, Missing: "it has no tier of its own for this"})
			continue
		}
		allocs := float64(int(v / 90))
		cells = append(cells, result.Cell{Subject: name, Value: around(v * scale), Ratio: around(v / values["ristretto"]), Allocs: &allocs})
	}
	return cells
}

func sampleCompare() *result.Document {
	d := sampleDocument("compare")
	d.Notice = "not whole: the budget of 60 s was spent; " + nasty
	c := &result.Compare{Rounds: 7}
	for _, s := range [][3]string{
		{"doppio", "github.com/doppio-cache/doppio", "Both tiers, local tier in ristretto, the default; instances are coherent within a bound."},
		{"doppio/otter", "github.com/doppio-cache/doppio", "Both tiers, local tier in otter; instances are coherent within a bound."},
		{"ristretto", "github.com/dgraph-io/ristretto/v2", "Local tier only, string keys, with TTL."}, {"otter", "github.com/maypok86/otter/v2", "Local tier only, with TTL."},
		{"theine", "github.com/Yiling-J/theine-go", "Local tier only, its loading cache."}, {"sturdyc", "github.com/viccon/sturdyc", "Both tiers: its distributed storage."},
		{"go-redis/cache", "github.com/go-redis/cache/v9", "Both tiers: its TinyLFU before go-redis."}, {"rueidis", "github.com/redis/rueidis", "Both tiers: its client-side cache."},
		{"by hand", "github.com/dgraph-io/ristretto/v2", "ristretto before go-redis, as a good engineer would write it."},
	} {
		c.Subjects = append(c.Subjects, result.Subject{Name: s[0], Module: s[1], Version: "v1.2.3", About: s[2]})
	}
	local := map[string]float64{"doppio": 78, "doppio/otter": 61, "ristretto": 95, "otter": 58, "theine": 81, "sturdyc": 131, "go-redis/cache": 820, "rueidis": 1310, "by hand": 97}
	for _, verb := range []string{"Get", "GetOrSet"} {
		for _, keys := range []string{"Zipf", "hot"} {
			for _, callers := range []string{"1 caller", "8 callers"} {
				c.Rows = append(c.Rows, result.Row{Group: "local hit", Name: fmt.Sprintf("%s, struct, %s, %s", verb, keys, callers), Unit: "ns/op", Baseline: "ristretto", Cells: sampleCells(1, local)})
			}
		}
	}
	remote := map[string]float64{"doppio": 23, "doppio/otter": 23, "ristretto": 20, "go-redis/cache": 22, "rueidis": 31, "by hand": 24}
	c.Rows = append(c.Rows,
		result.Row{Group: "remote hit", Name: "Get, struct, 2 callers", Unit: "µs/op", Baseline: "ristretto", Cells: sampleCells(1, remote)},
		result.Row{Group: "memory", Name: "an entry, of 1 million", Unit: "bytes/entry", Cells: sampleCells(2, local)},
		result.Row{Group: "commands", Name: "a local hit", Unit: "commands/op", Cells: []result.Cell{ // one round, and values of 0
			{Subject: "doppio", Value: result.SpreadOf([]float64{0})}, {Subject: "rueidis", Value: result.SpreadOf([]float64{5})},
			{Subject: nasty, Value: result.SpreadOf([]float64{1}), Extra: map[string]float64{"GET": 1}},
		}},
		result.Row{Group: "stampede", Name: "4 × 1,000 callers", Unit: "commands", Cells: []result.Cell{
			{Subject: "doppio", Value: around(16), Extra: map[string]float64{"loads": 1, "last caller, ms": 67}}, {Subject: "rueidis", Value: around(7083)}, {Subject: "go-redis/cache", Value: around(8), Extra: map[string]float64{"loads": 4}},
			{Subject: "ristretto", Missing: "no remote tier"},
		}},
		result.Row{Group: nasty, Name: nasty, Unit: "ops/s", More: true, Baseline: "ristretto", Cells: sampleCells(1000, remote)},
		result.Row{Group: "gc", Name: "pause", Unit: "µs", Cells: []result.Cell{{Subject: "doppio", Missing: "interrupted"}}},
		result.Row{Group: "gc", Name: "no cells", Unit: "µs"},
	)
	got, most := 3.0, 1.0
	c.Check = &result.Check{Budgets: 7, Violations: []result.Violation{{Row: "stampede: " + nasty, Subject: "doppio", Figure: "loads", Got: &got, Limit: &most}}}
	d.Compare = c
	return d
}

func sampleReplay() *result.Document {
	d := sampleDocument("replay")
	r := &result.Replay{}
	for n, name := range []string{"oltp", nasty} {
		t := result.ReplayedTrace{Name: name, Format: "arc", Requests: 914_145, Keys: 186_880}
		for i, policy := range []string{"optimum", "LRU", "doppio/ristretto", "doppio/otter", "ristretto", "otter", "theine", "sturdyc", "go-redis/cache", nasty} {
			curve := result.Curve{Policy: policy}
			for j, size := range []int64{250, 500, 1000, 2000, 5000, 10_000, 20_000} {
				if n == 1 && j > 0 {
					break // one point
				}
				curve.Points = append(curve.Points, result.Point{Size: size, HitRatio: 0.2 + 0.08*float64(j) + 0.013*float64((7*i)%10), Seconds: 0.4, Held: sampleHeld(policy, float64(size))})
			}
			t.Curves = append(t.Curves, curve)
		}
		t.Curves = append(t.Curves, result.Curve{Policy: "none"})
		r.Traces = append(r.Traces, t)
	}
	r.Traces = append(r.Traces, result.ReplayedTrace{Name: "empty"})
	d.Replay = r
	return d
}

// sampleHeld is more than the size, and much more where that is small, for the policy that evicts in batches.
func sampleHeld(policy string, size float64) float64 {
	if policy == "otter" {
		return size + 123
	}
	return 0
}

func samplePercentiles(p50 float64) result.Percentiles {
	return result.Percentiles{Count: 12_345, P50: p50, P90: 2 * p50, P99: 9 * p50, P999: 30 * p50, Max: 80 * p50, Mean: 1.4 * p50}
}

func sampleRun(series string, instances int, invalidations float64) result.FleetRun {
	n := float64(instances)
	return result.FleetRun{
		Series: series, Seconds: 10, Requests: 1_000_000, Reads: 990_000, Writes: 10_000, Throughput: 90_000 * n / (1 + n/20), Loads: 800,
		Config:    result.FleetConfig{Instances: instances, Workers: 4, Keys: 100_000, Skew: 1.01, ReadShare: 0.99, ValueSize: 512, TTLms: 60_000, LocalEntries: 10_000, Invalidations: invalidations, MaxStalenessMs: 2000, SourceMs: 5, Topology: "standalone", Engine: "ristretto", Server: "Redis 7.0.15"},
		Latency:   map[string]result.Percentiles{"local": samplePercentiles(0.4), "remote": samplePercentiles(60), "load": samplePercentiles(5600), "write": samplePercentiles(80), "response": samplePercentiles(90)},
		Staleness: result.Staleness{Reads: 990_000, Stale: 312, BoundMs: 2000, Age: samplePercentiles(0.3)}, Lag: samplePercentiles(0.2 + n/30 + invalidations/1e5),
		Redis:       result.Redis{Servers: 1, Commands: 31 + n, ByCommand: map[string]float64{"get": 21, "evalsha": 10, "publish": 10, nasty: 1, "xadd": 10, "zero": 0}, BytesIn: 4100, BytesOut: 19_000 + 300*n, CPUms: 1.1, CPUShare: 0.02*n + invalidations/1e5, MemoryBytes: 5e7, HasCPU: true, HasCommands: true},
		InstanceCPU: 0.6, Invalidations: 30_000,
	}
}

func sampleFleet() *result.Document {
	d := sampleDocument("fleet")
	f := &result.Fleet{Runs: []result.FleetRun{sampleRun("single", 4, 100)}}
	for _, n := range []int{1, 2, 4, 8, 16} {
		f.Runs = append(f.Runs, sampleRun("instances", n, 100))
	}
	for _, rate := range []float64{0, 10, 100, 1000, 10_000} {
		f.Runs = append(f.Runs, sampleRun("invalidations", 4, rate))
	}
	for _, rate := range []float64{0, 1000} {
		f.Runs = append(f.Runs, sampleRun("calibration", 32, rate))
	}
	f.Extrapolation = &result.Extrapolation{Instances: 1000, Formula: "cpu(N) = a + b·N + c·N·r <script>", Parameters: map[string]float64{"a": 0.011, "b": 0.0004, "c": 1e-6}, Assumptions: []string{"Instances ask alike.", "Delivery of one message costs the same to each instance."}}
	for _, n := range []int{1, 2, 4, 8, 16, 100, 1000} {
		p := result.ExtrapolatedPoint{Instances: n, ServerCPU: 0.011 + 0.0014*float64(n), BytesOut: 1e5 * float64(n), Messages: 100 * float64(n)}
		if n <= 16 {
			v := p.ServerCPU * 1.06
			p.Measured = &v
		}
		f.Extrapolation.Points = append(f.Extrapolation.Points, p)
	}
	f.Runs[5].MachineCPU = 0.97 // the last step by instances
	d.Fleet = f
	return d
}

// sparseFleet is a fleet's document with hardly anything in it.
func sparseFleet() *result.Document {
	d := sampleDocument("fleet")
	d.Fleet = &result.Fleet{Runs: []result.FleetRun{{Series: "instances", Latency: map[string]result.Percentiles{"local": {Count: 3}}}}}
	return d
}

func sampleChaos() *result.Document {
	d := sampleDocument("chaos")
	c := &result.Chaos{}
	for i, name := range []string{"cut", "half-open", "slow", "swallow", "stop-instance", "kill-instance", "stop-server", "restart-server", "flushall"} {
		run := result.ChaosRun{Fault: name, About: "what " + name + " does to a fleet", Times: 12, Run: sampleRun("single", 4, 100), Recovery: samplePercentiles(5 + 4*float64(i)), Verdict: "ok"}
		run.Run.Staleness.Age = samplePercentiles(0.3 + 2*float64(i))
		c.Runs = append(c.Runs, run)
	}
	c.Runs[3].Verdict, c.Runs[3].Run.Staleness.Beyond = "2 reads were stale beyond the bound", 2
	c.Runs = append(c.Runs, result.ChaosRun{Fault: nasty, Verdict: nasty})
	d.Chaos = c
	return d
}

func samples() []*result.Document {
	return []*result.Document{sampleChaos(), sampleCompare(), sampleReplay(), sampleFleet(), sparseFleet()}
}
