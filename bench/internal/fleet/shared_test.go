package fleet

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

func TestSharedMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	a, err := CreateShared(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	var raising sync.WaitGroup
	for n := range 4 {
		raising.Go(func() {
			for v := range 1000 {
				a.Ack(9, uint64(4*v+n))
				b.Add(MaxInstances-1, Errors, 1)
			}
		})
	}
	raising.Wait()
	a.Ack(9, 5)
	if got := b.Acked(9); got != 3999 {
		t.Errorf("acknowledged version %d, want the highest, 3999", got)
	}
	if got := a.Count(MaxInstances-1, Errors); got != 4000 {
		t.Errorf("counted %d, want 4000", got)
	}
	if a.Acked(0) != 0 || b.Raised(Reach) {
		t.Error("words overlap")
	}
	a.Raise(Reach)
	if !b.Raised(Reach) {
		t.Error("the flag did not arrive")
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if _, err := CreateShared(path, 10); err == nil {
		t.Error("created over an existing one")
	}
}

func TestClassify(t *testing.T) {
	for answer, want := range map[tiered.Source]Tier{
		tiered.SourceLocal:  Local,
		tiered.SourceRemote: Remote,
		tiered.SourceLoader: Load,
		tiered.SourceStale:  Load,
	} {
		if got := classify(answer); got != want {
			t.Errorf("classify(%s) is %s, want %s", answer, got, want)
		}
	}
}

func TestHistogramsMerge(t *testing.T) {
	a, b := NewHistogram(), NewHistogram()
	for i := range 100 {
		a.Record(time.Duration(i) * time.Millisecond)
	}
	a.Record(-time.Second)
	a.Record(time.Hour)
	encoded, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.MergeEncoded(encoded); err != nil {
		t.Fatal(err)
	}
	b.Merge(a)
	p := b.Percentiles(time.Millisecond)
	if p.Count != 204 || p.P50 < 48 || p.P50 > 52 || p.Max < 59_000 || p.Max > 61_000 {
		t.Errorf("got %+v", p)
	}
	if err := b.MergeEncoded([]byte("no histogram")); err == nil {
		t.Error("took what is no histogram")
	}
}

func TestNotes(t *testing.T) {
	s, err := CreateShared(filepath.Join(t.TempDir(), "shared"), 1)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3 * notes) {
		s.Note(n, n+1, int64(n+2))
		if v, at := s.Noted(n); v != n+1 || at != int64(n+2) {
			t.Fatalf("note %d is %d at %d", n, v, at)
		}
	}
	if s.Raised(Reach) || s.Raised(Measure) || s.Count(0, Done) != 0 || s.Acked(0) != 0 {
		t.Error("words overlap")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
