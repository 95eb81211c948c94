package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// Run runs the demo and writes its progress. If ctx ends, it stops and returns what was measured so
// remote: an error beside a Report says why the run is not whole.
func Run(ctx context.Context, cfg Config, progress io.Writer) (_ *Report, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "doppio-demo-")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := survey(ctx, cfg, filepath.Join(dir, "requests"))
	if err != nil {
		return nil, err
	}
	from := server.Options{Kind: server.Embedded}
	if cfg.RedisURL != "" {
		from = server.Options{Kind: server.Given, URL: cfg.RedisURL}
	}
	s, err := server.Open(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c := cfg.fleet()
	c.Dealt, c.Keys = w.dealt, w.keys
	bar := term.Start(progress)
	out, err := fleet.Run(ctx, c, s, func(share float64, text string) { bar.Set(share, "%s", text) })
	bar.End()
	if out == nil {
		return nil, err
	}
	r := newReport(cfg, w, out)
	if cfg.RedisURL != "" {
		r.Redis = strings.Join(s.Addrs(), ", ") // without credentials
	}
	if r.Requests != w.dealt.Count {
		r.Notice = fmt.Sprintf("stopped after %d of %d requests", r.Requests, w.dealt.Count)
		if err == nil {
			r.Notice += fmt.Sprintf(": the time limit of %s was reached", cfg.TimeLimit)
		}
	}
	return r, err
}
