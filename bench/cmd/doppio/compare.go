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
			"reason is told. Groups: local hit, remote hit, 100 keys, full miss, set, delete, stampede, 95/5 mix, memory, gc,\n" +
			"commands, idle. The memory of an entry is all that a library has of it beside the caller's keys and the value: a library's own\n" +
			"copy of the key counts, which doppio and rueidis make; the caller's key, to which the others refer, does not.\n\n" +
			"   doppio compare                                      everything, on a Redis of its own: about 20 minutes\n" +
			"   doppio compare --quick                              everything, small and short: to see that it works\n" +
			"   doppio compare --only 'remote hit' --out remote.json      one group, and its JSON for doppio report\n" +
			"   doppio compare --only set --only idle               groups: the name of a group means that group alone\n" +
			"   doppio compare --only 'get, struct' --only memory   rows by what their names hold, commas too, and a group\n" +
			"   doppio compare --only zipf --subjects doppio,otter  rows by a part of their name, some libraries (and the baseline)\n" +
			"   doppio compare --check                              hold allocations, ratios and counts against the budgets: half a minute\n\n" +
			"--check is the regression guard. It runs the budgets' rows only, takes each one's best of several rounds, measures again before\n" +
			"it says no, and never looks at absolute times. A list of other budgets is given by --budgets. Its verdict is in the JSON, too.\n\n" +
			"Exit codes: 0 all went well; 1 it could not run; 2 wrong usage; 3 --check found a figure beyond its budget;\n" +
			"130 interrupted, and what was measured so far was printed.",
		OnUsageError: usageError,
		Action:       runCompare,
		// Rows' names hold commas, so --only must not be cut at them.
		DisableSliceFlagSeparator: true,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "only", Usage: "measure only this `GROUP`, or the rows whose names have this part; may be given several times, and each must be there"},
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
			Name: compare.ChildCommand, Usage: "what compare starts: fills one library's local tier and measures it", Hidden: true, HideHelp: true,
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
		var budgets []compare.Budget
		if budgets, err = budgetsOf(cmd); err != nil {
			return err
		}
		if document.Compare, found, err = compare.Check(ctx, o, budgets); err == nil {
			document.Compare.Check = compare.Checked(len(budgets), found)
		}
	} else {
		document.Compare, err = compare.Run(ctx, o)
	}
	progress.End()
	if errors.Is(err, compare.ErrOptions) || errors.Is(err, compare.ErrBudgets) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if document.Compare == nil || len(document.Compare.Rows) == 0 {
		return err
	}
	document.Environment = result.ThisEnvironment(server)
	err = emit(cmd, document, func(w io.Writer) error { return compare.WriteTable(w, document.Compare) }, err)
	for _, v := range found {
		err = errors.Join(err, fmt.Errorf("%w: %v", errBudget, v))
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

// budgetsOf are those that --check is to hold what it measures against.
func budgetsOf(cmd *cli.Command) ([]compare.Budget, error) {
	if cmd.IsSet("only") || cmd.IsSet("subjects") {
		return nil, fmt.Errorf("%w: --check measures what the budgets say, it goes without --only and --subjects", errUsage)
	}
	path := cmd.String("budgets")
	if path == "" {
		return compare.DefaultBudgets()
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--budgets: %w", err)
	}
	defer f.Close()
	budgets, err := compare.ReadBudgets(f)
	if err != nil {
		return nil, fmt.Errorf("%w: --budgets: %w", errUsage, err)
	}
	return budgets, nil
}
