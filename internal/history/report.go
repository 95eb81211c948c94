package history

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Staleness is how long what was read had been superseded by an acknowledged version when the read began.
type Staleness struct {
	Reads int // of all versions that were judged
	Stale int // of a superseded one
	// Of the stale reads.
	P50, P99, Max time.Duration
}

func (s *Staleness) measure(samples []time.Duration) {
	s.Stale = len(samples)
	if s.Stale == 0 {
		return
	}
	slices.Sort(samples)
	s.P50, s.P99, s.Max = samples[len(samples)/2], samples[len(samples)*99/100], samples[len(samples)-1]
}

// String gives the figures in one line.
func (s Staleness) String() string {
	return fmt.Sprintf("%d reads, %d of them stale: p50 %v, p99 %v, max %v", s.Reads, s.Stale,
		s.P50.Round(10*time.Microsecond), s.P99.Round(10*time.Microsecond), s.Max.Round(10*time.Microsecond))
}

// Report is what Check found.
type Report struct {
	Logs int

	Local, Remote, Loaded, Old int // reads that gave a value, by who answered
	Missing, ReadErrors        int

	Commits                 int
	SetsAcked, DeletesAcked int
	Failed                  int // changes that did not happen
	Unknown                 int // changes that may have happened, those included that nobody lived to see the end of
	Unanswered              int // those
	Voided                  int // acknowledged, and counted for nothing: see Options.Void

	Polls, PollsEmpty, PollErrors int

	Checked      [Rules]int // reads and polls that a rule was applied to
	Excused      int        // reads and polls of a Set that may have happened late
	Calm, Faulty Staleness

	Broken     [Rules]int
	Violations []Violation // the first of each rule
}

// OK tells whether no rule was broken.
func (r *Report) OK() bool { return r.Broken == [Rules]int{} }

// Reads is how many reads gave a value.
func (r *Report) Reads() int { return r.Local + r.Remote + r.Loaded + r.Old }

// Acked is how many changes were acknowledged.
func (r *Report) Acked() int { return r.SetsAcked + r.DeletesAcked }

// String gives the report in lines.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "reads      %d: local %d, remote %d, load %d, past their life %d; nothing %d, errors %d\n",
		r.Reads(), r.Local, r.Remote, r.Loaded, r.Old, r.Missing, r.ReadErrors)
	fmt.Fprintf(&b, "changes    %d commits; acknowledged: %d deletes, %d sets (%d void); failed %d; unknown %d, of which %d never answered\n",
		r.Commits, r.DeletesAcked, r.SetsAcked, r.Voided, r.Failed, r.Unknown, r.Unanswered)
	fmt.Fprintf(&b, "remote polls  %d: %d empty, %d errors\n", r.Polls, r.PollsEmpty, r.PollErrors)
	fmt.Fprintf(&b, "staleness  calm: %v\n", r.Calm)
	fmt.Fprintf(&b, "staleness  under faults: %v\n", r.Faulty)
	for rule := range Rules {
		fmt.Fprintf(&b, "checked    %-32s %8d, violations %d\n", rule.String()+":", r.Checked[rule], r.Broken[rule])
	}
	fmt.Fprintf(&b, "excused    %d reads of a set that nobody knows the outcome of\n", r.Excused)
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "VIOLATION  %v\n", v)
	}
	return b.String()
}

// String tells what was read, and what should have been.
func (v Violation) String() string {
	s := fmt.Sprintf("%v: %s: %v (took %v)", v.Rule, v.Instance, v.Op, time.Duration(v.Op.End-v.Op.Start))
	if v.Missed != nil {
		s += fmt.Sprintf(" is %v behind version %d, by %s: %c %d to %d", v.Stale,
			v.Missed.Version, v.Missed.Instance, v.Missed.Method, v.Missed.Start, v.Missed.End)
	}
	return s + fmt.Sprintf("; faults: %v", v.During)
}
