package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
)

// asCommand makes the test binary the whole command, main and all.
const asCommand = "DOPPIO_TEST_IS_THE_COMMAND"

// The test binary is the command too, when a fleet starts it as an instance.
func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	if len(os.Args) > 1 && os.Args[1] == fleet.InstanceCommand {
		os.Exit(run(context.Background(), os.Args))
	}
	goleak.VerifyTestMain(m)
}

// process runs the command in a process of its own: what main does, and what asks for the process's own arguments.
func process(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestExitCodes(t *testing.T) {
	t.Setenv("TRACE", "")
	t.Setenv("REDIS_URL", "")
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, c := range []struct {
		name string
		ctx  context.Context
		args []string
		want int
	}{
		{"help", t.Context(), []string{"--help"}, exitOK},
		{"no command", t.Context(), nil, exitOK},
		{"unknown command", t.Context(), []string{"brew"}, exitUsage},
		{"help of an unknown command", t.Context(), []string{"help", "brew"}, exitUsage},
		{"help of an unknown subcommand", t.Context(), []string{"compare", "help", "brew"}, exitUsage},
		{"completion of an unknown shell", t.Context(), []string{"completion", "brew"}, exitUsage},
		{"unknown flag", t.Context(), []string{"demo", "--brew"}, exitUsage},
		{"no Redis of demo", t.Context(), []string{"demo", "--redis", "brew://tea"}, exitUsage},
		{"no Redis of fleet", t.Context(), []string{"fleet", "--redis", "brew://tea"}, exitUsage},
		{"no Redis of chaos", t.Context(), []string{"chaos", "--redis", "brew://tea"}, exitUsage},
		{"an argument", t.Context(), []string{"demo", "brew"}, exitUsage},
		{"no number", t.Context(), []string{"demo", "--requests", "many"}, exitUsage},
		{"wrong configuration", t.Context(), []string{"demo", "--updates", "2"}, exitUsage},
		{"no such trace", t.Context(), []string{"demo", "--trace", filepath.Join(t.TempDir(), "absent")}, exitFailed},
		{"interrupted", interrupted, []string{"demo"}, exitInterrupted},
		{"a small demo", t.Context(), []string{"demo", "--requests", "300", "--keys", "20", "--source-latency", "1ms", "--updates", "0", "--quiet"}, exitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(c.ctx, append([]string{"doppio"}, c.args...)); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

// TestOneErrorIsOneLine: of a Redis that is not there go-redis complains each time that it dials.
func TestOneErrorIsOneLine(t *testing.T) {
	code, _, said := process(t, "inspect", "--redis", "redis://127.0.0.1:1", "--raw", "ns:people:k")
	if code != exitFailed || strings.Count(said, "\n") != 1 || !strings.Contains(said, "refused") {
		t.Errorf("exit code %d, want %d and one line:\n%s", code, exitFailed, said)
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{ended, errors.Join(context.Canceled), exitInterrupted},
		{t.Context(), context.Canceled, exitFailed},
		{t.Context(), fmt.Errorf("found: %w", errUnclean), exitUnclean},
		{ended, nil, exitOK},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("exit code of %v is %d, want %d", c.err, got, c.want)
		}
	}
}
