package instance

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBegin(t *testing.T) {
	var cfg struct{ Index int }
	in := bufio.NewReader(strings.NewReader("{\"Index\": 3}\nmore"))
	if err := Begin(in, &cfg); err != nil || cfg.Index != 3 {
		t.Errorf("%+v, %v", cfg, err)
	}
	if rest, err := in.ReadString('e'); err != nil || rest != "more" {
		t.Errorf("%q is left, %v", rest, err)
	}
	if err := Begin(bufio.NewReader(strings.NewReader("{\"Index\": 3}")), &cfg); !errors.Is(err, ErrParentGone) {
		t.Errorf("half a line: %v", err)
	}
	if err := Begin(bufio.NewReader(strings.NewReader("brew\n")), &cfg); err == nil || errors.Is(err, ErrParentGone) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestABaseOpensWholeOrNotAtAll(t *testing.T) {
	dir := shortDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	shared, err := CreateShared(path("shared"), 1)
	if err != nil {
		t.Fatal(err)
	}
	source, err := ServeSource(path("source"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	whole := Paths{Source: path("source"), Shared: path("shared"), Log: path("log"), Name: "i1"}
	b, err := OpenBase(whole)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.Source.Load(t.Context(), 0); v != 1 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := OpenBase(whole); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another's logs: %v", err)
	}
	for name, change := range map[string]func(*Paths){
		"memory": func(p *Paths) { p.Shared = path("absent") },
		"source": func(p *Paths) { p.Source = path("absent") },
	} {
		p := whole
		p.Log = path("log " + name)
		change(&p)
		if _, err := OpenBase(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := errors.Join(b.Close(), source.Close(), shared.Close()); err != nil {
		t.Error(err)
	}
}

func TestSleep(t *testing.T) {
	if !Sleep(t.Context(), time.Millisecond) {
		t.Error("did not wait")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Sleep(ctx, time.Hour) {
		t.Error("waited past the end")
	}
}
