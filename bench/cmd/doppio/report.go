package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/report"
	"github.com/doppio-cache/doppio/bench/internal/result"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "make one HTML file of charts from what other commands measured",
		ArgsUsage: "FILE…",
		Description: "Reads what compare, replay, fleet and chaos wrote with --out (or --json), any number of files of any of them, and writes a\n" +
			"page that needs nothing else: it works offline, on a phone, light and dark, and prints. Each chart has its numbers in a table.\n" +
			"Whiskers are the least and the greatest of the rounds. What is ours is orange throughout.\n" +
			"\n" +
			"--images draws each chart as SVG too, light and dark, for a README. That takes a Chromium: chromium, chromium-browser or\n" +
			"google-chrome on PATH, or the one that the environment variable CHROMIUM names.\n" +
			"\n" +
			"Examples:\n" +
			"   doppio compare --out compare.json && doppio report compare.json\n" +
			"   doppio report --out all.html compare.json replay.json fleet.json chaos.json\n" +
			"   doppio report --images docs/images compare.json\n" +
			"\n" +
			"Exit codes: 0 written; 1 a file could not be read or written, or there is no Chromium; 2 wrong usage; 130 interrupted.",
		OnUsageError: usageError,
		Action:       runReport,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "write the page to `FILE`", Value: "report.html", TakesFile: true},
			&cli.StringFlag{Name: "images", Usage: "draw each chart into `DIR` as NAME-light.svg and NAME-dark.svg", TakesFile: true},
			&cli.BoolFlag{Name: "quiet", Usage: "show no progress"},
		},
	}
}

func runReport(ctx context.Context, cmd *cli.Command) error {
	out := cmd.String("out")
	switch {
	case !cmd.Args().Present():
		return fmt.Errorf("%w: report wants at least one FILE that compare, replay, fleet or chaos wrote, was given 0", errUsage)
	case out == "":
		return fmt.Errorf("%w: --out: want the name of a file, is empty", errUsage)
	case cmd.IsSet("images") && cmd.String("images") == "":
		return fmt.Errorf("%w: --images: want the name of a directory, is empty", errUsage)
	}
	var docs []*result.Document
	for _, path := range cmd.Args().Slice() {
		d, err := result.ReadFile(path)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		docs = append(docs, d)
	}
	if err := writePage(out, docs); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d documents\n", out, len(docs))
	if dir := cmd.String("images"); dir != "" {
		progress := startProgress(cmd)
		n, err := report.Images(ctx, out, dir, func(share float64, what string) { progress.Set(share, "%s", what) })
		progress.End()
		if err != nil {
			return fmt.Errorf("--images: %w", err)
		}
		fmt.Fprintf(os.Stderr, "%s: %d pictures\n", dir, n)
	}
	return nil
}

func writePage(path string, docs []*result.Document) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return errors.Join(report.Write(f, docs), f.Close())
}
