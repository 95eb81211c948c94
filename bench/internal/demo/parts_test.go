package demo

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

func writeLog(t *testing.T, name string, entries ...entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	l, err := createLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		l.append(e)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJudge(t *testing.T) {
	const ms = int64(time.Millisecond)
	acks := []string{
		writeLog(t, "acks-0", entry{slot: 1, version: 2, at: 100 * ms}, entry{slot: 1, version: 4, at: 300 * ms}),
		writeLog(t, "acks-1", entry{slot: 1, version: 3, at: 200 * ms}, entry{slot: 2, version: 2, at: 100 * ms}),
	}
	cases := []struct {
		name     string
		instance int
		read     entry
		want     Staleness
	}{
		{"within a hop, of another", 1, entry{1, 1, 110 * ms, near}, Staleness{Reads: 1, WithinHop: 1, P50: 10, Max: 10, By: ByTier{Near: 1}}},
		{"at the edge of a hop", 0, entry{2, 1, 150 * ms, near}, Staleness{Reads: 1, WithinHop: 1, P50: 50, Max: 50, By: ByTier{Near: 1}}},
		{"past a hop", 0, entry{2, 1, 180 * ms, far}, Staleness{Reads: 1, Later: 1, P50: 80, Max: 80, By: ByTier{Far: 1}}},
		{"past the bound", 0, entry{2, 1, 100*ms + int64(bound) + ms, load}, Staleness{Reads: 1, Beyond: 1, P50: 2002, Max: 2002, By: ByTier{Load: 1}}},
		{"own", 0, entry{1, 3, 301 * ms, near}, Staleness{Reads: 1, WithinHop: 1, Own: 1, P50: 1, Max: 1, By: ByTier{Near: 1}}},
		{"the first missed counts, not the last", 0, entry{1, 1, 310 * ms, near}, Staleness{Reads: 1, Later: 1, Own: 1, P50: 210, Max: 210, By: ByTier{Near: 1}}},
		{"of another, whose clock is ahead", 0, entry{2, 1, 100*ms - 1, near}, Staleness{Reads: 1, WithinHop: 1, By: ByTier{Near: 1}}},
		{"own, acknowledged after the read began", 0, entry{1, 3, 299 * ms, near}, Staleness{Reads: 1, WithinHop: 1, By: ByTier{Near: 1}}},
		{"acknowledged after the read began", 0, entry{1, 2, 210 * ms, near}, Staleness{Reads: 1, WithinHop: 1, P50: 10, Max: 10, By: ByTier{Near: 1}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stale := []string{writeLog(t, "stale-0"), writeLog(t, "stale-1")}
			stale[c.instance] = writeLog(t, "stale", c.read)
			got, err := judge(acks, stale)
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
		if _, err := judge(acks, []string{writeLog(t, "stale", entry{1, 4, 900 * ms, near})}); err == nil {
			t.Error("a stale read that missed nothing went through")
		}
	})
}

func TestReadLogFindsACutEntry(t *testing.T) {
	path := writeLog(t, "log", entry{1, 2, 3, near})
	if err := os.Truncate(path, entrySize-1); err != nil {
		t.Fatal(err)
	}
	if err := readLog(path, func(entry) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestSharedMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	a, err := createShared(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openShared(path)
	if err != nil {
		t.Fatal(err)
	}
	var raising sync.WaitGroup
	for n := range 4 {
		raising.Go(func() {
			for v := range 1000 {
				a.ack(9, uint64(4*v+n))
				b.add(maxInstances-1, countErrors, 1)
			}
		})
	}
	raising.Wait()
	a.ack(9, 5)
	if got := b.acked(9); got != 3999 {
		t.Errorf("acknowledged version %d, want the highest, 3999", got)
	}
	if got := a.count(maxInstances-1, countErrors); got != 4000 {
		t.Errorf("counted %d, want 4000", got)
	}
	if a.acked(0) != 0 || b.stopped() {
		t.Error("words overlap")
	}
	a.stop()
	if !b.stopped() {
		t.Error("the stop did not arrive")
	}
	if err := errors.Join(a.close(), b.close()); err != nil {
		t.Error(err)
	}
	if _, err := createShared(path, 10); err == nil {
		t.Error("created over an existing one")
	}
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
		if !errors.Is(err, errParentGone) {
			t.Errorf("cut at %d: %v, want errParentGone", cut, err)
		}
	}
	if _, err := readBatch(bufio.NewReader(bytes.NewReader([]byte{1, 0, 0, 0}))); err == nil || errors.Is(err, errParentGone) {
		t.Errorf("a frame too long: %v", err)
	}
}

func TestSource(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	s, err := serveSource(socket, 2, time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dialSource(socket)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.load(t.Context(), 1); v != 1 || err != nil {
		t.Errorf("first version %d, %v", v, err)
	}
	if v, err := c.update(t.Context(), 1); v != 2 || err != nil {
		t.Errorf("updated to %d, %v", v, err)
	}
	if v, err := c.load(t.Context(), 1); v != 2 || err != nil {
		t.Errorf("loaded %d, %v", v, err)
	}
	if _, err := c.load(t.Context(), 2); err == nil {
		t.Error("loaded a key that is not there")
	}
	if s.store.loads.Load() != 3 || s.store.updates.Load() != 1 {
		t.Errorf("%d loads, %d updates", s.store.loads.Load(), s.store.updates.Load())
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := c.load(t.Context(), 1); err == nil {
		t.Error("a closed source answered")
	}
	_ = c.close() // the source has closed it
}

func TestClassify(t *testing.T) {
	for answer, want := range map[tiered.Answer]tier{
		tiered.AnsweredNear:  near,
		tiered.AnsweredFar:   far,
		tiered.AnsweredLoad:  load,
		tiered.AnsweredStale: load,
	} {
		if got := classify(answer); got != want {
			t.Errorf("classify(%s) is %s, want %s", answer, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
