package demo

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
)

// Report is what a run measured.
type Report struct {
	Trace        string  `json:"trace"`
	Format       string  `json:"format"`
	DistinctKeys int     `json:"distinct_keys"`
	Redis        string  `json:"redis"`
	Instances    int     `json:"instances"`
	Workers      int     `json:"workers_per_instance"`
	LocalEntries int64   `json:"local_entries"`
	Notice       string  `json:"notice,omitempty"` // why the run is not whole
	Seconds      float64 `json:"seconds"`

	Requests   int64   `json:"requests"` // reads and updates that were tried
	Throughput float64 `json:"requests_per_second"`
	Reads      int64   `json:"reads"`
	Updates    int64   `json:"updates"`
	Errors     int64   `json:"errors"`
	// ErrorSamples are a few of the errors' messages.
	ErrorSamples []string `json:"error_samples,omitempty"`

	LocalHits      int64   `json:"local_hits"`
	RemoteHits     int64   `json:"remote_hits"`
	LoadedReads    int64   `json:"loaded_reads"`     // reads that a loader answered, their own or one that they waited for
	LocalHitRatio  float64 `json:"local_hit_ratio"`  // of reads that were answered
	RemoteHitRatio float64 `json:"remote_hit_ratio"` // of those that missed the local tier
	Loads          int64   `json:"loads"`            // that the source served
	LoadsPerRead   float64 `json:"loads_per_read"`

	Latency map[string]Latency `json:"latency"` // local, remote, load, update

	InvalidationsSent     int64     `json:"invalidations_sent"`     // acknowledged
	InvalidationsReceived int64     `json:"invalidations_received"` // by all instances
	SubscriptionLosses    int64     `json:"subscription_losses"`
	RedisCommands         int64     `json:"redis_commands"`
	Stale                 Staleness `json:"stale"`
}

// Latency is a distribution of latencies, in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

// Clean holds if the cache kept what it promises: no errors, no reads that were stale beyond the
// bound, none that missed an invalidation of their own instance.
func (r *Report) Clean() bool {
	return r.Errors == 0 && r.Stale.Beyond == 0 && r.Stale.Own == 0
}

// Staleness counts the stale reads, by how far they trailed the first acknowledged invalidation
// that they missed.
type Staleness struct {
	Reads     int64   `json:"reads"`          // all of them
	WithinHop int64   `json:"within_one_hop"` // trailed by at most one hop
	Later     int64   `json:"later"`          // trailed by more, and by at most the bound
	Beyond    int64   `json:"beyond_bound"`   // trailed by more than that
	Own       int64   `json:"own"`            // of all: missed an invalidation that their own instance had made
	P50       float64 `json:"p50_ms"`
	Max       float64 `json:"max_ms"`

	// By says which tiers answered them.
	By ByTier `json:"by"`
}

// ByTier counts by tier.
type ByTier struct {
	Local  int64 `json:"local"`
	Remote int64 `json:"remote"`
	Load   int64 `json:"load"`
}

// newReport says what a run of the fleet means for the demo.
func newReport(cfg Config, w *workload, out *fleet.Outcome) *Report {
	run, count := &out.Run, func(c fleet.Counter) int64 { return int64(out.Counts[c]) }
	r := &Report{
		Trace: w.name, Format: w.format, DistinctKeys: w.keys, Redis: "embedded",
		Instances: cfg.Instances, Workers: cfg.Workers, LocalEntries: cfg.LocalEntries,
		Seconds: run.Seconds, Requests: run.Requests, Throughput: run.Throughput,
		Updates: count(fleet.Writes), Errors: run.Errors, ErrorSamples: out.Samples,
		LocalHits: count(fleet.LocalReads), RemoteHits: count(fleet.RemoteReads), LoadedReads: count(fleet.LoadReads),
		Loads: run.Loads, InvalidationsSent: run.Writes, InvalidationsReceived: int64(run.Invalidations),
		SubscriptionLosses: count(fleet.Lost), RedisCommands: count(fleet.Sent), Latency: make(map[string]Latency),
	}
	r.Reads = r.Requests - r.Updates
	r.LocalHitRatio = ratio(r.LocalHits, run.Reads)
	r.RemoteHitRatio = ratio(r.RemoteHits, r.RemoteHits+r.LoadedReads)
	r.LoadsPerRead = ratio(r.Loads, r.Reads)
	for name, of := range latencies {
		l := run.Latency[of]
		r.Latency[name] = Latency{Count: l.Count, P50: l.P50, P99: l.P99, P999: l.P999, Max: l.Max}
	}
	s := run.Staleness
	r.Stale = Staleness{
		Reads: s.Stale, WithinHop: out.WithinHop, Later: s.Stale - out.WithinHop - s.Beyond, Beyond: s.Beyond, Own: s.Own,
		P50: s.Age.P50, Max: s.Age.Max,
		By: ByTier{Local: out.StaleBy[fleet.Local], Remote: out.StaleBy[fleet.Remote], Load: out.StaleBy[fleet.Load]},
	}
	return r
}

// latencies are by the names that the report has, those that a fleet has.
var latencies = map[string]string{"local": "local", "remote": "remote", "load": "load", "update": fleet.WriteLatency}

func ratio(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("demo: report: %w", err)
	}
	return nil
}
