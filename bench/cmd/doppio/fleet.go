package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func fleetCommand() *cli.Command {
	return &cli.Command{Name: "fleet", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
