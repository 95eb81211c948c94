package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// outputFlags are those of every command that measures.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print the result as JSON instead of tables"},
		&cli.StringFlag{Name: "out", Usage: "write the result as JSON to `FILE` too, for doppio report", TakesFile: true},
		&cli.BoolFlag{Name: "quiet", Usage: "show no progress"},
	}
}

// startProgress shows progress on standard error, unless it is not wanted.
func startProgress(cmd *cli.Command) *term.Progress {
	if cmd.Bool("quiet") {
		return nil
	}
	return term.Start(os.Stderr)
}

// newDocument begins the document of a command.
func newDocument(cmd *cli.Command) *result.Document {
	return &result.Document{Version: result.Version, Command: cmd.Name, Args: shownArgs(cmd), Began: time.Now().UTC()}
}

// secretFlags may hold a password.
var secretFlags = map[string]bool{"redis": true, "password": true, "key": true}

// shownArgs are the flags that were set, without what is secret and without where files lie.
func shownArgs(cmd *cli.Command) []string {
	var args []string
	for _, name := range cmd.LocalFlagNames() {
		switch {
		case !cmd.IsSet(name), name == "out", name == "json", name == "quiet":
		case secretFlags[name]:
			args = append(args, "--"+name+"=…")
		default:
			args = append(args, fmt.Sprintf("--%s=%v", name, cmd.Value(name)))
		}
	}
	return args
}

// emit ends a document and writes it where it is wanted: as JSON or with table to standard output, and to --out. It is called
// with what was measured so far also when the measurement broke off, whose error is cause.
func emit(cmd *cli.Command, d *result.Document, table func(io.Writer) error, cause error) error {
	d.Seconds = time.Since(d.Began).Seconds()
	if cause != nil && d.Notice == "" {
		d.Notice = "not whole: " + cause.Error()
	}
	var err error
	write := table
	if cmd.Bool("json") {
		write = d.Write
	} else if d.Notice != "" {
		_, err = fmt.Fprintf(os.Stdout, "NOTICE: %s\n", d.Notice)
	}
	err = errors.Join(err, write(os.Stdout))
	if path := cmd.String("out"); path != "" {
		err = errors.Join(err, writeFile(path, d))
	}
	return errors.Join(cause, err)
}

func writeFile(path string, d *result.Document) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return errors.Join(d.Write(f), f.Close())
}
