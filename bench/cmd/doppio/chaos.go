package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func chaosCommand() *cli.Command {
	return &cli.Command{Name: "chaos", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
