package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// Report is what a run measured.
type Report struct {
	Trace        string  `json:"trace"`
	Format       string  `json:"format"`
	DistinctKeys int     `json:"distinct_keys"`
	Redis        string  `json:"redis"`
	Instances    int     `json:"instances"`
	Workers      int     `json:"workers_per_instance"`
	NearEntries  int64   `json:"near_entries"`
	Notice       string  `json:"notice,omitempty"` // why the run is not whole
	Seconds      float64 `json:"seconds"`

	Requests   int64   `json:"requests"` // reads and updates that were tried
	Throughput float64 `json:"requests_per_second"`
	Reads      int64   `json:"reads"`
	Updates    int64   `json:"updates"`
	Errors     int64   `json:"errors"`
	// ErrorSamples are a few of the errors' messages.
	ErrorSamples []string `json:"error_samples,omitempty"`

	NearHits     int64   `json:"near_hits"`
	FarHits      int64   `json:"far_hits"`
	LoadedReads  int64   `json:"loaded_reads"`   // reads that a loader answered, their own or one that they waited for
	NearHitRatio float64 `json:"near_hit_ratio"` // of reads that were answered
	FarHitRatio  float64 `json:"far_hit_ratio"`  // of those that missed the near tier
	Loads        int64   `json:"loads"`          // that the source served
	LoadsPerRead float64 `json:"loads_per_read"`

	Latency map[string]Latency `json:"latency"` // near, far, load, update

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

// Clean holds if the cache kept what it promises: no errors, no reads that were stale beyond the bound, none that
// missed an invalidation of their own instance.
func (r *Report) Clean() bool {
	return r.Errors == 0 && r.Stale.Beyond == 0 && r.Stale.Own == 0
}

// report adds up what the instances measured. What a failed instance knew is lost.
func (d *demo) report(processes []*process, took time.Duration, failures []error) (*Report, error) {
	r := &Report{
		Trace:        d.workload.name,
		Format:       d.workload.format,
		DistinctKeys: len(d.workload.slots),
		Redis:        d.redisName(),
		Instances:    d.cfg.Instances,
		Workers:      d.cfg.Workers,
		NearEntries:  d.cfg.NearEntries,
		Seconds:      took.Seconds(),
		Loads:        d.source.Loads(),
		Latency:      map[string]Latency{},
	}
	all := newMeasures()
	for _, p := range processes {
		if p.Result == nil {
			continue
		}
		if err := r.add(p.Result, all); err != nil {
			return nil, err
		}
	}
	for t, h := range all.reads {
		r.Latency[instance.Tier(t).String()] = latency(h)
	}
	r.Latency["update"] = latency(all.updates)
	r.NearHits, r.FarHits, r.LoadedReads = all.reads[instance.Near].Count(), all.reads[instance.Far].Count(), all.reads[instance.Load].Count()
	r.NearHitRatio = ratio(r.NearHits, r.NearHits+r.FarHits+r.LoadedReads)
	r.FarHitRatio = ratio(r.FarHits, r.FarHits+r.LoadedReads)
	r.LoadsPerRead = ratio(r.Loads, r.Reads)
	r.Requests = r.Reads + r.Updates
	if took > 0 {
		r.Throughput = float64(r.Requests) / took.Seconds()
	}
	if len(failures) > 0 {
		return r, nil // without the logs of all instances there is no judging
	}
	var err error
	r.Stale, err = judge(d.logs())
	return r, err
}

func (r *Report) add(i *instanceResult, all *measures) error {
	r.Reads += i.Reads
	r.Updates += i.Updates
	r.Errors += i.Errors
	r.InvalidationsSent += i.Invalidations
	r.InvalidationsReceived += i.Received
	r.SubscriptionLosses += i.Losses
	r.RedisCommands += i.RedisCommands
	for _, sample := range i.ErrorSamples {
		if len(r.ErrorSamples) < maxSamples {
			r.ErrorSamples = append(r.ErrorSamples, sample)
		}
	}
	for t, b := range i.Latency {
		if err := all.reads[t].MergeEncoded(b); err != nil {
			return err
		}
	}
	return all.updates.MergeEncoded(i.UpdateLatency)
}

func latency(h *instance.Histogram) Latency {
	at := func(q float64) float64 { return float64(h.At(q)) / float64(time.Microsecond) }
	return Latency{Count: h.Count(), P50: at(50), P99: at(99), P999: at(99.9), Max: at(100)}
}

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
