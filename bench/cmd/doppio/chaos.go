package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/internal/fault"
)

// chaosRate and chaosChanges are what chaos asks of a fleet unless told otherwise: so many changes of few keys that those
// that go missing are noticed, and few enough requests that a busy machine does not look like a fault.
const (
	chaosRate    = 1500.0
	chaosChanges = 100.0
	chaosKeys    = 500
)

func chaosCommand() *cli.Command {
	var about strings.Builder
	var others []string
	for _, f := range fault.Catalog() {
		if f.About == "" {
			others = append(others, f.Name)
			continue
		}
		fmt.Fprintf(&about, "   %-15s %s\n", f.Name, f.About)
	}
	fmt.Fprintf(&about, "\nOnly by name, as make chaos has them: %s.\n", strings.Join(others, ", "))
	d := fleet.Default()
	d.Keys, d.Rate, d.Invalidations = chaosKeys, chaosRate, chaosChanges
	flags := append(fleetFlags(d),
		&cli.FloatFlag{Name: "rate", Usage: "`N` requests a second of all instances together (0: each worker as fast as it is answered)", Value: d.Rate},
		&cli.FloatFlag{Name: "invalidations", Usage: "`N` changes a second from outside the workers", Value: d.Invalidations},
		&cli.StringFlag{Name: "faults", Usage: "`NAMES`, separated by commas, or all of those above", Value: "all"},
		&cli.IntFlag{Name: "times", Usage: "inject each fault `N` times", Value: fleet.DefaultTimes},
	)
	return &cli.Command{
		Name:  "chaos",
		Usage: "let things go wrong for a fleet, one fault after another, and look for lies",
		Description: "Starts a fleet for each fault, injects it a few times with a calm before each, and shows how stale reads were, which\n" +
			"errors there were, and how long it took until every instance was coherent again. The faults:\n\n" + about.String() +
			"\nHow to read it: stale reads within the bound are what the cache allows itself, errors are honest answers; a read\n" +
			"beyond the bound, or that missed a change of its own instance, is a lie, and there must be none.\n\n" +
			"Examples:\n" +
			"   doppio chaos\n" +
			"   doppio chaos --faults stop-instance,half-open --times 20 --seed 7\n" +
			"   doppio chaos --server cluster --out chaos.json\n\n" +
			"It exits with 3 when anything was violated: also when a fault was not injected as often as asked for, when the fleet was not coherent\n" +
			"again within 30 s, or when requests failed long after it was.",
		OnUsageError: usageError,
		Action:       runChaos,
		Flags:        append(flags, outputFlags()...),
	}
}

func runChaos(ctx context.Context, cmd *cli.Command) error {
	o, err := serverOptions(cmd)
	if err = errors.Join(err, noArguments(cmd)); err != nil {
		return err
	}
	ordeal := fleet.Ordeal{Base: fleetConfig(cmd), Times: cmd.Int("times")}
	ordeal.Base.Rate, ordeal.Base.Invalidations = cmd.Float("rate"), cmd.Float("invalidations")
	if ordeal.Faults, err = faultsOf("faults", cmd.String("faults"), o.Kind); err != nil {
		return err
	}
	if err := ordeal.Validate(); err != nil {
		return err
	}
	return withServer(ctx, cmd, o, func(d *result.Document, s *server.Server, told fleet.Progress) (measured, error) {
		chaos, err := ordeal.Run(ctx, s, told)
		d.Chaos = chaos
		return measured{
			runs:  len(chaos.Runs),
			table: func(w io.Writer) error { return fleet.WriteChaos(w, chaos) },
			clean: fleet.Survived(chaos),
		}, err
	})
}
