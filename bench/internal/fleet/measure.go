package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// mark is what had been counted at a moment.
type mark struct {
	at      time.Time
	counts  [NumCounters]uint64 // of the instances together
	writer  [NumCounters]uint64
	loads   int64
	server  server.Sample
	machine machineTime
}

// mark takes it all down. Beside an error there is a mark too, without what servers counted, which HasCPU and HasCommands of its
// sample say.
func (f *fleet) mark(ctx context.Context) (*mark, error) {
	sample, err := f.server.Sample(ctx)
	if err != nil {
		err = fmt.Errorf("fleet: what the server counted is not known: %w", err)
	}
	return &mark{
		at: time.Now(), counts: f.counts(), writer: f.shared.Counts(f.cfg.Instances), loads: f.source.Loads(), server: sample, machine: readMachineTime(),
	}, err
}

// counts adds up what the instances have counted.
func (f *fleet) counts() (sum [NumCounters]uint64) {
	for n := range f.cfg.Instances {
		for c, v := range f.shared.Counts(n) {
			sum[c] += v
		}
	}
	return sum
}

// outcome puts together what was counted between two marks and what the instances said at their ends.
func (f *fleet) outcome(began, ended *mark) (*Outcome, error) {
	took := ended.at.Sub(began.at).Seconds()
	count := func(c Counter) int64 { return int64(ended.counts[c] - began.counts[c]) }
	written := func(c Counter) int64 { return int64(ended.writer[c] - began.writer[c]) }
	run := result.FleetRun{
		Series: "single", Config: f.cfg.result(f.server), Seconds: took,
		Requests: count(Done), Reads: count(LocalReads) + count(RemoteReads) + count(LoadReads),
		Writes: count(Updates), Outside: written(Outside), Loads: ended.loads - began.loads,
		InstanceCPU:   float64(count(CPU)) / 1e6 / took / float64(f.cfg.Instances),
		MachineCPU:    ended.machine.busySince(began.machine),
		Invalidations: uint64(count(Received)), Restarts: f.restarts.Load(),
		Due: int64(math.Round(f.cfg.Rate * took)), Unrecovered: f.lost.Load(),
		ErrorKinds: make(map[string]int64), Drops: make(map[string]uint64), Latency: make(map[string]result.Percentiles),
	}
	run.Throughput = float64(run.Requests) / took
	for k := range kinds {
		if n := count(k.counter()) + written(k.counter()); n > 0 {
			run.ErrorKinds[k.String()] = n
			run.Errors += n
		}
	}
	for _, reason := range dropReasons {
		if n := count(dropCounter(reason)); n > 0 {
			run.Drops[reason] = uint64(n)
		}
	}
	served := ended.server.Sub(began.server)
	run.Redis = served.Result(count(Sent)+written(Sent), run.Requests, took)
	if run.Redis.HasCommands {
		run.ServerBytesOut = served.BytesOut / took
	}
	for n := range f.seats { // all have ended, and so have requests that took long to fail
		f.after.Errors += int64(f.shared.Count(n, CalmErrors))
		run.Spoilt += int64(f.shared.Count(n, spoiltValue.counter()))
	}
	out := &Outcome{Run: run, Counts: ended.counts, Injected: int(f.injected.Load()), After: f.after, Recovery: f.recovery}
	for c := range out.Counts {
		out.Counts[c] -= began.counts[c]
	}
	if err := f.collect(out); err != nil {
		return nil, err
	}
	return out, f.judge(out)
}

// collect adds what the processes said at their ends.
func (f *fleet) collect(out *Outcome) error {
	run := &out.Run
	all := newMeasures()
	for _, s := range f.seats {
		for _, p := range s.Processes() {
			if p.Result == nil {
				continue // it was killed
			}
			var r instanceResult
			if err := json.Unmarshal(p.Result, &r); err != nil {
				return fmt.Errorf("fleet: what instance %d measured: %w", s.index, err)
			}
			for name, b := range r.Latency {
				if all.latency[name] == nil {
					all.latency[name] = NewHistogram()
				}
				if err := all.latency[name].MergeEncoded(b); err != nil {
					return err
				}
			}
			if err := all.lag.MergeEncoded(r.Lag); err != nil {
				return err
			}
			all.sample(r.Samples...)
		}
	}
	for name, h := range all.latency {
		if name != responseLatency || h.Count() > 0 {
			run.Latency[name] = h.Percentiles(time.Microsecond)
		}
	}
	run.Lag, out.Samples = all.lag.Percentiles(time.Millisecond), all.samples
	return nil
}

// OneHop is how remote reads of one instance may trail the changes of another while nothing goes wrong: the message is on its way.
const OneHop = 50 * time.Millisecond

// lateness is how long after its failure a Set of unknown outcome may still happen: as long as a connection holds it.
const lateness = grace

// judge judges all reads of the run, those of the warm-up included: what is stale then is no better. Only reads that missed a
// change were written down; how many there were the instances counted.
func (f *fleet) judge(out *Outcome) error {
	logs, err := history.ReadDir(f.dir)
	if err != nil {
		return err
	}
	counts, s := f.counts(), &out.Run.Staleness
	*s = result.Staleness{
		Reads:   int64(counts[LocalReads] + counts[RemoteReads] + counts[LoadReads]),
		BoundMs: Milliseconds(f.cfg.MaxStaleness),
	}
	ages := NewHistogram()
	report := history.Check(logs, history.Options{Bound: f.cfg.MaxStaleness, Late: lateness, Each: func(j history.Judged) {
		if j.Missed == nil {
			err = fmt.Errorf("fleet: %s: %v is stale, but no newer version is logged", j.Instance, j.Op)
			return
		}
		s.Stale++
		if j.Stale <= OneHop {
			out.WithinHop++
		}
		out.StaleBy[tierOf(j.Op.Tier)]++
		ages.Record(j.Stale)
	}})
	s.Own, s.Beyond = int64(report.Broken[history.G3]), int64(report.Broken[history.G2])
	s.Age = ages.Percentiles(time.Millisecond)
	return err
}

// show tells the progress until the function that it returns is called.
func (f *fleet) show(progress Progress) (shown func()) {
	if progress == nil {
		return func() {}
	}
	ctx, end := context.WithCancel(context.Background())
	over := make(chan struct{})
	began := time.Now()
	whole := f.cfg.Warmup + f.cfg.Duration
	go func() {
		defer close(over)
		for harness.Sleep(ctx, 100*time.Millisecond) {
			n := f.counts()
			share := time.Since(began).Seconds() / whole.Seconds()
			if f.cfg.Injections > 0 {
				share = float64(f.injected.Load()) / float64(f.cfg.Injections)
			}
			if f.cfg.Dealt != nil {
				share = float64(n[Done]) / float64(f.cfg.Dealt.Count)
			}
			tiers := n[LocalReads : LoadReads+1]
			reads := max(1, float64(tiers[0]+tiers[1]+tiers[2]))
			of := func(tier uint64) string { return term.Percent(float64(tier) / reads) }
			progress(min(share, 1), fmt.Sprintf("%d instances  %s requests  local %s  remote %s  load %s  stale %s  errors %s", f.cfg.Instances,
				term.Thousands(int64(n[Done])), of(tiers[0]), of(tiers[1]), of(tiers[2]),
				term.Thousands(int64(n[StaleReads])), term.Thousands(int64(n[Errors]))))
		}
	}()
	return func() {
		end()
		<-over
	}
}
