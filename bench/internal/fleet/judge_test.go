package fleet

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/internal/history"
)

// judged judges the logs of two instances.
func judged(t *testing.T, logs ...[]history.Op) (*Outcome, error) {
	t.Helper()
	f := &fleet{cfg: Default(), dir: t.TempDir()}
	var err error
	if f.shared, err = CreateShared(f.path("shared"), 1); err != nil {
		t.Fatal(err)
	}
	defer f.shared.Close()
	for n, ops := range logs {
		name := []string{"i0.0", "i1.0"}[n]
		w, err := history.Create(filepath.Join(f.dir, name+history.LogEnding), name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range ops {
			w.Add(o)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var out Outcome
	err = f.judge(&out)
	return &out, err
}

func TestJudge(t *testing.T) {
	const ms = int64(time.Millisecond)
	bound := int64(Default().MaxStaleness)
	changed := func(number uint64, key uint32, version uint64, acked int64) []history.Op {
		return []history.Op{
			{Kind: history.Begin, Start: acked - ms, Change: number, Key: key, Version: version, Method: history.Delete},
			{Kind: history.Acked, Start: acked, Change: number},
		}
	}
	first := append(changed(1, 1, 2, 100*ms), changed(2, 1, 4, 300*ms)...)
	second := append(changed(1, 1, 3, 200*ms), changed(2, 2, 2, 100*ms)...)
	read := func(key uint32, version uint64, at int64, tier history.Tier) history.Op {
		return history.Op{Kind: history.Read, Start: at, End: at + 1, Key: key, Version: version, Tier: tier, Result: history.Value}
	}
	type want struct {
		hop, beyond, own int64
		age              float64
		by               [Tiers]int64
	}
	local, remote, load := [Tiers]int64{1, 0, 0}, [Tiers]int64{0, 1, 0}, [Tiers]int64{0, 0, 1}
	for _, c := range []struct {
		name  string
		first bool // it is the first instance that read
		read  history.Op
		want  want
	}{
		{"within a hop, of another", false, read(1, 1, 110*ms, history.Local), want{1, 0, 0, 10, local}},
		{"at the edge of a hop", true, read(2, 1, 150*ms, history.Local), want{1, 0, 0, 50, local}},
		{"past a hop", true, read(2, 1, 180*ms, history.Remote), want{0, 0, 0, 80, remote}},
		{"past the bound", true, read(2, 1, 100*ms+bound+ms, history.Load), want{0, 1, 0, 2001, load}},
		{"own", true, read(1, 3, 301*ms, history.Local), want{1, 0, 1, 1, local}},
		{"the first missed counts, not the last", true, read(1, 1, 310*ms, history.Local), want{0, 0, 1, 210, local}},
		{"of another, whose clock is ahead", true, read(2, 1, 100*ms-1, history.Local), want{1, 0, 0, 0, local}},
		{"own, acknowledged after the read began", true, read(1, 3, 299*ms, history.Local), want{1, 0, 0, 0, local}},
		{"acknowledged after the read began", true, read(1, 2, 210*ms, history.Local), want{1, 0, 0, 10, local}},
	} {
		logs := [][]history.Op{first, append(second[:len(second):len(second)], c.read)}
		if c.first {
			logs = [][]history.Op{append(first[:len(first):len(first)], c.read), second}
		}
		o, err := judged(t, logs...)
		s := o.Run.Staleness
		if got := (want{o.WithinHop, s.Beyond, s.Own, s.Age.Max, o.StaleBy}); err != nil || s.Stale != 1 ||
			got.age < c.want.age*0.998 || got.age > c.want.age*1.002 || got != (want{c.want.hop, c.want.beyond, c.want.own, got.age, c.want.by}) {
			t.Errorf("%s: %+v, %+v, %v; want %+v", c.name, got, s, err, c.want)
		}
	}
	if _, err := judged(t, append(first[:len(first):len(first)], read(1, 4, 900*ms, history.Local)), second); err == nil {
		t.Error("a stale read that missed nothing went through")
	}
	if o, err := judged(t, first, second); err != nil || o.Run.Staleness != (result.Staleness{BoundMs: o.Run.Staleness.BoundMs}) {
		t.Errorf("no stale reads: %+v, %v", o.Run.Staleness, err)
	}
}
