package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func compareCommand() *cli.Command {
	return &cli.Command{Name: "compare", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
