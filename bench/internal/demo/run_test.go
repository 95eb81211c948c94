package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny is a workload of a second or less, with so many updates of so few keys that invalidations
// and reads cross.
func tiny() Config {
	return Config{Requests: 900, Keys: 40, Instances: 3, Workers: 4, UpdateShare: 0.2, SourceLatency: time.Millisecond}
}

// checkSums checks what holds for every whole run.
func checkSums(t *testing.T, cfg Config, r *Report) {
	t.Helper()
	if r.Requests != int64(cfg.Requests) || r.Notice != "" {
		t.Errorf("%d requests, want %d; notice %q", r.Requests, cfg.Requests, r.Notice)
	}
	if got := r.LocalHits + r.RemoteHits + r.LoadedReads + r.Errors; got != r.Reads {
		t.Errorf("local %d + remote %d + loaded %d + errors %d are %d, not %d reads",
			r.LocalHits, r.RemoteHits, r.LoadedReads, r.Errors, got, r.Reads)
	}
	if r.Updates == 0 || r.InvalidationsSent != r.Updates {
		t.Errorf("%d updates, %d invalidations sent", r.Updates, r.InvalidationsSent)
	}
	if r.Stale.Reads != r.Stale.WithinHop+r.Stale.Later+r.Stale.Beyond {
		t.Errorf("stale reads do not add up: %+v", r.Stale)
	}
	for name, want := range map[string]int64{"local": r.LocalHits, "remote": r.RemoteHits, "load": r.LoadedReads, "update": r.Updates} {
		if got := r.Latency[name].Count; got != want {
			t.Errorf("%d latencies of %s, want %d", got, name, want)
		}
	}
}

func TestDemo(t *testing.T) {
	cfg := tiny()
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, cfg, r)
	if r.Errors != 0 {
		t.Errorf("%d errors: %v", r.Errors, r.ErrorSamples)
	}
	if r.Stale.Own != 0 {
		t.Errorf("%d reads missed an invalidation of their own instance", r.Stale.Own)
	}
	if r.LocalHits == 0 || r.LoadedReads == 0 || r.RedisCommands == 0 || r.InvalidationsReceived == 0 {
		t.Errorf("nothing happened: %+v", r)
	}
	if r.Loads >= r.Reads {
		t.Errorf("%d loads for %d reads: the cache saved nothing", r.Loads, r.Reads)
	}
}

func TestDemoReplaysATrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("a\nb\nc\nd\ne\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := tiny()
	cfg.Trace, cfg.Requests = path, 333
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, cfg, r)
	if r.DistinctKeys != 5 || r.Format != "lines" || r.Trace != path {
		t.Errorf("%d distinct keys of %s in %s", r.DistinctKeys, r.Trace, r.Format)
	}
}

// slow takes minutes, if it is let.
func slow() Config {
	cfg := tiny()
	cfg.Requests, cfg.SourceLatency = 100_000, 20*time.Millisecond
	return cfg
}

// onWrite calls a function at the first write: the first sign of progress.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestInterruptReportsWhatWasMeasured(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	r, err := Run(ctx, slow(), onWrite(interrupt))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if r == nil || r.Requests >= 100_000 || r.Notice == "" || r.Reads != r.LocalHits+r.RemoteHits+r.LoadedReads {
		t.Errorf("report of an interrupted run: %+v", r)
	}
}

func TestInterruptBeforeTheStart(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := Run(ctx, slow(), io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestTimeLimitIsANotice(t *testing.T) {
	cfg := slow()
	cfg.TimeLimit = 200 * time.Millisecond
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests >= 100_000 || !strings.Contains(r.Notice, "time limit of 200ms") {
		t.Errorf("%d requests, notice %q", r.Requests, r.Notice)
	}
}

func TestRunRefuses(t *testing.T) {
	_, err := Run(t.Context(), Config{
		Format: "int16", Requests: -1, Exponent: 1, Instances: 99, Workers: -1, UpdateShare: 2,
		SourceLatency: -1, LocalEntries: -1, TTL: -1, TimeLimit: -2,
	}, io.Discard)
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("got %v, want ErrConfig", err)
	}
	for _, fault := range []string{
		"int16", "-1 requests", "exponent of 1", "99 instances", "-1 workers", "updates of 2", "latency of -1ns", "-1 local entries",
		"TTL of -1ns", "time limit of -2ns",
	} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("nothing is said of %s:\n%v", fault, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Config{Trace: empty}, io.Discard); err == nil || !strings.Contains(err.Error(), "no requests") {
		t.Errorf("an empty trace: %v", err)
	}
	if _, err := Run(t.Context(), Config{Requests: 10, RedisURL: "redis://127.0.0.1:1"}, io.Discard); err == nil {
		t.Error("took a Redis that is not there")
	}
}

func TestUpdatesAreTheSameEachTime(t *testing.T) {
	deal := func() []byte {
		path := filepath.Join(t.TempDir(), "requests")
		w, err := survey(t.Context(), Config{Requests: 500, UpdateShare: 0.3}.withDefaults(), path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil || w.dealt.Count != 500 || len(file) != 2000 {
			t.Fatalf("%d requests in %d bytes, %v", w.dealt.Count, len(file), err)
		}
		return file
	}
	first, second := deal(), deal()
	if !bytes.Equal(first, second) {
		t.Error("the same configuration dealt other requests")
	}
	updates := 0
	for i := 3; i < len(first); i += 4 {
		updates += int(first[i] >> 7)
	}
	if updates < 100 || updates > 200 {
		t.Errorf("%d updates of 500, want about 150", updates)
	}
}

func TestReportsAreReadable(t *testing.T) {
	cfg := tiny()
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text, data bytes.Buffer
	if err := errors.Join(r.WriteTable(&text), r.WriteJSON(&data)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"requests", "local hits", "remote hits", "loads", "invalidations", "redis commands", "errors", "p99.9", "stale reads", "within one hop"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table says nothing of %s:\n%s", want, text.String())
		}
	}
	var back Report
	if err := json.Unmarshal(data.Bytes(), &back); err != nil || back.Reads != r.Reads || back.Stale != r.Stale {
		t.Errorf("the JSON does not read back: %v", err)
	}
}
