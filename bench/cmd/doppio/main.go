// Command doppio demonstrates the cache.
//
//	doppio demo        replay a request trace against three processes that share a cache
//	doppio demo --help
//
// It exits with
//
//	0    all went well
//	1    it could not run, or broke off
//	2    it was called wrongly
//	3    it ran, and found errors, or reads that were stale beyond the bound or to their own instance
//	130  it was interrupted; what was measured so far was printed
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/demo"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnclean     = 3
	exitInterrupted = 130
)

var (
	errUsage   = errors.New("wrong usage")
	errUnclean = errors.New("there were errors, or stale reads that must not be")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	root := &cli.Command{
		Name:  "doppio",
		Usage: "a two-tier cache, demonstrated",
		Commands: []*cli.Command{
			demoCommand(), compareCommand(), replayCommand(), fleetCommand(), chaosCommand(), inspectCommand(), tailCommand(),
			reportCommand(), demoInstanceCommand(),
		},
		EnableShellCompletion: true,
		OnUsageError:          usageError,
		ExitErrHandler:        func(context.Context, *cli.Command, error) {}, // exit codes are given here, in one place
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("%w: there is no command %q", errUsage, cmd.Args().First())
			}
			return cli.ShowRootCommandHelp(cmd)
		},
	}
	err := root.Run(ctx, args)
	code := exitCode(ctx, err)
	if err != nil && code != exitInterrupted {
		fmt.Fprintln(os.Stderr, "doppio:", err)
	}
	return code
}

func usageError(_ context.Context, _ *cli.Command, err error, _ bool) error {
	return fmt.Errorf("%w: %w", errUsage, err)
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage), errors.Is(err, demo.ErrConfig):
		return exitUsage
	case errors.Is(err, errUnclean):
		return exitUnclean
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	default:
		return exitFailed
	}
}
