package demo

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

func writeLog(t *testing.T, name string, entries ...instance.Entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	l, err := instance.CreateLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		l.Append(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJudge(t *testing.T) {
	const ms = int64(time.Millisecond)
	acks := []instance.Logs{
		{Acks: writeLog(t, "acks-0", instance.Entry{Slot: 1, Version: 2, At: 100 * ms}, instance.Entry{Slot: 1, Version: 4, At: 300 * ms})},
		{Acks: writeLog(t, "acks-1", instance.Entry{Slot: 1, Version: 3, At: 200 * ms}, instance.Entry{Slot: 2, Version: 2, At: 100 * ms})},
	}
	cases := []struct {
		name     string
		instance int
		read     instance.Entry
		want     Staleness
	}{
		{"within a hop, of another", 1, instance.Entry{Slot: 1, Version: 1, At: 110 * ms, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, P50: 10, Max: 10, By: ByTier{Near: 1}}},
		{"at the edge of a hop", 0, instance.Entry{Slot: 2, Version: 1, At: 150 * ms, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, P50: 50, Max: 50, By: ByTier{Near: 1}}},
		{"past a hop", 0, instance.Entry{Slot: 2, Version: 1, At: 180 * ms, Tier: instance.Far}, Staleness{Reads: 1, Later: 1, P50: 80, Max: 80, By: ByTier{Far: 1}}},
		{"past the bound", 0, instance.Entry{Slot: 2, Version: 1, At: 100*ms + int64(bound) + ms, Tier: instance.Load}, Staleness{Reads: 1, Beyond: 1, P50: 2002, Max: 2002, By: ByTier{Load: 1}}},
		{"own", 0, instance.Entry{Slot: 1, Version: 3, At: 301 * ms, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, Own: 1, P50: 1, Max: 1, By: ByTier{Near: 1}}},
		{"the first missed counts, not the last", 0, instance.Entry{Slot: 1, Version: 1, At: 310 * ms, Tier: instance.Near}, Staleness{Reads: 1, Later: 1, Own: 1, P50: 210, Max: 210, By: ByTier{Near: 1}}},
		{"of another, whose clock is ahead", 0, instance.Entry{Slot: 2, Version: 1, At: 100*ms - 1, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, By: ByTier{Near: 1}}},
		{"own, acknowledged after the read began", 0, instance.Entry{Slot: 1, Version: 3, At: 299 * ms, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, By: ByTier{Near: 1}}},
		{"acknowledged after the read began", 0, instance.Entry{Slot: 1, Version: 2, At: 210 * ms, Tier: instance.Near}, Staleness{Reads: 1, WithinHop: 1, P50: 10, Max: 10, By: ByTier{Near: 1}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			logs := slices.Clone(acks)
			for i := range logs {
				logs[i].Stale = writeLog(t, "none")
			}
			logs[c.instance].Stale = writeLog(t, "stale", c.read)
			got, err := judge(logs)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []*float64{&got.P50, &got.Max} {
				*f = float64(int(*f + 0.5)) // the histogram has three digits
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	t.Run("never acknowledged", func(t *testing.T) {
		logs := slices.Clone(acks)
		logs[0].Stale, logs[1].Stale = writeLog(t, "stale", instance.Entry{Slot: 1, Version: 4, At: 900 * ms, Tier: instance.Near}), writeLog(t, "none")
		if _, err := judge(logs); err == nil {
			t.Error("a stale read that missed nothing went through")
		}
	})
}

func TestBatchesOnTheWire(t *testing.T) {
	want := []request{{slot: 0, key: 1 << 63}, {slot: maxSlots - 1, update: true, key: 7}}
	var wire bytes.Buffer
	w := bufio.NewWriter(&wire)
	if err := errors.Join(writeBatch(w, want), writeBatch(w, nil), w.Flush()); err != nil {
		t.Fatal(err)
	}
	whole := wire.Bytes()
	r := bufio.NewReader(bytes.NewReader(whole))
	if got, err := readBatch(r); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := readBatch(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
	for cut := range whole {
		r := bufio.NewReader(bytes.NewReader(whole[:cut]))
		_, err := readBatch(r)
		if err == nil {
			_, err = readBatch(r)
		}
		if !errors.Is(err, instance.ErrParentGone) {
			t.Errorf("cut at %d: %v, want instance.ErrParentGone", cut, err)
		}
	}
	if _, err := readBatch(bufio.NewReader(bytes.NewReader([]byte{1, 0, 0, 0}))); err == nil || errors.Is(err, instance.ErrParentGone) {
		t.Errorf("a frame too long: %v", err)
	}
}
