package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/replay"
	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/bench/internal/trace"
)

func replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "replay request traces against caches of several sizes, and show how many requests each answered",
		ArgsUsage: "TRACE...",
		Description: "Hit ratios of the local tier with both of its engines, of other libraries, of exact LRU, and of the optimum that knows\n" +
			"the future. Each cache gets a key and sets it if it missed, one request at a time; sizes are in entries.\n\n" +
			"How to read it: no cache that keeps to the size can be above the optimum, and one below LRU would be better off with a linked\n" +
			"list. \"At full speed\" nothing is waited for between requests, so a library that drops writes in a burst shows it;\n" +
			"these figures differ a little from run to run. A cache that evicts in batches holds more entries than it was asked to, and\n" +
			"looks better than it is: where it held over 5 % more on average, an asterisk says so, and below the table how many it held.\n\n" +
			"Traces are int32, int64, arc, lirs, csv, twitter or lines, plain or packed with gzip, xz or zstd; what they are is told\n" +
			"by their content. Of Twitter's traces the reads count.\n\n" +
			"   doppio replay web12.trace.xz\n" +
			"   doppio replay --sizes 500,2000 --policies doppio/ristretto,doppio/otter,lru,optimum orm-busy.trace.xz\n" +
			"   doppio replay --csv \"time-col=2, obj-id-col=5, has-header=true\" --limit 1000000 cloudPhysicsIO.csv\n\n" +
			"It exits with 0, with 1 if a trace cannot be read, 2 if it was called wrongly, 130 if it was interrupted; what was\n" +
			"measured so far is printed.",
		OnUsageError: usageError,
		Action:       runReplay,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "sizes", Usage: "`ENTRIES`, separated by commas (default: 8 steps from 1,000, or 1 % of the distinct keys if that is less, to 50 % of them)"},
			&cli.StringFlag{Name: "policies", Usage: "`NAMES`, separated by commas, of " + strings.Join(replay.ListedNames(), ", ") + " (default: all)"},
			&cli.IntFlag{Name: "limit", Usage: "replay at most `N` requests of each trace (0: all)"},
			&cli.StringFlag{Name: "format", Usage: "of the traces: " + trace.FormatNames(), Value: string(trace.Auto)},
			&cli.StringFlag{Name: "csv", Usage: "where things stand in csv traces, as libCacheSim takes it: obj-id-col=2, time-col=1, obj-size-col=3, delimiter=,, has-header=true"},
			&cli.BoolFlag{Name: "all-operations", Usage: "count writes of Twitter's traces as requests too"},
		}, outputFlags()...),
	}
}

// replayPlan is what the flags ask for.
type replayPlan struct {
	traces   []string
	opts     trace.Options
	limit    int
	sizes    []int
	policies []replay.Policy
}

func planReplay(cmd *cli.Command) (replayPlan, error) {
	var faults []error
	fault := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	p := replayPlan{traces: cmd.Args().Slice(), limit: cmd.Int("limit")}
	if len(p.traces) == 0 {
		fault(errors.New("replay wants at least one trace"))
	}
	if p.limit < 0 {
		fault(fmt.Errorf("--limit %d: want 0 or more", p.limit))
	}
	var err error
	p.sizes, err = parseSizes(cmd.String("sizes"))
	fault(err)
	p.policies, err = replay.PoliciesNamed(cmd.String("policies"))
	fault(err)
	p.opts = trace.Options{AllOperations: cmd.Bool("all-operations")}
	p.opts.Format, err = trace.ParseFormat(cmd.String("format"))
	fault(err)
	p.opts.CSV, err = trace.ParseColumns(cmd.String("csv"))
	fault(err)
	if p.opts.CSV != (trace.Columns{}) && p.opts.Format != trace.Auto && p.opts.Format != trace.CSV {
		fault(fmt.Errorf("--csv: the format is %s", p.opts.Format))
	}
	if len(faults) > 0 {
		return p, fmt.Errorf("%w: %w", errUsage, errors.Join(faults...))
	}
	return p, nil
}

// maxReplaySize keeps a slip of the keyboard from asking for all memory.
const maxReplaySize = 100_000_000

func parseSizes(list string) (sizes []int, err error) {
	if list == "" {
		return nil, nil
	}
	for _, field := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(field), "_", ""))
		if err != nil || n < 1 || n > maxReplaySize {
			return nil, fmt.Errorf("--sizes %s: want entries, 1 to %d", field, maxReplaySize)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func runReplay(ctx context.Context, cmd *cli.Command) error {
	plan, err := planReplay(cmd)
	if err != nil {
		return err
	}
	d := newDocument(cmd)
	d.Environment = result.ThisEnvironment("")
	d.Replay = &result.Replay{}
	progress := startProgress(cmd)
	for i, path := range plan.traces {
		var replayed *result.ReplayedTrace
		replayed, err = replayTrace(ctx, plan, path, func(share float64, format string, args ...any) {
			progress.Set((float64(i)+share)/float64(len(plan.traces)), format, args...)
		})
		if replayed != nil {
			d.Replay.Traces = append(d.Replay.Traces, *replayed)
		}
		if err != nil {
			break
		}
	}
	progress.End()
	if len(d.Replay.Traces) == 0 {
		return err
	}
	return emit(cmd, d, func(w io.Writer) error { return writeReplay(w, d.Replay) }, err)
}

// replayTrace returns what was replayed also beside an error, and nil if that is nothing.
func replayTrace(ctx context.Context, plan replayPlan, path string, progress func(share float64, format string, args ...any)) (*result.ReplayedTrace, error) {
	name := filepath.Base(path)
	r, err := trace.Open(path, plan.opts)
	if err != nil {
		return nil, err
	}
	t, err := replay.Load(ctx, name, r, plan.limit, func(read int) {
		progress(0, "%s: %s requests read", name, term.Thousands(int64(read)))
	})
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	t.Format = r.Format()
	replayed, err := replay.Run(ctx, t, replay.Options{
		Policies: plan.policies,
		Sizes:    plan.sizes,
		Progress: func(done, total int64, policy string, size int) {
			progress(float64(done)/float64(total), "%s: %s, %s entries", name, policy, term.Thousands(int64(size)))
		},
	})
	return &replayed, err
}

// writeReplay writes a table for each trace: policies down, sizes across.
func writeReplay(w io.Writer, r *result.Replay) error {
	var text bytes.Buffer
	for i, t := range r.Traces {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "%s (%s): %s requests for %s keys. Hit ratio, %%, by entries:\n\n",
			t.Name, t.Format, term.Thousands(t.Requests), term.Thousands(t.Keys))
		if err := replayTable(t).Write(&text); err != nil {
			return err
		}
		if held := oversized(t); len(held) > 0 {
			fmt.Fprintf(&text, "\n* on average it held over 5 %% more entries than its size, so the optimum of that size is no bound for it:\n")
			for _, h := range held {
				fmt.Fprintf(&text, "  %s\n", h)
			}
		}
	}
	if _, err := text.WriteTo(w); err != nil {
		return fmt.Errorf("replay: write: %w", err)
	}
	return nil
}

func replayTable(t result.ReplayedTrace) *term.Table {
	head := []string{""}
	for _, size := range t.Sizes {
		head = append(head, term.Thousands(size))
	}
	table := term.NewTable(head...)
	for _, c := range t.Curves {
		row := []string{c.Policy}
		for _, size := range t.Sizes {
			cell := ""
			if at := slices.IndexFunc(c.Points, func(p result.Point) bool { return p.Size == size }); at >= 0 {
				mark := " " // so that the digits of all cells are aligned
				if replay.Oversize(c.Points[at]) {
					mark = "*"
				}
				cell = fmt.Sprintf("%.1f%s", 100*c.Points[at].HitRatio, mark)
			}
			row = append(row, cell)
		}
		table.Row(row...)
	}
	return table
}

// oversized has a line for each policy that held too much at some size: "otter: 173 at 50; 310 at 200".
func oversized(t result.ReplayedTrace) (lines []string) {
	for _, c := range t.Curves {
		var held []string
		for _, p := range c.Points {
			if replay.Oversize(p) {
				held = append(held, term.Thousands(int64(math.Round(p.Held)))+" at "+term.Thousands(p.Size))
			}
		}
		if len(held) > 0 {
			lines = append(lines, c.Policy+": "+strings.Join(held, "; "))
		}
	}
	return lines
}
