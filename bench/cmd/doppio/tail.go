package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func tailCommand() *cli.Command {
	return &cli.Command{Name: "tail", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
