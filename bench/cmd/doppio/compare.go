package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/compare"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

func compareCommand() *cli.Command {
	return &cli.Command{
		Name:  "compare",
		Usage: "the same work done by this library and by others, interleaved",
		Description: "Lets each library do the same work in short slices, in turn and in an order that is shuffled in each round. Ratios to a\n" +
			"baseline, of slices of the same round, are the result: their median, and how far rounds lie apart. Absolute times say\n" +
			"what this machine did; allocations are exact. A library that cannot do some work has no figure there, and the\n" +
			"reason is told. Groups: local hit, far hit, 100 keys, full miss, set, delete, stampede, 95/5 mix, memory, gc,\n" +
			"commands, idle.\n\n" +
			"   doppio compare                                      everything, on a Redis of its own: about 20 minutes\n" +
			"   doppio compare --quick                              everything, small and short: to see that it works\n" +
			"   doppio compare --only 'far hit' --out far.json      one group, and its JSON for doppio report\n" +
			"   doppio compare --only 'get, struct' --only memory   rows by what their names hold, commas too, or a group\n" +
			"   doppio compare --only zipf --subjects doppio,otter  rows by a part of their name, some libraries (and the baseline)\n" +
			"   doppio compare --check                              hold allocations and ratios against the budgets\n\n" +
			"--check is the regression guard. It runs the budgets' rows only, takes each one's best of several rounds, measures again before\n" +
			"it says no, and never looks at absolute times. A list of other budgets is given by --budgets.\n\n" +
			"Exit codes: 0 all went well; 1 it could not run; 2 wrong usage; 3 --check found a figure beyond its budget;\n" +
			"130 interrupted, and what was measured so far was printed.",
		OnUsageError: usageError,
		Action:       runCompare,
		// Rows' names hold commas, so --only must not be cut at them.
		DisableSliceFlagSeparator: true,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "only", Usage: "measure only this `GROUP`, or rows whose names have this part; may be given several times"},
			&cli.StringSliceFlag{Name: "subjects", Usage: "let only these `LIBRARIES` take part, with commas between them, and each row's baseline"},
			&cli.IntFlag{Name: "rounds", Usage: fmt.Sprintf("in each of which every library works once (default: %d, or fewer with --quick)", compare.DefaultRounds)},
			&cli.DurationFlag{Name: "slice", Usage: fmt.Sprintf("how `LONG` a library works in a round (default: %v, or less with --quick)", compare.DefaultSlice)},
			&cli.Uint64Flag{Name: "seed", Usage: "of keys and of the order in each round, over 0", Value: compare.DefaultSeed},
			&cli.StringFlag{Name: "redis", Usage: "use the Redis at `URL`, redis://host:port/db, without password, that nobody else uses meanwhile (default: one is started)"},
			&cli.BoolFlag{Name: "quick", Usage: "small sizes, few rounds: not for figures to quote"},
			&cli.BoolFlag{Name: "check", Usage: "hold what is measured against budgets"},
			&cli.StringFlag{Name: "budgets", Usage: "of --check, a JSON `FILE` (default: this repository's)", TakesFile: true},
		}, outputFlags()...),
		Commands: []*cli.Command{{
			Name: compare.ChildCommand, Usage: "what compare starts: fills one library's near tier and measures it", Hidden: true, HideHelp: true,
			Action: func(ctx context.Context, _ *cli.Command) error { return compare.Child(ctx, os.Stdin, os.Stdout) },
		}},
	}
}

func runCompare(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("%w: compare takes no argument, has %q", errUsage, cmd.Args().First())
	}
	for name, isZero := range map[string]bool{
		"rounds": cmd.Int("rounds") == 0, "slice": cmd.Duration("slice") == 0, "seed": cmd.Uint64("seed") == 0,
	} {
		if cmd.IsSet(name) && isZero {
			return fmt.Errorf("%w: --%s is 0, must be over 0", errUsage, name)
		}
	}
	if cmd.IsSet("budgets") && !cmd.Bool("check") {
		return fmt.Errorf("%w: --budgets is for --check", errUsage)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	progress := startProgress(cmd)
	defer progress.End()
	var server string
	o := compare.Options{
		Only: cmd.StringSlice("only"), Subjects: commaSeparated(cmd.StringSlice("subjects")), Rounds: cmd.Int("rounds"), Slice: cmd.Duration("slice"),
		Seed: cmd.Uint64("seed"), Quick: cmd.Bool("quick"), Redis: cmd.String("redis"),
		Child:    []string{self, "compare", compare.ChildCommand},
		Progress: func(share float64, what string) { progress.Set(share, "%s", what) },
		Opened:   func(version string) { server = version },
	}
	document := newDocument(cmd)
	var found []compare.Violation
	if cmd.Bool("check") {
		document.Compare, found, err = checkBudgets(ctx, cmd, o)
	} else {
		document.Compare, err = compare.Run(ctx, o)
	}
	progress.End()
	if errors.Is(err, compare.ErrOptions) || errors.Is(err, compare.ErrBudgets) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if document.Compare == nil {
		return err
	}
	document.Environment = result.ThisEnvironment(server)
	err = emit(cmd, document, func(w io.Writer) error { return compare.WriteTable(w, document.Compare) }, err)
	for _, v := range found {
		err = errors.Join(err, fmt.Errorf("%w: %v", errUnclean, v))
	}
	return err
}

// commaSeparated splits what the command line leaves whole.
func commaSeparated(lists []string) []string {
	var out []string
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

// checkBudgets measures what budgets are about.
func checkBudgets(ctx context.Context, cmd *cli.Command, o compare.Options) (*result.Compare, []compare.Violation, error) {
	if len(o.Only) > 0 || len(o.Subjects) > 0 {
		return nil, nil, fmt.Errorf("%w: --check measures what the budgets say, it goes without --only and --subjects", errUsage)
	}
	budgets, err := compare.DefaultBudgets()
	if path := cmd.String("budgets"); path != "" {
		var f *os.File
		if f, err = os.Open(path); err != nil {
			return nil, nil, fmt.Errorf("--budgets: %w", err)
		}
		defer f.Close()
		budgets, err = compare.ReadBudgets(f)
	}
	if err != nil {
		return nil, nil, err
	}
	return compare.Check(ctx, o, budgets)
}
