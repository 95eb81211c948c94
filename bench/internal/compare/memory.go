package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/internal/child"
)

// memory is what a full local tier takes, of room and of the collector's time: each in a process of its own.
func (s *session) memory() *group {
	seen := make(map[string]childReply) // by subject: one process gives all rows
	entries := term.Thousands(int64(s.o.sizes.entries)) + " entries"
	one := func(group, name, unit string, samples func(childReply) []float64) *row {
		return &row{group: group, name: name, unit: unit, baseline: ristretto, measure: func(ctx context.Context, r *row) ([]result.Cell, error) {
			return s.memoryRow(ctx, r, seen, samples)
		}}
	}
	return &group{rows: []*row{
		one("memory", "local tier of "+entries+", integers, beside the caller's keys and values", "bytes/entry", func(r childReply) []float64 { return []float64{r.BytesPerEntry} }),
		one("gc", "stop of the world in a collection, "+entries, "µs", func(r childReply) []float64 { return r.PauseMicros }),
		one("gc", "CPU of a collection, "+entries, "ms", func(r childReply) []float64 { return r.CPUMillis }),
	}}
}

func (s *session) memoryRow(ctx context.Context, r *row, seen map[string]childReply, samples func(childReply) []float64) ([]result.Cell, error) {
	var names []string
	for i, subject := range s.numbers.subjects {
		name := subject.Info.Name
		if !s.takesPart(name, []*group{{rows: []*row{r}}}) {
			continue
		}
		names = append(names, name)
		if _, ok := seen[name]; ok {
			continue
		}
		reply := childReply{Missing: errNoLocal.Error()}
		if subject.Local {
			var err error
			if reply, err = s.child(ctx, name); err != nil {
				if ctx.Err() != nil {
					return memoryCells(names[:len(names)-1], seen, r.baseline, samples), ctx.Err()
				}
				reply = childReply{Missing: err.Error()}
			}
		}
		// What it left in Redis goes before the next one comes: a million entries of each would be there at once.
		if err := s.purge(ctx); err != nil {
			return memoryCells(names[:len(names)-1], seen, r.baseline, samples), err
		}
		seen[name] = reply
		s.tell(r, float64(i+1)/float64(len(s.numbers.subjects)))
	}
	return memoryCells(names, seen, r.baseline, samples), nil
}

func memoryCells(names []string, seen map[string]childReply, baseline string, samples func(childReply) []float64) []result.Cell {
	cells := make([]result.Cell, 0, len(names))
	base := 0.0
	if b, ok := seen[baseline]; ok && b.Missing == "" {
		base = result.SpreadOf(samples(b)).Median
	}
	for _, name := range names {
		reply := seen[name]
		if reply.Missing != "" {
			cells = append(cells, result.Cell{Subject: name, Missing: reply.Missing})
			continue
		}
		v := result.SpreadOf(samples(reply))
		// Processes have no rounds in common: the ratio is that of the medians.
		ratio := result.SpreadOf(result.Ratios([]float64{v.Median}, []float64{base}))
		cells = append(cells, result.Cell{Subject: name, Value: v, Ratio: ratio, Extra: map[string]float64{"entries": float64(reply.Entries)}})
	}
	return cells
}

// child lets a process of its own fill and measure one subject.
func (s *session) child(ctx context.Context, subject string) (childReply, error) {
	if len(s.o.Child) == 0 {
		return childReply{}, fmt.Errorf("%w: Child is empty, must be a program that calls Child", ErrOptions)
	}
	request, err := json.Marshal(childRequest{
		Subject: subject, Addr: s.addr, DB: s.db, Namespace: s.namespace(), Entries: s.o.sizes.entries, Collections: s.o.sizes.gcs,
	})
	if err != nil {
		return childReply{}, err
	}
	cmd := exec.CommandContext(ctx, s.o.Child[0], s.o.Child[1:]...)
	cmd.WaitDelay = 5 * time.Second
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), &out, &complaint
	if err := child.Run(cmd); err != nil {
		return childReply{}, fmt.Errorf("its process: %w: %s", err, lastLine(complaint.String()))
	}
	var reply childReply
	if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
		return childReply{}, fmt.Errorf("its process: %w", errors.Join(errChild, err))
	}
	return reply, nil
}

var errChild = errors.New("its answer cannot be read")

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
