package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/inspect"
)

func tailCommand() *cli.Command {
	return &cli.Command{
		Name:  "tail",
		Usage: "invalidations as they happen",
		Description: "Subscribes to the lanes of a namespace as an instance does, changes nothing, and prints a line for each message: when it came,\n" +
			"lane, id in the lane, type, how many hashes it has and the first of them, publisher, trace, and the lag from the id's time\n" +
			"(milliseconds of Redis's clock, to which this machine's is set once) to its arrival. Types: keys (entries or tags\n" +
			"changed), scope and cleared (a cache), all (everything), filled (a lease ended; it has no place in the lane).\n\n" +
			"GAP means that a message does not follow the one before it: something was lost on the way, or Redis lost its memory.\n" +
			"LOST means that the subscription broke; it is made again, and what was missed shows as a gap.\n\n" +
			"   doppio tail\n" +
			"   doppio tail --since 10m --json --count 1000\n" +
			"   doppio tail --cache users --key user:42\n\n" +
			"Ctrl-C is the normal end. Exit codes: 0 it was ended, or --count was reached; 1 Redis could not be subscribed to; 2 wrong usage.",
		OnUsageError: usageError,
		Action:       runTail,
		Flags: append(redisFlags(),
			&cli.StringFlag{Name: "since", Usage: "begin with what follows the id `ID` of a lane, or with what came since a time ago, like 10m"},
			&cli.StringFlag{Name: "cache", Usage: "`NAME` of the cache of --key"},
			&cli.StringFlag{Name: "key", Usage: "only what concerns the entry `KEY` of --cache; not what concerns its tags"},
			&cli.IntFlag{Name: "count", Usage: "stop after `N` messages (0: never)"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON document a line, with all hashes"},
		),
	}
}

func runTail(ctx context.Context, cmd *cli.Command) (err error) {
	if cmd.Args().Present() {
		return fmt.Errorf("%w: tail takes no argument, has %q", errUsage, cmd.Args().First())
	}
	rdb, err := dialRedis(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	lines := json.NewEncoder(os.Stdout)
	emit := func(e inspect.Event) error {
		if cmd.Bool("json") {
			return lines.Encode(e)
		}
		_, err := fmt.Fprintln(os.Stdout, e.Text())
		return err
	}
	summary, err := inspect.Tail(ctx, rdb, inspect.TailOptions{
		Namespace: cmd.String("namespace"), Since: cmd.String("since"), Cache: cmd.String("cache"), Key: cmd.String("key"), Count: cmd.Int("count"),
	}, emit)
	switch {
	case errors.Is(err, inspect.ErrOptions):
		return fmt.Errorf("%w: %w", errUsage, err)
	case err != nil:
		return err
	case cmd.Bool("json"):
		return lines.Encode(struct {
			What string `json:"what"`
			inspect.Summary
		}{"summary", summary})
	}
	_, err = fmt.Fprintln(os.Stderr, summary.Text())
	return err
}
