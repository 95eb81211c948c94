package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

func TestFleetExitCodes(t *testing.T) {
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1") // is not asked: a load is for who names its server
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	out := filepath.Join(t.TempDir(), "fleet.json")
	chaos := filepath.Join(t.TempDir(), "chaos.json")
	for _, c := range []struct {
		name string
		ctx  context.Context
		args []string
		want int
	}{
		{"an argument", t.Context(), []string{"fleet", "brew"}, exitUsage},
		{"no such server", t.Context(), []string{"fleet", "--server", "brew"}, exitUsage},
		{"two servers", t.Context(), []string{"fleet", "--server", "cluster", "--redis", "redis://127.0.0.1:1"}, exitUsage},
		{"no such scale", t.Context(), []string{"fleet", "--scale", "brew"}, exitUsage},
		{"no such fault", t.Context(), []string{"fleet", "--fault", "brew"}, exitUsage},
		{"a fault of a server that is not there", t.Context(), []string{"fleet", "--server", "embedded", "--fault", "flushall"}, exitUsage},
		{"wrong configuration", t.Context(), []string{"fleet", "--instances", "0"}, exitUsage},
		{"wrong configuration of chaos", t.Context(), []string{"chaos", "--times", "0"}, exitUsage},
		{"a Cluster of no nodes", t.Context(), []string{"fleet", "--redis", "redis+cluster://"}, exitUsage},
		{"a database that is no number, of chaos", t.Context(), []string{"chaos", "--redis", "redis://127.0.0.1:1/brew"}, exitUsage},
		{"a port that is no number, of the demo", t.Context(), []string{"demo", "--redis", "redis://127.0.0.1:brew"}, exitUsage},
		{"no such Redis", t.Context(), []string{"fleet", "--redis", "redis://127.0.0.1:1"}, exitFailed},
		{"interrupted", interrupted, []string{"fleet", "--server", "embedded"}, exitInterrupted},
		{"a small fleet", t.Context(), []string{
			"fleet", "--instances", "1", "--workers", "1", "--duration", "200ms", "--warmup", "0s", "--keys", "20", "--rate", "100", "--quiet", "--out", out,
		}, exitOK},
		{"a little chaos", t.Context(), []string{
			"chaos", "--instances", "1", "--workers", "1", "--faults", "cut", "--times", "1", "--max-staleness", "1s", "--quiet", "--json", "--out", chaos,
		}, exitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(c.ctx, append([]string{"doppio"}, c.args...)); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
	for _, path := range []string{out, chaos} {
		if _, err := result.ReadFile(path); err != nil {
			t.Error(err)
		}
	}
}

// Chaos asks few keys for a little; a fleet asks for what there is.
func TestFleetAndChaosHaveDefaultsOfTheirOwn(t *testing.T) {
	for _, c := range []struct {
		cmd     *cli.Command
		keys    int
		rate    float64
		changes float64
	}{
		{fleetCommand(), fleet.DefaultKeys, 0, 0},
		{chaosCommand(), chaosKeys, chaosRate, chaosChanges},
	} {
		c.cmd.Action = func(_ context.Context, cmd *cli.Command) error {
			if keys, rate, changes := cmd.Int("keys"), cmd.Float("rate"), cmd.Float("invalidations"); keys != c.keys || rate != c.rate || changes != c.changes {
				t.Errorf("%s: %d keys, %g requests and %g changes a second, want %d, %g and %g", cmd.Name, keys, rate, changes, c.keys, c.rate, c.changes)
			}
			return nil
		}
		if err := c.cmd.Run(t.Context(), []string{c.cmd.Name}); err != nil {
			t.Error(err)
		}
	}
}
