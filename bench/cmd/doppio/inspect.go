package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

func inspectCommand() *cli.Command {
	return &cli.Command{Name: "inspect", Action: func(context.Context, *cli.Command) error { return errors.New("being built") }}
}
