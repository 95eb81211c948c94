package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/demo"
	"github.com/doppio-cache/doppio/bench/internal/trace"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "replay a request trace against several processes that share a cache",
		Description: "Starts an embedded Redis (unless it is given one), a slow source of truth, and instances of the cache as\n" +
			"processes of their own. Deals them the requests of a trace, a share of which are updates. Shows how many reads each\n" +
			"tier answered, how fast, and whether any read was stale.\n\n" +
			"   doppio demo\n" +
			"   doppio demo --trace web12.trace.xz --requests 100000\n" +
			"   doppio demo --redis redis://localhost:6379 --instances 5 --json\n\n" +
			"Exit codes: 0 all went well; 1 it could not run, or broke off; 2 wrong usage; 3 there were errors, or reads that were stale\n" +
			"beyond the bound or to their own instance; 130 interrupted, and what was measured so far was printed.",
		OnUsageError: usageError,
		Action:       runDemo,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "trace", Usage: "replay the trace in `FILE` (default: a generated Zipf trace)", Sources: cli.EnvVars("TRACE")},
			&cli.StringFlag{Name: "format", Usage: "the trace's: " + trace.FormatNames(), Value: string(trace.Auto)},
			&cli.IntFlag{Name: "requests", Usage: fmt.Sprintf("replay at most `N` requests (0: the whole trace, or %d generated ones)", demo.DefaultRequests)},
			&cli.Uint64Flag{Name: "keys", Usage: "of the generated trace", Value: demo.DefaultKeys},
			&cli.FloatFlag{Name: "exponent", Usage: "of the generated trace, over 1", Value: demo.DefaultExponent},
			&cli.Uint64Flag{Name: "seed", Usage: "of the generated trace and of the choice of updates", Value: demo.DefaultSeed},
			&cli.StringFlag{Name: "redis", Usage: "use the Redis at `URL` (default: an embedded one)", Sources: cli.EnvVars("REDIS_URL")},
			&cli.IntFlag{Name: "instances", Usage: "how many processes", Value: demo.DefaultInstances},
			&cli.IntFlag{Name: "workers", Usage: "concurrent requests of each instance", Value: demo.DefaultWorkers},
			&cli.FloatFlag{Name: "updates", Usage: "share of the requests that are updates", Value: demo.DefaultUpdateShare},
			&cli.DurationFlag{Name: "source-latency", Usage: "of one load", Value: demo.DefaultSourceLatency},
			&cli.Int64Flag{Name: "local-entries", Usage: "capacity of each local tier", Value: demo.DefaultLocalEntries},
			&cli.DurationFlag{Name: "ttl", Usage: "of entries", Value: demo.DefaultTTL},
			&cli.DurationFlag{Name: "time-limit", Usage: "stop after `TIME`, with a notice (0: never)", Value: demo.DefaultTimeLimit},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
			&cli.BoolFlag{Name: "quiet", Usage: "show no progress"},
		},
	}
}

func runDemo(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("%w: demo takes no argument, has %q", errUsage, cmd.Args().First())
	}
	progress := io.Writer(os.Stderr)
	if cmd.Bool("quiet") {
		progress = io.Discard
	}
	limit := cmd.Duration("time-limit")
	if limit == 0 {
		limit = demo.NoTimeLimit
	}
	report, err := demo.Run(ctx, demo.Config{
		Trace:         cmd.String("trace"),
		Format:        trace.Format(cmd.String("format")),
		Requests:      cmd.Int("requests"),
		Keys:          cmd.Uint64("keys"),
		Exponent:      cmd.Float("exponent"),
		Seed:          cmd.Uint64("seed"),
		RedisURL:      cmd.String("redis"),
		Instances:     cmd.Int("instances"),
		Workers:       cmd.Int("workers"),
		UpdateShare:   cmd.Float("updates"),
		SourceLatency: cmd.Duration("source-latency"),
		LocalEntries:  cmd.Int64("local-entries"),
		TTL:           cmd.Duration("ttl"),
		TimeLimit:     limit,
	}, progress)
	if report == nil {
		return err
	}
	write := report.WriteTable
	if cmd.Bool("json") {
		write = report.WriteJSON
	}
	err = errors.Join(err, write(os.Stdout))
	if err == nil && !report.Clean() {
		err = errUnclean
	}
	return err
}
