package fleet

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

// open opens a server that ends with the test. A given one is there for all tests that are given it, and has a password.
func open(t *testing.T, kind server.Kind) *server.Server {
	t.Helper()
	o := server.Options{Kind: kind}
	if kind == server.Given {
		const password = "s3cret"
		given := redistest.Start(t, redistest.WithPassword(password))
		o.URL = "redis://:" + password + "@" + given.Addr
		t.Cleanup(func() { // after the run's end
			keys, err := given.Client(t).DBSize(context.WithoutCancel(t.Context())).Result()
			if err != nil || keys != 0 {
				t.Errorf("%d keys are left on the given server, %v", keys, err)
			}
		})
	}
	s, err := server.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// small is a run of less than a second, with so many changes of so few keys that invalidations and reads cross.
func small(t *testing.T, kind string) Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Instances, c.Workers, c.Keys, c.ReadShare, c.Source = 2, 2, 60, 0.9, time.Millisecond
	c.Warmup, c.Duration, c.Command = 100*time.Millisecond, 500*time.Millisecond, []string{self, kind}
	return c
}

// checkRun checks what holds for every whole run of a cache that keeps its promises.
func checkRun(t *testing.T, r *result.FleetRun) {
	t.Helper()
	if r.Requests == 0 || r.Reads == 0 || r.Throughput <= 0 || r.Seconds <= 0 {
		t.Errorf("nothing happened: %+v", r)
	}
	if r.Errors != 0 || len(r.ErrorKinds) != 0 {
		t.Errorf("errors: %d, %v", r.Errors, r.ErrorKinds)
	}
	if r.Staleness.Own != 0 || r.Staleness.Beyond != 0 {
		t.Errorf("lies: %+v", r.Staleness)
	}
	// Who is killed takes along what latencies it knew of.
	if r.Config.ChurnSeconds == 0 && r.Latency["local"].Count == 0 || r.InstanceCPU <= 0 {
		t.Errorf("not measured: local %+v, CPU %g", r.Latency["local"], r.InstanceCPU)
	}
}

func TestFleet(t *testing.T) {
	t.Parallel()
	standalone := open(t, server.Standalone)
	embedded := open(t, server.Embedded)
	cluster := open(t, server.Cluster)
	given := open(t, server.Given)
	for _, c := range []struct {
		name   string
		server *server.Server
		change func(*Config)
		check  func(*testing.T, *result.FleetRun)
	}{
		{"closed loop", standalone, func(*Config) {}, func(t *testing.T, r *result.FleetRun) {
			if r.Writes == 0 || r.Invalidations == 0 || !r.Redis.HasCPU || r.Lag.Count == 0 {
				t.Errorf("not measured: %+v", r)
			}
			// Of the GETs as many as there are loads are called by scripts.
			by := r.Redis.ByCommand
			if sent := r.Redis.Commands; sent < by["evalsha"] || sent > by["evalsha"]+by["get"]-0.5*float64(r.Loads)/float64(r.Requests)*1000 {
				t.Errorf("%g commands were sent, of %v, with %d loads of %d requests", sent, by, r.Loads, r.Requests)
			}
		}},
		{"open loop, uniform, otter, large values", standalone, func(c *Config) {
			c.Rate, c.Skew, c.Engine, c.ValueSize, c.LocalEntries, c.TTL = 400, 0, "otter", 2000, 50, time.Minute
		}, func(t *testing.T, r *result.FleetRun) {
			if r.Latency[responseLatency].Count == 0 || r.Due == 0 {
				t.Errorf("no latencies from the intended beginning, or of nothing due: %d", r.Due)
			}
			if r.Requests > 1000 {
				t.Errorf("%d requests at a rate of 400 a second", r.Requests)
			}
		}},
		{"embedded, changes from outside, sets", embedded, func(c *Config) {
			c.Invalidations, c.Write = 200, Set
		}, func(t *testing.T, r *result.FleetRun) {
			if r.Outside == 0 || r.Redis.HasCPU || r.Redis.Commands <= 0 {
				t.Errorf("not measured, or made up: %+v", r)
			}
		}},
		{"cluster", cluster, func(c *Config) { c.Rate, c.Invalidations = 300, 50 }, func(t *testing.T, r *result.FleetRun) {
			if r.Redis.Servers != 3 || !r.Redis.HasCPU || r.Config.Topology != string(server.Cluster) || r.Invalidations == 0 || r.Lag.Count == 0 || r.Outside == 0 {
				t.Errorf("not measured: %+v", r)
			}
			if by := r.Redis.ByCommand; r.Redis.Commands < by["evalsha"] || by["evalsha"] == 0 {
				t.Errorf("%g commands were sent, of %v", r.Redis.Commands, by)
			}
		}},
		{"given", given, func(c *Config) { c.Rate = 300 }, func(t *testing.T, r *result.FleetRun) {
			if !r.Redis.HasCPU || r.Config.Topology != string(server.Given) || r.Invalidations == 0 || r.Redis.Commands <= 0 {
				t.Errorf("not measured: %+v", r)
			}
		}},
		{"churn", standalone, func(c *Config) { c.Churn = 150 * time.Millisecond }, func(t *testing.T, r *result.FleetRun) {
			if r.Restarts == 0 {
				t.Error("nobody was replaced")
			}
		}},
		{"churn by killing", standalone, func(c *Config) { c.Churn, c.ChurnBy = 150*time.Millisecond, Abruptly }, func(t *testing.T, r *result.FleetRun) {
			if r.Restarts == 0 {
				t.Error("nobody was replaced")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := small(t, InstanceCommand)
			c.change(&cfg)
			out, err := Run(t.Context(), cfg, c.server, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkRun(t, &out.Run)
			c.check(t, &out.Run)
		})
	}
}

// The two controls of the staleness check: a cache that cannot be stale, and one that must be.

func TestCheckConvictsACacheThatNeverInvalidates(t *testing.T) {
	t.Parallel()
	out, err := Run(t.Context(), small(t, "lying"), open(t, server.Embedded), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := out.Run.Staleness
	if s.Stale == 0 || s.Own == 0 || s.Age.Max <= 0 {
		t.Errorf("found no stale reads: %+v", s)
	}
	if len(lies(&out.Run)) == 0 || Clean(&result.Fleet{Runs: []result.FleetRun{out.Run}}) {
		t.Error("acquitted")
	}
}

func TestCheckAcquitsACacheThatHoldsNothing(t *testing.T) {
	t.Parallel()
	out, err := Run(t.Context(), small(t, "none"), open(t, server.Embedded), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := out.Run.Staleness; s.Reads == 0 || s.Stale != 0 || len(lies(&out.Run)) != 0 {
		t.Errorf("found stale reads: %+v", s)
	}
}

func TestErrorsAreCountedByKind(t *testing.T) {
	t.Parallel()
	out, err := Run(t.Context(), small(t, "refusing"), open(t, server.Embedded), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := out.Run; r.Errors == 0 || r.ErrorKinds["other"] != r.Errors || r.Reads != 0 || Clean(&result.Fleet{Runs: []result.FleetRun{r}}) {
		t.Errorf("got %+v", r)
	}
}

// dealt is a small run of requests that are dealt, so many for each of a few keys, every fifth an update.
func dealt(t *testing.T, kind string, times int) Config {
	t.Helper()
	cfg := small(t, kind)
	d, err := NewDealer(filepath.Join(t.TempDir(), "requests"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Keys, cfg.Instances, cfg.Duration = 13, 3, time.Hour
	for n := range times * cfg.Keys {
		d.Deal(uint32(n%cfg.Keys), n%5 == 0)
	}
	if cfg.Dealt, err = d.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Requests that are dealt are each answered once, and judged as others are.
func TestDealtRequests(t *testing.T) {
	t.Parallel()
	s := open(t, server.Embedded)
	for kind, check := range map[string]func(*Outcome){
		InstanceCommand: func(o *Outcome) { checkRun(t, &o.Run) },
		"none": func(o *Outcome) {
			if r := o.Run; r.Staleness.Stale != 0 || r.Loads != r.Reads || o.Counts[LoadReads] != uint64(r.Reads) {
				t.Errorf("found stale reads, or other loads than reads: %+v", r)
			}
		},
		"lying": func(o *Outcome) {
			if s := o.Run.Staleness; s.Stale == 0 || s.Own == 0 || o.WithinHop > s.Stale || o.StaleBy != [Tiers]int64{s.Stale, 0, 0} {
				t.Errorf("found no stale reads: %+v, by %v", s, o.StaleBy)
			}
		},
		"refusing": func(o *Outcome) {
			if r := o.Run; r.Errors == 0 || r.Reads != 0 || len(o.Samples) != maxSamples {
				t.Errorf("errors: %d, samples %v", r.Errors, o.Samples)
			}
		},
	} {
		out, err := Run(t.Context(), dealt(t, kind, 100), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := out.Run; r.Requests != 1300 || out.Counts[Writes] != 260 || r.Writes != 260 || r.Reads+r.Errors != 1040 {
			t.Errorf("%s: %d requests, %d reads and %d updates were answered, of 1300, 1040 and 260", kind, r.Requests, r.Reads, r.Writes)
		}
		check(out)
	}
}

// What went wrong before the measurement is none of what it counted, but what must never be convicts.
func TestTheWarmUpIsNotCounted(t *testing.T) {
	t.Parallel()
	for kind, check := range map[string]func(*result.FleetRun){
		"dropping": func(r *result.FleetRun) {
			before := uint64(r.Config.Instances) * uint64(r.Seconds*100) // what there is time for in the measurement
			if n := r.Drops["trimmed"]; len(r.Drops) != 1 || n == 0 || n > before+before/4 {
				t.Errorf("drops: %v in %.1f s", r.Drops, r.Seconds)
			}
		},
		"spoiling": func(r *result.FleetRun) {
			if r.Errors != 0 || len(r.ErrorKinds) != 0 || r.Spoilt != 3*int64(r.Config.Instances) {
				t.Errorf("errors: %d, %v, spoilt %d", r.Errors, r.ErrorKinds, r.Spoilt)
			}
			if len(lies(r)) != 1 || Clean(&result.Fleet{Runs: []result.FleetRun{*r}}) {
				t.Error("acquitted")
			}
		},
	} {
		cfg := small(t, kind)
		cfg.Warmup = 500 * time.Millisecond
		out, err := Run(t.Context(), cfg, open(t, server.Embedded), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(&out.Run)
	}
}

func TestResponsesOfRequestsThatFailCount(t *testing.T) {
	t.Parallel()
	cfg := small(t, "refusing")
	cfg.Rate = 300
	out, err := Run(t.Context(), cfg, open(t, server.Embedded), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Nine in ten requests are reads, all of which fail.
	if answered := out.Run.Latency[responseLatency].Count; answered < out.Run.Requests/2 {
		t.Errorf("%d of %d requests have a latency", answered, out.Run.Requests)
	}
}

func TestAnInstanceThatLeavesBadlyFailsTheRun(t *testing.T) {
	t.Parallel()
	cfg := small(t, "clumsy")
	cfg.Churn, cfg.Duration = 150*time.Millisecond, time.Hour // without an error it would not end
	_, err := Run(t.Context(), cfg, open(t, server.Embedded), nil)
	if err == nil || !strings.Contains(err.Error(), "clumsy by intention") {
		t.Errorf("got %v", err)
	}
}

func TestInstancesThatFail(t *testing.T) {
	t.Parallel()
	s := open(t, server.Embedded)
	absent := small(t, "none")
	absent.Command = []string{filepath.Join(t.TempDir(), "absent")}
	if _, err := Run(t.Context(), absent, s, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that is not there: %v, want os.ErrNotExist", err)
	}
	for kind, want := range map[string]string{"broken": "broken by intention", "dying": "exit status 7"} {
		if out, err := Run(t.Context(), small(t, kind), s, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v and %v, want an error that says %q", kind, out, err, want)
		}
	}
}

func TestInterruptReportsWhatWasMeasured(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	cfg := small(t, "none")
	cfg.Duration, cfg.Warmup = time.Hour, 0
	out, err := Run(ctx, cfg, open(t, server.Embedded), func(float64, string) { interrupt() })
	if !errors.Is(err, context.Canceled) || out == nil || out.Run.Seconds > 1000 {
		t.Errorf("got %+v, %v", out, err)
	}
	if _, err := Run(ctx, cfg, open(t, server.Embedded), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted before the start: %v", err)
	}
}

// An instance whose parent is gone before it has said anything ends, too.
func TestInstanceEndsWithItsParent(t *testing.T) {
	if err := runInstance(t.Context(), strings.NewReader(""), &bytes.Buffer{}, openItems); !errors.Is(err, harness.ErrParentGone) {
		t.Errorf("without a configuration: %v", err)
	}
}

func TestChaos(t *testing.T) {
	t.Parallel()
	for kind, names := range map[server.Kind]string{
		server.Standalone: "cut,kill-instance", server.Cluster: "cut,restart-server", server.Given: "half-open",
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			faults, err := fault.ByName(names)
			if err != nil {
				t.Fatal(err)
			}
			cfg := small(t, InstanceCommand)
			cfg.Rate, cfg.Invalidations, cfg.MaxStaleness = 500, 50, 500*time.Millisecond
			chaos, err := Ordeal{Base: cfg, Faults: faults, Times: 1}.Run(t.Context(), open(t, kind), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(chaos.Runs) != len(faults) || !Survived(chaos) {
				t.Errorf("got %+v", chaos)
			}
			for _, r := range chaos.Runs {
				if r.Times != 1 || r.Recovery.Count != 1 || r.Run.Requests == 0 {
					t.Errorf("%s: %d times, recovery %+v, %d requests", r.Fault, r.Times, r.Recovery, r.Run.Requests)
				}
			}
			var text bytes.Buffer
			if err := WriteChaos(&text, chaos); err != nil || !strings.Contains(text.String(), faults[0].Name) {
				t.Errorf("the table: %v\n%s", err, text.String())
			}
		})
	}
}

// nothing is a fault that does nothing.
var nothing = fault.Fault{Name: "nothing", About: "nothing", Inject: func(context.Context, fault.Target, fault.Shot) error { return nil }}

func TestChaosConvicts(t *testing.T) {
	t.Parallel()
	s := open(t, server.Embedded)
	for kind, want := range map[string]string{
		"deaf": "did not become coherent", "lonely": "did not become coherent", "refusing": "errors after the last recovery", "none": result.VerdictOK,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg := small(t, kind)
			cfg.Rate, cfg.MaxStaleness, cfg.Patience = 200, tiered.MinMaxStaleness, 5*time.Second
			if kind == "deaf" {
				cfg.Patience = 50 * time.Millisecond
			}
			cfg.Faults, cfg.Injections = []fault.Fault{nothing}, 1
			out, err := Run(t.Context(), cfg, s, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(out, 1, false); !strings.Contains(got, want) {
				t.Errorf("the verdict is %q, want %q", got, want)
			}
		})
	}
}

func TestVerdictWantsWhatWasAskedFor(t *testing.T) {
	whole := Outcome{Run: result.FleetRun{Reads: 1}, Injected: 3, After: After{Reads: 1}}
	for _, c := range []struct {
		want, interrupted string // the verdict, and that of the same run if it was interrupted
		change            func(*Outcome)
	}{
		{result.VerdictOK, "interrupted", func(*Outcome) {}},
		{"injected 2 of 3 times", "interrupted", func(o *Outcome) { o.Injected = 2 }},
		{"no reads", "interrupted", func(o *Outcome) { o.Run.Reads = 0 }},
		{"no reads after the last recovery", "interrupted", func(o *Outcome) { o.After.Reads = 0 }},
		{"2 errors after the last recovery", "interrupted", func(o *Outcome) { o.After.Errors = 2 }},
		{"did not become coherent", "did not become coherent, interrupted", func(o *Outcome) { o.Run.Unrecovered = 1 }},
		{"1 reads stale beyond the bound", "1 reads stale beyond the bound, interrupted", func(o *Outcome) { o.Run.Staleness.Beyond = 1 }},
	} {
		o := whole
		c.change(&o)
		if got := verdict(&o, 3, false); got != c.want {
			t.Errorf("the verdict is %q, want %q", got, c.want)
		}
		if got := verdict(&o, 3, true); got != c.interrupted {
			t.Errorf("interrupted, the verdict is %q, want %q", got, c.interrupted)
		}
		for _, v := range []string{c.want, c.interrupted} {
			r := result.ChaosRun{Verdict: v}
			if fine := v == result.VerdictOK || v == result.VerdictInterrupted; r.Violated() == fine {
				t.Errorf("%q is a violation: %t", v, r.Violated())
			}
		}
	}
}

// Who interrupts chaos has found no violation thereby.
func TestInterruptedChaosConvictsNobody(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	suffered := fault.Fault{Name: "patience", About: "takes until somebody interrupts", Inject: func(ctx context.Context, _ fault.Target, _ fault.Shot) error {
		interrupt()
		<-ctx.Done()
		return ctx.Err()
	}}
	ordeal := Ordeal{Base: small(t, "none"), Faults: []fault.Fault{suffered, nothing}, Times: 3}
	chaos, err := ordeal.Run(ctx, open(t, server.Embedded), nil)
	if !errors.Is(err, context.Canceled) || len(chaos.Runs) != 1 || chaos.Runs[0].Verdict != result.VerdictInterrupted || Survived(chaos) {
		t.Errorf("got %+v, %v", chaos, err)
	}
}

// A server that is gone at the end takes along what it counted, and nothing else.
func TestARunOutlivesItsServer(t *testing.T) {
	t.Parallel()
	s := open(t, server.Standalone)
	cfg := small(t, "none")
	cfg.Duration, cfg.Warmup = time.Hour, 0
	ctx, interrupt := context.WithCancel(t.Context())
	out, err := Run(ctx, cfg, s, func(float64, string) {
		if ctx.Err() == nil {
			if err := s.Pause(0); err != nil {
				t.Error(err)
			}
			interrupt()
		}
	})
	if err := s.Resume(0); err != nil {
		t.Error(err)
	}
	if !errors.Is(err, context.Canceled) || out == nil || out.Run.Redis.HasCPU || out.Run.Redis.HasCommands {
		t.Errorf("got %+v, %v", out, err)
	}
}

// A process that is killed while the fleet ends is not the run's failure.
func TestKilledAtTheEnd(t *testing.T) {
	t.Parallel()
	s := open(t, server.Embedded)
	cfg := small(t, "none")
	cfg.Faults, cfg.Duration = []fault.Fault{{Name: "kill", Inject: func(ctx context.Context, f fault.Target, _ fault.Shot) error {
		<-ctx.Done()
		return errors.Join(f.Kill(0), f.Replace(ctx, 0))
	}}}, 100*time.Millisecond
	for range 3 {
		if out, err := Run(t.Context(), cfg, s, nil); err != nil || out.Run.Reads == 0 {
			t.Errorf("got %+v, %v", out, err)
		}
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	base := small(t, InstanceCommand)
	base.Rate, base.Duration = 100, 200*time.Millisecond
	plan := Plan{Base: base, Scale: OverInstances, Instances: []int{1, 2}, Invalidations: []float64{50}, Extrapolate: 100}
	if err := plan.Validate(); err != nil {
		t.Fatal(err)
	}
	f, err := plan.Run(t.Context(), open(t, server.Standalone), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Runs) != 2+6*calibrationRounds || f.Extrapolation == nil || len(f.Extrapolation.Points) != 4 {
		t.Fatalf("%d runs, extrapolation %+v", len(f.Runs), f.Extrapolation)
	}
	// The last two of a round are of reads that Redis answers, and of reads that it does not: most of them,
	// since what is loaded on a busy machine may end another read, too.
	for tier, r := range map[string]result.FleetRun{"remote": f.Runs[6], "load": f.Runs[7]} {
		if n := r.Latency[tier].Count; n == 0 || 2*float64(n) < float64(r.Reads) || r.Writes != 0 || r.Errors != 0 {
			t.Errorf("%d reads, %d of them %s, %d writes, %d errors", r.Reads, n, tier, r.Writes, r.Errors)
		}
	}
	f.Runs = append(f.Runs, f.Runs[0])
	f.Runs[len(f.Runs)-1].Series = seriesInvalidations
	var text bytes.Buffer
	if err := WriteFleet(&text, f); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"By the number of instances", "Calibration", "1, idle", "2, changes", "1, remote hits", "1, loads", "By the rate of changes", "It assumes that", "off by up to"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the tables say nothing of %q:\n%s", want, text.String())
		}
	}
	text.Reset()
	f.Runs[0].Series = seriesSingle
	f.Runs = f.Runs[:1]
	if err := WriteFleet(&text, f); err != nil || !strings.Contains(text.String(), "beyond the bound") {
		t.Errorf("the table of one run: %v\n%s", err, text.String())
	}
}
