// Command mutants shows that the attack harness would notice if a mechanism of the protocol were missing. It breaks a copy of the
// tree in one way after another, attacks each, and expects that the harness finds a promise broken; and it makes the same
// attacks on the tree as it is, which has to keep them all.
//
//	go run ./internal/attack/mutants                 # about seven minutes
//	go run ./internal/attack/mutants -only lease     # those whose name holds this
//
// It fails if a mutant survives, if one cannot be made since the code has changed, and if an attack could not be made.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	only     = flag.String("only", "", "make only the mutants whose name holds this")
	duration = flag.Duration("duration", 45*time.Second, "how long a mutant is attacked at most")
	sane     = flag.Duration("sane", 15*time.Second, "how long each attack is made on the tree as it is")
	verbose  = flag.Bool("v", false, "show what the harness says")
)

// around is what a run takes beside its faults: servers and instances begin and end, and the fleet recovers.
const around = 40 * time.Second

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.name, *only) })
	if len(chosen) == 0 {
		return fmt.Errorf("no mutant has %q in its name", *only)
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nlogs of what went wrong are in %s", err, dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	l := &laboratory{dir: dir, tree: filepath.Join(dir, "tree")}
	if err := copyTree(ctx, l.tree); err != nil {
		return err
	}
	var bad []string
	l.say("%5s  %-70s %-8s %9s %9s  %s\n", "model", "mutant", "found", "after", "took", "operations")
	var done []attack
	for _, m := range chosen {
		if !slices.Contains(done, m.attack) {
			done = append(done, m.attack)
			if !l.examine(ctx, mutant{name: "none: " + m.attack.topology + " " + m.attack.faults, attack: m.attack}) {
				bad = append(bad, "the tree as it is: "+m.attack.String())
			}
		}
		if !l.examine(ctx, m) {
			bad = append(bad, m.name)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d not as expected:\n  %s", len(bad), strings.Join(bad, "\n  "))
	}
	l.say("all %d mutants were found out\n", len(chosen))
	return nil
}

// laboratory is where mutants are made and attacked.
type laboratory struct {
	dir, tree string
	runs      int
}

func (l *laboratory) say(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, format, args...) // who cannot read it still has the exit status
}

// examine makes one mutant, attacks it, and tells whether that went as it should. A mutant without edits has to keep all promises.
func (l *laboratory) examine(ctx context.Context, m mutant) bool {
	found, err := l.attack(ctx, m)
	healthy := len(m.edits) == 0
	number, caught, after := "", "-", "-"
	if m.model > 0 {
		number = strconv.Itoa(m.model)
	}
	if len(found.broken) > 0 {
		caught, after = strings.Join(found.broken, ","), found.after
	}
	l.say("%5s  %-70.70s %-8s %9s %9s  %s\n", number, m.name, caught, after, found.took, found.operations)
	expected := slices.ContainsFunc(m.rules, func(r string) bool { return slices.Contains(found.broken, r) })
	switch {
	case err != nil:
		l.say("       could not be attacked: %v\n", err)
	case healthy && len(found.broken) > 0:
		l.say("       BROKEN. Nothing was changed here:\n%s\n", found.output)
	case !healthy && !expected:
		l.say("       SURVIVED; %s should have been found broken: %s\n       %v\n", strings.Join(m.rules, " or "), m.why, m.attack)
	default:
		return true
	}
	return false
}

// finding is what the harness says of a run.
type finding struct {
	broken     []string // rules
	after      string   // when it was noticed
	took       string
	operations string
	output     string
}

// attack builds the harness with the mutant in it, and runs it. An error is about that: a violation is none.
func (l *laboratory) attack(ctx context.Context, m mutant) (f finding, err error) {
	undo, err := m.apply(l.tree)
	if err == nil {
		f, err = l.run(ctx, m)
	}
	return f, errors.Join(err, undo())
}

func (l *laboratory) run(ctx context.Context, m mutant) (finding, error) {
	binary := filepath.Join(l.dir, "attack.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./internal/attack")
	build.Dir = l.tree
	if out, err := build.CombinedOutput(); err != nil {
		return finding{}, fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	// Its logs are here, too: they go with the rest, unless they are of use.
	l.runs++
	logs := filepath.Join(l.dir, strconv.Itoa(l.runs))
	if err := os.Mkdir(logs, 0o700); err != nil {
		return finding{}, err
	}
	span, until := *duration, strings.Join(m.rules, ",")
	if len(m.edits) == 0 {
		span, until = *sane, strings.Join([]string{g1, g2, g3}, ",")
	}
	args := append([]string{
		"-test.run=TestAttack$", "-test.v", "-test.timeout=" + (span + around).String(), "-attack.until=" + until, "-attack.duration=" + span.String(),
	}, strings.Fields(m.attack.String())...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = filepath.Join(l.tree, "internal", "attack")
	cmd.Env = append(os.Environ(), "TMPDIR="+logs)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if *verbose {
		cmd.Stdout = io.MultiWriter(&output, os.Stdout)
	}
	began := time.Now()
	failed := cmd.Run()
	f := read(output.String())
	f.took = time.Since(began).Round(100 * time.Millisecond).String()
	// What it says, with the logs of its instances, is kept until the end; of a mutant that was found out, nothing.
	if len(m.edits) > 0 && len(f.broken) > 0 {
		return f, os.RemoveAll(logs)
	}
	if err := os.WriteFile(filepath.Join(logs, "output"), output.Bytes(), 0o600); err != nil {
		return f, err
	}
	if len(f.broken) == 0 && failed != nil {
		return f, fmt.Errorf("%w\n%s", failed, &output)
	}
	return f, nil
}

var (
	checkedLine = regexp.MustCompile(`(?m)^\s*checked\s+(.*?):\s+\d+, violations (\d+)$`)
	endedLine   = regexp.MustCompile(`(?m)^\s*ended\s+by a violation, after (\S+)$`)
	readsLine   = regexp.MustCompile(`(?m)^\s*reads\s+(\d+):`)
	changesLine = regexp.MustCompile(`(?m)^\s*changes\s+(\d+) commits`)
)

// read reads the harness's report.
func read(output string) finding {
	f := finding{output: output, after: "the end", operations: "-"}
	for _, match := range checkedLine.FindAllStringSubmatch(output, -1) {
		if match[2] != "0" {
			rule, _, _ := strings.Cut(match[1], " ")
			f.broken = append(f.broken, rule)
		}
	}
	if match := endedLine.FindStringSubmatch(output); match != nil {
		f.after = match[1]
	}
	reads, changes := readsLine.FindStringSubmatch(output), changesLine.FindStringSubmatch(output)
	if reads != nil && changes != nil {
		f.operations = reads[1] + " reads, " + changes[1] + " commits"
	}
	return f
}

// copyTree copies what git has and what it does not ignore, as it is now.
func copyTree(ctx context.Context, to string) error {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("where the repository is: %w", err)
	}
	from := strings.TrimSpace(string(out))
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	if out, err = list.Output(); err != nil {
		return fmt.Errorf("the repository's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
