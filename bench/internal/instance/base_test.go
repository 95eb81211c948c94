package instance

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
)

func TestABaseOpensWholeOrNotAtAll(t *testing.T) {
	dir, err := os.MkdirTemp("", "d") // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := func(name string) string { return filepath.Join(dir, name) }
	shared, err := CreateShared(path("shared"), 1)
	if err != nil {
		t.Fatal(err)
	}
	takes := func() (before, after time.Duration) { return 0, 0 }
	source, err := harness.ServeSource(path("source"), harness.SourceOptions{Keys: 1, Takes: takes})
	if err != nil {
		t.Fatal(err)
	}
	whole := Paths{Source: path("source"), Shared: path("shared"), Log: path("log"), Name: "i1"}
	b, err := OpenBase(whole, 0)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.Source.Load(t.Context(), 0); v != 1 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := OpenBase(whole, 0); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another's log: %v", err)
	}
	for name, change := range map[string]func(*Paths){
		"memory": func(p *Paths) { p.Shared = path("absent") },
		"source": func(p *Paths) { p.Source = path("absent") },
	} {
		p := whole
		p.Log = path("log " + name)
		change(&p)
		if _, err := OpenBase(p, 0); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := errors.Join(b.Close(), source.Close(), shared.Close()); err != nil {
		t.Error(err)
	}
}
