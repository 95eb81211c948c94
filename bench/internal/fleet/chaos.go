package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/bench/internal/term"
	"github.com/doppio-cache/doppio/internal/fault"
)

const (
	// DefaultTimes is how often chaos injects each fault.
	DefaultTimes = 3
	maxTimes     = 10_000
)

// Ordeal is the runs of the command chaos.
type Ordeal struct {
	Base   Config
	Faults []fault.Fault
	Times  int // each is injected
}

// Validate reports every fault at once.
func (o Ordeal) Validate() error {
	var faults []error
	if o.Times < 1 || o.Times > maxTimes {
		faults = append(faults, fmt.Errorf("%w: %d times: want 1 … %d", ErrConfig, o.Times, maxTimes))
	}
	if len(o.Faults) == 0 {
		faults = append(faults, fmt.Errorf("%w: no faults: want at least one", ErrConfig))
	}
	return errors.Join(append(faults, o.Base.Validate())...)
}

// Run lets a fleet suffer one fault after another, a fleet for each. What was measured is returned also beside an error.
func (o Ordeal) Run(ctx context.Context, s *server.Server, progress Progress) (*result.Chaos, error) {
	all := &result.Chaos{}
	for n, what := range o.Faults {
		if err := prepare(ctx, s); err != nil {
			return all, err
		}
		cfg := o.Base
		cfg.Faults, cfg.Injections = []fault.Fault{what}, o.Times
		var told Progress
		if progress != nil {
			told = func(share float64, text string) {
				progress((float64(n)+share)/float64(len(o.Faults)), what.Name+"  "+text)
			}
		}
		out, err := Run(ctx, cfg, s, told)
		if out != nil {
			all.Runs = append(all.Runs, result.ChaosRun{
				Fault: what.Name, About: what.About, Times: out.Injected, Run: out.Run,
				Recovery: out.Recovery.Percentiles(time.Millisecond), Verdict: verdict(out, o.Times, interrupted(ctx, err)),
			})
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// verdict says what a run violated. Errors are reported beside it: that calls fail while Redis cannot be reached is no lie. But a
// fleet must have been tried as it was to be, must recover, and once it has, nothing may fail any more. Of one that was interrupted that
// is not known, but a lie is a lie.
func verdict(o *Outcome, times int, interrupted bool) string {
	violated := lies(&o.Run)
	if o.Run.Unrecovered > 0 {
		violated = append(violated, "did not become coherent")
	}
	if interrupted {
		return strings.Join(append(violated, result.VerdictInterrupted), ", ")
	}
	if o.Run.Reads == 0 {
		violated = append(violated, "no reads")
	}
	switch {
	case o.Run.Unrecovered > 0: // it was not looked at any further
	case o.Injected < times:
		violated = append(violated, fmt.Sprintf("injected %d of %d times", o.Injected, times))
	case o.After.Errors > 0:
		violated = append(violated, fmt.Sprintf("%d errors after the last recovery", o.After.Errors))
	case o.After.Reads == 0:
		violated = append(violated, "no reads after the last recovery")
	}
	if violated == nil {
		return result.VerdictOK
	}
	return strings.Join(violated, ", ")
}

// interrupted tells whether a run ended because whoever asked for it wanted no more of it.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// lies are what a cache must never do, whatever happens.
func lies(r *result.FleetRun) (violated []string) {
	add := func(n int64, what string) {
		if n > 0 {
			violated = append(violated, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.Staleness.Beyond, "reads stale beyond the bound")
	add(r.Staleness.Own, "reads that missed a change of their own instance")
	add(r.Spoilt, "spoilt values")
	return violated
}

// Survived tells whether all was suffered, and nothing violated.
func Survived(c *result.Chaos) bool {
	for _, r := range c.Runs {
		if r.Verdict != result.VerdictOK {
			return false
		}
	}
	return true
}

// WriteChaos writes what the command chaos measured for people.
func WriteChaos(w io.Writer, c *result.Chaos) error {
	return paged(w, func(page *bytes.Buffer) error { return writeChaos(page, c) })
}

func writeChaos(w *bytes.Buffer, c *result.Chaos) error {
	t := term.NewTable("fault", "times", "requests", "stale", "age p50", "age max", "beyond", "own", "errors", "loads", "recovery p50", "max", "drops", "verdict")
	for _, r := range c.Runs {
		run, s := r.Run, r.Run.Staleness
		t.Row(r.Fault, term.Thousands(int64(r.Times)), term.Thousands(run.Requests), term.Thousands(s.Stale), millis(s.Age, s.Age.P50),
			millis(s.Age, s.Age.Max), term.Thousands(s.Beyond), term.Thousands(s.Own), term.Thousands(run.Errors), term.Thousands(run.Loads),
			millis(r.Recovery, r.Recovery.P50), millis(r.Recovery, r.Recovery.Max), counts(run.Drops), r.Verdict)
	}
	fmt.Fprintln(w)
	if err := t.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, r := range c.Runs {
		fmt.Fprintf(w, "%s: %s; errors: %s\n", r.Fault, r.About, counts(r.Run.ErrorKinds))
	}
	fmt.Fprint(w, `
stale: reads of a version older than one whose change was acknowledged, anywhere, before they began; age: by how long. None may be
beyond the bound, and none may have missed a change of its own instance. A change that failed obliges no read.
recovery: from the end of a fault until a change made after it had reached every instance, and each found itself coherent.
ok: so many faults were injected, the fleet recovered from each, each instance reached all of Redis within 3 s of the last recovery, and no
request that began half a second or more after that failed.
`)
	return nil
}
