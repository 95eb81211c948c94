//go:build unix

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asInstance makes the test binary an instance.
const asInstance = "DOPPIO_HARNESS_INSTANCE"

// told is what an instance of the tests is told.
type told struct{ Number, Exit int }

func TestMain(m *testing.M) {
	if os.Getenv(asInstance) != "" {
		os.Exit(live())
	}
	goleak.VerifyTestMain(m)
}

// live is the life of an instance, which ends at once if it is to fail.
func live() int {
	var cfg told
	p, err := Begin(os.Stdin, os.Stdout, &cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if cfg.Exit != 0 {
		fmt.Fprintln(os.Stderr, "broken by intention")
		return cfg.Exit
	}
	if err := p.TellReady(); err != nil {
		return 1
	}
	p.AwaitEnd()
	if err := p.TellResult(map[string]int{"Number": cfg.Number}); err != nil {
		return 1
	}
	return 0
}

func spec(t *testing.T, dir string, generation int, cfg told) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{
		Name: fmt.Sprint("instance ", generation), Command: []string{self}, Config: cfg, Env: []string{asInstance + "=1", "GORACE=atexit_sleep_ms=0"},
		Errors: filepath.Join(dir, fmt.Sprint(generation, ".err")),
	}
}

const patience = time.Minute

func TestSeat_isTakenByOneProcessAfterAnother(t *testing.T) {
	dir := t.TempDir()
	var s Seat
	if s.Process() != nil || s.Signal(syscall.SIGCONT) != nil {
		t.Error("a process before the first")
	}
	start := func() *Process {
		t.Helper()
		p, err := s.Start(func(generation int) Spec { return spec(t, dir, generation, told{Number: generation}) })
		if err != nil {
			t.Fatal(err)
		}
		if p != s.Process() {
			t.Error("another is the present one")
		}
		<-p.Ready
		return p
	}
	first := start()
	first.Kill()
	if first.Err != nil || first.Result != nil || first.Unexpected() != nil {
		t.Errorf("of one that was killed: %v, %s, %v", first.Err, first.Result, first.Unexpected())
	}
	second := start()
	if err := s.Signal(syscall.SIGSTOP); err != nil { // it is told to end all the same
		t.Error(err)
	}
	if err := second.Stop(patience); err != nil || string(second.Result) != `{"Number":2}` || second.Unexpected() != nil {
		t.Errorf("of one that was stopped: %v, %s, %v", err, second.Result, second.Unexpected())
	}
	if err := s.Signal(syscall.SIGCONT); err != nil {
		t.Errorf("a signal to one that has ended: %v", err)
	}
	if all := s.Processes(); len(all) != 2 || all[0] != first || all[1] != second {
		t.Errorf("%d processes took the seat", len(all))
	}
}

func TestProcess_mayEndByItself(t *testing.T) {
	dir := t.TempDir()
	p, err := Start(spec(t, dir, 1, told{Exit: 7}))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done
	for _, err := range []error{p.Err, p.Unexpected(), p.Stop(patience)} {
		if err == nil || err.Error() != "instance 1: exit status 7: broken by intention" {
			t.Errorf("got %v", err)
		}
	}
	absent := spec(t, dir, 2, told{})
	absent.Command = []string{filepath.Join(dir, "absent")}
	if _, err := Start(absent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that is not there: %v", err)
	}
	quiet := spec(t, dir, 3, told{})
	quiet.Command = []string{"sh", "-c", "read line; exec >&-; exit 0"}
	if p, err = Start(quiet); err != nil {
		t.Fatal(err)
	}
	<-p.Done
	if err := p.Unexpected(); err == nil || !strings.Contains(err.Error(), "before it was told to") {
		t.Errorf("of one that ended well, and too early: %v", err)
	}
}

func TestStop_killsAProcessThatDoesNotEnd(t *testing.T) {
	deaf := spec(t, t.TempDir(), 1, told{})
	deaf.Command = []string{"sh", "-c", "trap '' QUIT; echo '{\"Ready\":true}'; while :; do sleep 1; done"}
	p, err := Start(deaf)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ready
	if err := p.Stop(time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end within 1ms") {
		t.Errorf("got %v", err)
	}
	<-p.Done
}

func TestBegin_readsItsConfiguration(t *testing.T) {
	var cfg told
	var out strings.Builder
	p, err := Begin(strings.NewReader("{\"Number\": 3}\nmore"), &out, &cfg)
	if err != nil || cfg.Number != 3 {
		t.Fatalf("%+v, %v", cfg, err)
	}
	p.AwaitEnd()
	if err := errors.Join(p.TellReady(), p.TellResult(4)); err != nil || out.String() != "{\"Ready\":true}\n{\"Result\":4}\n" {
		t.Errorf("said %q, %v", out.String(), err)
	}
	if _, err := Begin(strings.NewReader("{\"Number\": 3}"), &out, &cfg); !errors.Is(err, ErrParentGone) {
		t.Errorf("half a line: %v", err)
	}
	if _, err := Begin(strings.NewReader("brew\n"), &out, &cfg); err == nil || errors.Is(err, ErrParentGone) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestSleep_endsWithItsContext(t *testing.T) {
	if !Sleep(t.Context(), time.Millisecond) {
		t.Error("did not wait")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Sleep(ctx, time.Hour) {
		t.Error("waited past the end")
	}
}
