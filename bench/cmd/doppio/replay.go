package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func replayCommand() *cli.Command {
	return &cli.Command{Name: "replay", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
