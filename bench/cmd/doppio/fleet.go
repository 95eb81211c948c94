package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
)

func fleetCommand() *cli.Command {
	return &cli.Command{
		Name:  "fleet",
		Usage: "put a fleet of processes over one Redis under load, and measure it",
		Description: "Starts instances of the cache, each a process of its own with workers that read (GetOrSet over a slow source) and\n" +
			"write (commit to the source, then Delete), and a writer beside them. Shows throughput, latency by what answered, loads,\n" +
			"how stale reads were, how long an invalidation takes to reach the others, and what all of it costs Redis.\n\n" +
			"How to read it: without --rate each worker waits for its answer before it asks again, so a slow moment is asked about\n" +
			"less often than a fast one, and throughput is what the machine has. With --rate requests come when they come, and\n" +
			"the latency called response counts from when they were to begin: use it to compare latencies. All processes and Redis share this\n" +
			"machine's cores; what is measured near 100 % of them is the wait for a core. The table says how busy they were.\n\n" +
			"Examples:\n" +
			"   doppio fleet --instances 4 --rate 8000 --read-share 0.95\n" +
			"   doppio fleet --server cluster --fault cut,kill-instance --duration 20s\n" +
			"   doppio fleet --scale all --out fleet.json    # curves, and an extrapolation to 1,000 instances\n\n" +
			"It exits with 3 when a read was stale beyond the bound or to its own instance, or, without a fault, on errors.",
		OnUsageError: usageError,
		Action:       runFleet,
		Flags: append(append(fleetFlags(fleet.Default()),
			&cli.FloatFlag{Name: "rate", Usage: "`N` requests a second of all instances together, whether they keep up or not (0: each worker as fast as it is answered); with --scale instances, of each instance"},
			&cli.FloatFlag{Name: "invalidations", Usage: "`N` changes a second from outside the workers"},
			&cli.DurationFlag{Name: "churn", Usage: "replace an instance every `TIME` (0: never)"},
			&cli.StringFlag{Name: "churn-by", Usage: "how an instance leaves: stop or kill", Value: string(fleet.Gracefully)},
			&cli.StringFlag{Name: "fault", Usage: "inject `NAMES` of faults, in turn (see doppio chaos --help)"},
			&cli.DurationFlag{Name: "duration", Usage: "of each run", Value: fleet.DefaultDuration},
			&cli.DurationFlag{Name: "warmup", Usage: "before each run", Value: fleet.DefaultWarmup},
			&cli.StringFlag{Name: "scale", Usage: "measure curves: over instances, over invalidations, or all"},
			&cli.IntSliceFlag{Name: "steps-instances", Usage: "the steps of --scale instances", Value: fleet.InstanceSteps},
			&cli.FloatSliceFlag{Name: "steps-invalidations", Usage: "the steps of --scale invalidations", Value: fleet.InvalidationSteps},
			&cli.IntFlag{Name: "extrapolate", Usage: "to `N` instances", Value: fleet.DefaultExtrapolation},
		), outputFlags()...),
	}
}

// fleetFlags are those that fleet and chaos share, with the defaults d.
func fleetFlags(d fleet.Config) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "embedded, standalone or cluster: Redis of the run's own", Value: string(server.Standalone)},
		&cli.StringFlag{Name: "redis", Usage: "put the load on the Redis at `URL` instead; only by this flag: REDIS_URL is not asked"},
		&cli.IntFlag{Name: "instances", Usage: "how many processes", Value: d.Instances},
		&cli.IntFlag{Name: "workers", Usage: "concurrent requests of each instance", Value: d.Workers},
		&cli.IntFlag{Name: "keys", Usage: "of the source", Value: d.Keys},
		&cli.FloatFlag{Name: "skew", Usage: "exponent of the Zipf distribution of requests over keys (0: uniform)", Value: d.Skew},
		&cli.FloatFlag{Name: "read-share", Usage: "of the requests", Value: d.ReadShare},
		&cli.StringFlag{Name: "write", Usage: "what follows a commit to the source: delete, or set", Value: string(d.Write)},
		&cli.IntFlag{Name: "value-size", Usage: "`BYTES` that a value carries", Value: d.ValueSize},
		&cli.DurationFlag{Name: "ttl", Usage: "of entries", Value: d.TTL},
		&cli.Int64Flag{Name: "local-entries", Usage: "capacity of each local tier", Value: d.LocalEntries},
		&cli.StringFlag{Name: "engine", Usage: "of the local tier: ristretto or otter", Value: d.Engine},
		&cli.DurationFlag{Name: "max-staleness", Usage: "the bound that the cache keeps", Value: d.MaxStaleness},
		&cli.DurationFlag{Name: "source-latency", Usage: "of one load", Value: d.Source},
		&cli.Uint64Flag{Name: "seed", Usage: "of the choice of keys, writes and faults", Value: d.Seed},
	}
}

// fleetConfig reads the flags of fleetFlags.
func fleetConfig(cmd *cli.Command) fleet.Config {
	c := fleet.Default()
	c.Instances, c.Workers = cmd.Int("instances"), cmd.Int("workers")
	c.Keys, c.Skew, c.ReadShare = cmd.Int("keys"), cmd.Float("skew"), cmd.Float("read-share")
	c.Write, c.ValueSize = fleet.Change(cmd.String("write")), cmd.Int("value-size")
	c.TTL, c.LocalEntries, c.Engine = cmd.Duration("ttl"), cmd.Int64("local-entries"), cmd.String("engine")
	c.MaxStaleness, c.Source, c.Seed = cmd.Duration("max-staleness"), cmd.Duration("source-latency"), cmd.Uint64("seed")
	return c
}

// serverOptions reads --server and --redis.
func serverOptions(cmd *cli.Command) (server.Options, error) {
	if url := cmd.String("redis"); url != "" {
		if cmd.IsSet("server") {
			return server.Options{}, fmt.Errorf("%w: --server and --redis exclude each other", errUsage)
		}
		return server.Options{Kind: server.Given, URL: url}, nil
	}
	kind := server.Kind(cmd.String("server"))
	if kind != server.Embedded && kind != server.Standalone && kind != server.Cluster {
		return server.Options{}, fmt.Errorf("%w: --server %q: want embedded, standalone or cluster", errUsage, kind)
	}
	return server.Options{Kind: kind}, nil
}

// faultsOf reads a list of faults that a server of this kind can suffer.
func faultsOf(flag, names string, kind server.Kind) ([]fault.Fault, error) {
	if names == "" {
		return nil, nil
	}
	faults, err := fault.ByName(names)
	if err != nil {
		return nil, fmt.Errorf("%w: --%s: %w", errUsage, flag, err)
	}
	able := faults[:0]
	for _, f := range faults {
		switch {
		case !f.Ours || kind == server.Standalone || kind == server.Cluster:
			able = append(able, f)
		case names != "all":
			return nil, fmt.Errorf("%w: --%s %s: only for a server that is started for the run (--server standalone or cluster)", errUsage, flag, f.Name)
		}
	}
	return able, nil
}

// tellServer says which Redis gets the load, on standard error.
func tellServer(cmd *cli.Command, s *server.Server) {
	if !cmd.Bool("quiet") {
		fmt.Fprintf(os.Stderr, "Redis: %s\n", s.Name())
	}
}

// noArguments refuses arguments.
func noArguments(cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("%w: %s takes no argument, has %q", errUsage, cmd.Name, cmd.Args().First())
	}
	return nil
}

func runFleet(ctx context.Context, cmd *cli.Command) error {
	o, err := serverOptions(cmd)
	if err = errors.Join(err, noArguments(cmd)); err != nil {
		return err
	}
	c := fleetConfig(cmd)
	c.Rate, c.Invalidations = cmd.Float("rate"), cmd.Float("invalidations")
	c.Churn, c.ChurnBy = cmd.Duration("churn"), fleet.Churn(cmd.String("churn-by"))
	c.Duration, c.Warmup = cmd.Duration("duration"), cmd.Duration("warmup")
	if c.Faults, err = faultsOf("fault", cmd.String("fault"), o.Kind); err != nil {
		return err
	}
	plan := fleet.Plan{
		Base: c, Scale: fleet.Scale(cmd.String("scale")), Instances: cmd.IntSlice("steps-instances"),
		Invalidations: cmd.FloatSlice("steps-invalidations"), Extrapolate: cmd.Int("extrapolate"),
	}
	if err := plan.Validate(); err != nil {
		return err
	}
	return withServer(ctx, cmd, o, func(d *result.Document, s *server.Server, told fleet.Progress) (measured, error) {
		f, err := plan.Run(ctx, s, told)
		d.Fleet = f
		return measured{
			runs:  len(f.Runs),
			table: func(w io.Writer) error { return fleet.WriteFleet(w, f) },
			clean: fleet.Clean(f),
		}, err
	})
}

// measured is what a command found out over a server.
type measured struct {
	runs  int // without any there is nothing to show
	table func(io.Writer) error
	clean bool // it is as it should be
}

// withServer opens the server that a command is to measure over, lets it do so, and emits the document, which measure fills.
func withServer(ctx context.Context, cmd *cli.Command, o server.Options, measure func(*result.Document, *server.Server, fleet.Progress) (measured, error)) (err error) {
	d := newDocument(cmd)
	s, err := server.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	d.Environment = result.ThisEnvironment(s.Version())
	tellServer(cmd, s)
	progress := startProgress(cmd)
	m, err := measure(d, s, func(share float64, text string) { progress.Set(share, "%s", text) })
	progress.End()
	if m.runs == 0 {
		return err
	}
	if err := emit(cmd, d, m.table, err); err != nil {
		return err
	}
	if !m.clean {
		return errUnclean
	}
	return nil
}

func fleetInstanceCommand() *cli.Command {
	return &cli.Command{
		Name:   fleet.InstanceCommand,
		Usage:  "what demo, fleet and chaos start: an instance that takes its configuration from standard input",
		Hidden: true,
		Action: func(ctx context.Context, _ *cli.Command) error {
			return fleet.RunInstance(ctx, os.Stdin, os.Stdout)
		},
	}
}
