package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func reportCommand() *cli.Command {
	return &cli.Command{Name: "report", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
