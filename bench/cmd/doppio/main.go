// Command doppio shows, measures and inspects the cache.
//
//	doppio demo               replay a trace against three processes that share a cache
//	doppio compare            the same work done by several cache libraries, in one run
//	doppio replay TRACE…      hit ratios of local tiers on recorded traces
//	doppio fleet              a fleet of processes over one Redis: throughput, latency, staleness, cost
//	doppio chaos              the same while things go wrong
//	doppio inspect KEY        what Redis holds under a key, decoded
//	doppio tail               invalidations as they happen
//	doppio report FILE…       a page of charts of what the others measured
//	doppio COMMAND --help
//
// It exits with
//
//	0    all went well
//	1    it could not run, or broke off
//	2    it was called wrongly
//	3    it ran, and what it found is not as it should be; the command's help says what
//	130  it was interrupted; what was measured so far was printed (but 0 of tail, whose normal end that is)
//
// doppio completion bash, zsh, fish or pwsh prints a script that completes commands and flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/demo"
	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnclean     = 3
	exitInterrupted = 130
)

const description = `To see what it does:                  doppio demo
To choose between libraries:          doppio compare --quick
To choose the size of a local tier:    doppio replay your.trace.zst
To know what a fleet asks of Redis:   doppio fleet --instances 4
To see it survive:                    doppio chaos
To look into a running system:        doppio inspect KEY, doppio tail

Commands that measure write their result as JSON with --out FILE; doppio report makes a page of charts of such files.
Ctrl-C stops any command and prints what was measured so far; a second Ctrl-C ends it at once.

Exit codes: 0 all went well; 1 it could not run, or broke off; 2 it was called wrongly; 3 it ran, and what it found is
not as it should be (each command says what); 130 it was interrupted (tail: 0, for that is how it ends).

Completion of commands and flags: source <(doppio completion bash), or zsh, fish, pwsh.`

var (
	errUsage   = errors.New("wrong usage")
	errUnclean = errors.New("there were errors, or stale reads that must not be")
	errBudget  = errors.New("beyond its budget")
)

func main() {
	redis.SetLogger(noLog{}) // what it has to say is in the errors that it returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// noLog takes go-redis's complaints, which would stand before the one error that tells of them all.
type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

func run(ctx context.Context, args []string) int {
	root := &cli.Command{
		Name:        "doppio",
		Usage:       "a two-tier cache, shown, measured and inspected",
		Description: description,
		Commands: []*cli.Command{
			demoCommand(), compareCommand(), replayCommand(), fleetCommand(), chaosCommand(), inspectCommand(), tailCommand(),
			reportCommand(), fleetInstanceCommand(),
		},
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: func(c *cli.Command) { c.Hidden = false },
		OnUsageError:                    usageError,
		ExitErrHandler:                  func(context.Context, *cli.Command, error) {}, // exit codes are given here, in one place
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("%w: there is no command %q", errUsage, cmd.Args().First())
			}
			return cli.ShowRootCommandHelp(cmd)
		},
	}
	err := namedCommand(root.Run(ctx, args))
	code := exitCode(ctx, err)
	if err != nil && code != exitInterrupted {
		fmt.Fprintln(os.Stderr, "doppio:", err)
	}
	return code
}

func usageError(_ context.Context, _ *cli.Command, err error, _ bool) error {
	return fmt.Errorf("%w: %w", errUsage, err)
}

// namedCommand makes a wrong usage of what the flag library says when help or completion is asked for a command that there
// is not. Of its errors, only that one has this code.
func namedCommand(err error) error {
	const noHelpTopic = 3
	var coded cli.ExitCoder
	if errors.As(err, &coded) && coded.ExitCode() == noHelpTopic {
		return fmt.Errorf("%w: there is no such command: %w", errUsage, err)
	}
	return err
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage), errors.Is(err, demo.ErrConfig), errors.Is(err, fleet.ErrConfig), errors.Is(err, server.ErrOptions):
		return exitUsage
	case errors.Is(err, errUnclean), errors.Is(err, errBudget):
		return exitUnclean
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	default:
		return exitFailed
	}
}
